/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Ingress of the host's uplinks: nobody out there has an address of ours; and what is for the host itself is judged, where the host is a
 * subject. Only that gets the host's mark: whatever else the stack takes for the host's own is dropped by its input chain.
 */
#pragma once
#include "uplink.h"

FAST int enter_host(struct __sk_buff *skb)
{
  skb->mark = mark_host;
  return TC_ACT_OK;
}

FAST int is_to_many(const struct __sk_buff *skb, const struct packet *p)
{
  return p->multicast || skb->pkt_type == PACKET_BROADCAST || skb->pkt_type == PACKET_MULTICAST;
}

FAST int enforce_from_uplink(struct __sk_buff *skb, struct packet *p, const struct endpoint *host)
{
  int is_own = is_host_address(p->destination);
  if (!is_own && !is_to_many(skb, p))
    return TC_ACT_OK;
  if (p->icmp == icmp_neighbour)
    return enter_host(skb);
  /* The stack puts fragments together before its input chain, and the whole has the mark of the first. */
  if (p->fragment_offset)
    return TC_ACT_OK;
  if (p->icmp == icmp_reports) {
    if (is_about_connection(skb, p))
      return enter_host(skb);
    count_at(host_slot, counter_icmp_unmatched);
    return TC_ACT_OK;
  }
  int action = is_own ? judge_at_uplink(skb, p, host) : judge_multicast(p);
  return action == may_pass ? enter_host(skb) : action;
}

/*
 * Link-local addresses are each link's own: the router out there may well be fe80::1, as the host is to its workloads. What neighbours and
 * routers say to each other is believed or not by the stack; nothing else is let through from such an address.
 */
FAST int is_of_its_link(const struct packet *p, int result)
{
  int is_discovery = p->icmp == icmp_neighbour || result == counter_router_solicitation || result == counter_router_advertisement;
  return is_discovery && p->is_ipv6 && p->source[0] == 0xfe && (p->source[1] & 0xc0) == 0x80;
}

SEC("tc")
int from_uplink(struct __sk_buff *skb)
{
  __u32 mark = skb->mark & mark_mask;
  struct packet p = {
    .now = bpf_ktime_get_coarse_ns(), .length = skb->len, .slot = {0, host_slot}, .hook = hook_from_uplink, .ifindex = skb->ifindex};
  /* A program's own answer to the host, or what a decision let in. The wire gives no marks. */
  if (unlikely(mark == mark_answer || mark == mark_forwarded))
    return enter_host(skb);
  skb->mark = 0;
  int result = parse(skb, &p);
  struct endpoint *host = host_endpoint();
  /* Not IP, or not for us to understand: to_workload is stricter, should it come that far. */
  if (result == parsed_arp || (result != parsed && !p.source[10] && !p.is_ipv6))
    return !host || is_beneath(skb, result) ? enter_host(skb) : TC_ACT_OK;
  struct address_owner *owner = bpf_map_lookup_elem(&addresses, p.source);
  if (owner && !is_of_its_link(&p, result)) {
    p.slot[1] = owner->slot;
    drop(&p, counter_uplink_spoofed);
    return TC_ACT_SHOT;
  }
  /* The mark also where nobody judges: the input chain may come before the first judgement, and go after the last. */
  if (likely(!host))
    return enter_host(skb);
  if (likely(result == parsed))
    return enforce_from_uplink(skb, &p, host);
  return is_beneath(skb, result) ? enter_host(skb) : drop(&p, result);
}
