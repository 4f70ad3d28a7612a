/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Ingress of the VXLAN device: workloads of other hosts. Outer source, inner source and VNI must be one enrolled workload's. */
#pragma once
#include "first.h"
#include "fragments.h"
#include "icmp.h"

SHARED int deliver(struct __sk_buff *skb, struct packet *p)
{
  if (!p)
    return TC_ACT_SHOT;
  struct endpoint *to = endpoint_at(p->slot[1]);
  if (p->fragment && !p->fragment_offset)
    remember_fragment(skb, p);
  return to ? to_endpoint(skb, p, to) : TC_ACT_SHOT;
}

SHARED int first_from_overlay(struct __sk_buff *skb, struct packet *p, struct connection *c, __u32 begins)
{
  if (!p)
    return TC_ACT_SHOT;
  int action = first_packet(skb, p, c, begins, 0);
  return action == may_pass ? deliver(skb, p) : action;
}

FAST int is_current_from_overlay(struct packet *p, struct connection *c, const struct endpoint *to)
{
  __u32 side = (p->source_is_high != c->originator_is_high) & 1;
  return is_alive(p, c) && c->slot[side ^ 1] == p->slot[1] && end_is_current(c, side ^ 1, to) && c->overlay_host == p->overlay_host &&
         c->identity[side] == p->overlay_identity;
}

FAST int enforce_from_overlay(struct __sk_buff *skb, struct packet *p)
{
  int result = parse(skb, p);
  if (result == parsed_arp || p->icmp == icmp_neighbour)
    result = counter_unknown_protocol;
  if (result != parsed)
    return drop(p, result);
  struct address_owner *owner = bpf_map_lookup_elem(&addresses, p->destination);
  struct endpoint *to = owner && owner->kind == owner_endpoint ? endpoint_at(owner->slot) : 0;
  if (!to || to->state == state_absent)
    return drop(p, counter_misdirected);
  p->slot[1] = owner->slot;
  if (to->state == state_fenced)
    return drop(p, counter_fenced);
  if (p->icmp == icmp_reports)
    return is_about_connection(skb, p) ? deliver(skb, p) : drop(p, counter_icmp_unmatched);
  if (p->fragment) {
    result = check_fragment(skb, p);
    if (result != parsed)
      return drop(p, result);
  }
  set_key(p);
  struct connection *c = bpf_map_lookup_elem(&connections, &p->key);
  if (!c)
    return first_from_overlay(skb, p, 0, 0);
  if (!is_current_from_overlay(p, c, to))
    return first_from_overlay(skb, p, c, 0);
  return use_connection(p, c) == use_pass ? deliver(skb, p) : first_from_overlay(skb, p, c, 1);
}

SHARED int read_tunnel(struct __sk_buff *skb, struct packet *p)
{
  if (!p)
    return 0;
  struct bpf_tunnel_key key = {};
  if (bpf_skb_get_tunnel_key(skb, &key, sizeof key, 0) || !key.remote_ipv4)
    return 0;
  p->overlay_host = key.remote_ipv4;
  p->overlay_identity = key.tunnel_id;
  return 1;
}

SEC("tc")
int from_overlay(struct __sk_buff *skb)
{
  struct packet p = {.hook = hook_to_workload, .length = skb->len};
  skb->mark = 0;
  if (read_tunnel(skb, &p))
    return enforce_from_overlay(skb, &p);
  count(counter_overlay_spoofed);
  return TC_ACT_SHOT;
}
