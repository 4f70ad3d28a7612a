/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Ingress of the host's uplinks: nobody out there has an address of ours. */
#pragma once
#include "account.h"
#include "parse.h"

SEC("tc")
int from_uplink(struct __sk_buff *skb)
{
  struct packet p = {.now = bpf_ktime_get_coarse_ns(), .length = skb->len};
  skb->mark = 0;
  int result = parse(skb, &p);
  /* Not IP, or not for us to understand: to_workload is stricter, should it come that far. */
  if (result == parsed_arp || (result != parsed && !p.source[10] && !p.is_ipv6))
    return TC_ACT_OK;
  struct address_owner *owner = bpf_map_lookup_elem(&addresses, p.source);
  if (!owner)
    return TC_ACT_OK;
  p.slot[1] = owner->slot;
  drop(&p, counter_uplink_spoofed);
  return TC_ACT_SHOT;
}
