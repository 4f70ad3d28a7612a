/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Ingress of every host-side veth and tap: what a workload sends. Who it is follows from the interface alone. */
#pragma once
#include "first.h"
#include "fragments.h"
#include "icmp.h"
#include "neighbour.h"

FAST int has_source_mac(struct __sk_buff *skb, const __u8 *mac)
{
  void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
  struct ethhdr *ethernet = data;
  return (void *)(ethernet + 1) <= end && same_mac(ethernet->h_source, mac);
}

/* After a verdict: to a workload of this host directly; everything else, and what an observer must not disturb, by the host's stack. */
FAST int forward(struct __sk_buff *skb, struct packet *p, const struct endpoint *from, const struct endpoint *to)
{
  if (unlikely(p->fragment && !p->fragment_offset))
    remember_fragment(skb, p);
  if (unlikely(to && to->kind == kind_host))
    return into_host(skb);
  if (!to && p->overlay_host && from->state != state_observed)
    return is_too_big(skb, p, from->mtu) ? refuse_size(skb, p, from->mtu) : to_overlay(skb, p, from);
  if (!to || unlikely(p->routed || to->state == state_observed || from->state == state_observed))
    return to_host(skb);
  return to_endpoint(skb, p, to);
}

SHARED int first_from_workload(struct __sk_buff *skb, struct packet *p, struct connection *c, __u32 begins)
{
  if (!p)
    return TC_ACT_SHOT;
  int action = first_packet(skb, p, c, begins, 0);
  if (action != may_pass)
    return action;
  struct endpoint *from = endpoint_at(p->slot[0]);
  return from ? forward(skb, p, from, endpoint_at(p->slot[1])) : TC_ACT_SHOT;
}

SHARED int report_from_workload(struct __sk_buff *skb, struct packet *p)
{
  if (!p)
    return TC_ACT_SHOT;
  struct endpoint *from = endpoint_at(p->slot[0]);
  if (!from || !is_about_connection(skb, p))
    return drop(p, counter_icmp_unmatched);
  return forward(skb, p, from, endpoint_at(p->slot[1]));
}

/* A packet of an open connection whose both ends are as they were judged. */
FAST int is_current_from_workload(struct packet *p, struct connection *c, const struct endpoint *from, struct endpoint *to)
{
  __u32 side = (p->source_is_high != c->originator_is_high) & 1;
  if (!is_alive(p, c) || c->slot[side] != p->slot[0] || !end_is_current(c, side, from))
    return 0;
  if (!c->slot[side ^ 1])
    return 1;
  return to && end_is_current(c, side ^ 1, to) && (to->kind == kind_host || same_address(address_of(to, p->is_ipv6), p->destination));
}

FAST int enforce_from_workload(struct __sk_buff *skb, struct packet *p, struct endpoint *from)
{
  int result = parse(skb, p);
  if (unlikely(result == parsed_arp))
    return from->state == state_observed ? TC_ACT_OK : arp_from_workload(skb, p);
  if (unlikely(result != parsed))
    return drop(p, result);
  if (unlikely(!has_source_mac(skb, from->mac)))
    return drop(p, counter_spoofed);
  if (unlikely(p->icmp == icmp_neighbour))
    return from->state == state_observed ? TC_ACT_OK : neighbour_from_workload(skb, p);
  if (unlikely(!same_address(p->source, address_of(from, p->is_ipv6))))
    return drop(p, counter_spoofed);
  if (unlikely(p->icmp == icmp_reports))
    return report_from_workload(skb, p);
  if (unlikely(p->fragment)) {
    result = check_fragment(skb, p);
    if (result != parsed)
      return drop(p, result);
  }
  set_key(p);
  struct connection *c = bpf_map_lookup_elem(&connections, &p->key);
  if (!c)
    return first_from_workload(skb, p, 0, 0);
  __u32 side = (p->source_is_high != c->originator_is_high) & 1, to_slot = c->slot[side ^ 1];
  struct endpoint *to = endpoint_at(to_slot);
  if (unlikely(!is_current_from_workload(p, c, from, to)))
    return first_from_workload(skb, p, c, 0);
  if (unlikely(use_connection(p, c) != use_pass))
    return first_from_workload(skb, p, c, 1);
  p->slot[1] = to_slot;
  p->overlay_host = c->overlay_host;
  p->routed = is_routed_reply(p, c);
  return forward(skb, p, from, to);
}

/*
 * Observed: told and counted before, never enforced. But the mark says whose the packet is, and whoever receives it is governed all the
 * same: nobody is observed in another's name, nor in the host's.
 */
SHARED int pass_observed(struct __sk_buff *skb, struct packet *p)
{
  if (!p)
    return TC_ACT_SHOT;
  __u8 source[16] __attribute__((aligned(8)));
  copy_address(source, p->source);
  struct address_owner *owner = bpf_map_lookup_elem(&addresses, source);
  if (owner && (owner->kind != owner_endpoint || owner->slot != p->slot[0]))
    return TC_ACT_SHOT;
  __u32 judged = skb->mark & mark_host;
  if (!judged && p->icmp != icmp_neighbour && is_for_host(p))
    return TC_ACT_SHOT;
  int action = to_host(skb);
  skb->mark |= judged;
  return action;
}

SEC("tc")
int from_workload(struct __sk_buff *skb)
{
  /* A program's own answer for outside. A workload's mark never gets here: it is cleared where a packet changes its namespace. */
  if (unlikely((skb->mark & mark_mask) == mark_answer)) {
    skb->mark = mark_workload;
    return TC_ACT_OK;
  }
  skb->mark = 0;
  __u32 slot = 0;
  struct endpoint *from = endpoint_on(skb->ifindex, &slot);
  if (unlikely(!from)) {
    count(counter_unknown_interface);
    return TC_ACT_SHOT;
  }
  struct packet p = {.slot = {slot, 0}, .hook = hook_from_workload, .length = skb->len};
  if (unlikely(from->state == state_fenced))
    return drop(&p, counter_fenced);
  int action = enforce_from_workload(skb, &p, from);
  return unlikely(from->state == state_observed) ? pass_observed(skb, &p) : action;
}
