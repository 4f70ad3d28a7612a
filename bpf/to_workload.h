/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Egress of every host-side veth and tap: what the host or the world outside sends to a workload. */
#pragma once
#include "first.h"
#include "fragments.h"
#include "icmp.h"
#include "neighbour.h"

FAST int is_current_to_workload(struct packet *p, struct connection *c, const struct endpoint *to, __u32 mark)
{
  __u32 side = (p->source_is_high != c->originator_is_high) & 1;
  if (!is_alive(p, c) || c->slot[side ^ 1] != p->slot[1] || !end_is_current(c, side ^ 1, to))
    return 0;
  if (!c->slot[side])
    return 1;
  if (unlikely(c->slot[side] == host_slot)) {
    struct endpoint *host = p->translated ? 0 : host_endpoint();
    return host && end_is_current(c, side, host);
  }
  struct endpoint *from = endpoint_at(c->slot[side]);
  return (mark & mark_mask) == mark_workload && from && end_is_current(c, side, from) &&
         same_address(address_of(from, p->is_ipv6), p->source);
}

SHARED int first_to_workload(struct __sk_buff *skb, struct packet *p, struct connection *c, __u32 begins)
{
  if (!p)
    return TC_ACT_SHOT;
  int action = first_packet(skb, p, c, begins, skb->mark);
  if (action != may_pass)
    return action;
  if (p->fragment && !p->fragment_offset)
    remember_fragment(skb, p);
  return TC_ACT_OK;
}

FAST int enforce_to_workload(struct __sk_buff *skb, struct packet *p, struct endpoint *to)
{
  int result = parse(skb, p);
  if (unlikely(result == parsed_arp))
    return arp_to_workload(skb, p);
  if (unlikely(result != parsed))
    return drop(p, result);
  if (unlikely(p->icmp == icmp_neighbour))
    return neighbour_to_workload(skb, p);
  if (unlikely(!same_address(p->destination, address_of(to, p->is_ipv6))))
    return drop(p, counter_misdirected);
  if (unlikely(p->icmp == icmp_reports))
    return is_about_connection(skb, p) ? TC_ACT_OK : drop(p, counter_icmp_unmatched);
  if (unlikely(p->fragment)) {
    result = check_fragment(skb, p);
    if (result != parsed)
      return drop(p, result);
  }
  set_key(p);
  struct connection *c = bpf_map_lookup_elem(&connections, &p->key);
  if (!c)
    return first_to_workload(skb, p, 0, 0);
  if (unlikely(!is_current_to_workload(p, c, to, skb->mark)))
    return first_to_workload(skb, p, c, 0);
  if (unlikely(use_connection(p, c) != use_pass))
    return first_to_workload(skb, p, c, 1);
  if (unlikely(p->fragment && !p->fragment_offset))
    remember_fragment(skb, p);
  return TC_ACT_OK;
}

SEC("tc")
int to_workload(struct __sk_buff *skb)
{
  if (unlikely((skb->mark & mark_mask) == mark_answer))
    return TC_ACT_OK;
  __u32 slot = 0;
  struct endpoint *to = endpoint_on(skb->ifindex, &slot);
  if (unlikely(!to)) {
    count(counter_unknown_interface);
    return TC_ACT_SHOT;
  }
  struct packet p = {.slot = {0, slot}, .hook = hook_to_workload, .length = skb->len, .translated = skb->ingress_ifindex != 0};
  if (unlikely(to->state == state_fenced))
    return drop(&p, counter_fenced);
  /* Already judged and counted where it came from. */
  if (to->kind == kind_tap && (skb->mark & mark_mask) == mark_forwarded)
    return TC_ACT_OK;
  int action = enforce_to_workload(skb, &p, to);
  /* Whoever sends to an observed workload is governed all the same, the host too. */
  return unlikely(to->state == state_observed && p.slot[0] != host_slot) ? TC_ACT_OK : action;
}
