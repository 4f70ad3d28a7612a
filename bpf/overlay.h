/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* To other hosts: VXLAN, with the sender's identity as VNI. */
#pragma once
#include "account.h"

enum { outer_ttl = 64 };

SHARED int to_overlay(struct __sk_buff *skb, struct packet *p, const struct endpoint *from)
{
  if (!p || !from)
    return TC_ACT_SHOT;
  struct config *config = read_config();
  struct bpf_tunnel_key key = {.tunnel_id = identity_of(word_of(from)), .remote_ipv4 = p->overlay_host, .tunnel_ttl = outer_ttl};
  if (!config || !config->overlay_ifindex || bpf_skb_set_tunnel_key(skb, &key, sizeof key, BPF_F_ZERO_CSUM_TX))
    goto unreachable;
  return bpf_redirect(config->overlay_ifindex, 0);
unreachable:
  count(counter_unreachable_remote);
  return TC_ACT_SHOT;
}
