/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Egress of the host's uplinks: what the host itself sends. Only its own sockets make packets that came in by no interface; everything
 * else was forwarded, and was judged at the workload that it is from.
 */
#pragma once
#include "uplink.h"

/* Forwarded: with the host's address it is NAT's, and what answers it is not for the host. */
SHARED int pass_forwarded(struct __sk_buff *skb)
{
  __u32 mark = skb->mark & mark_mask;
  struct packet p = {.length = skb->len, .hook = hook_to_uplink};
  /* A program's own, or the host's own after a decision. */
  if (mark == mark_answer || mark == mark_forwarded || parse(skb, &p) != parsed || p.fragment_offset || !is_host_address(p.source))
    return TC_ACT_OK;
  set_key(&p);
  note_translated(&p);
  return TC_ACT_OK;
}

FAST int enforce_to_uplink(struct __sk_buff *skb, struct packet *p, const struct endpoint *host)
{
  int result = parse(skb, p);
  if (unlikely(result != parsed))
    return is_beneath(skb, result) ? TC_ACT_OK : drop(p, result);
  /* Errors are the stack's own, about what it received; and everybody on a link must find each other. */
  if (unlikely(p->icmp == icmp_neighbour || p->icmp == icmp_reports))
    return TC_ACT_OK;
  if (unlikely(p->fragment)) {
    result = check_fragment(skb, p);
    if (result != parsed)
      return drop(p, result);
  }
  int action = p->multicast ? judge_multicast(p) : judge_at_uplink(skb, p, host);
  if (action != may_pass)
    return action;
  if (unlikely(p->fragment && !p->fragment_offset))
    remember_fragment(skb, p);
  return TC_ACT_OK;
}

SEC("tc")
int to_uplink(struct __sk_buff *skb)
{
  struct endpoint *host = host_endpoint();
  if (likely(!host))
    return TC_ACT_UNSPEC;
  if (skb->ingress_ifindex)
    return pass_forwarded(skb);
  struct packet p = {.slot = {host_slot, 0}, .hook = hook_to_uplink, .length = skb->len, .ifindex = skb->ifindex};
  return enforce_to_uplink(skb, &p, host);
}
