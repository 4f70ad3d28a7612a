/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Behind the other programs, which end every packet's way through the hook: these see what was judged by nobody, and only then. */
#pragma once
#include "uplink.h"

/* Behind those of workloads and of the punt device. */
SEC("tc")
int closed(struct __sk_buff *skb __attribute__((unused)))
{
  count(counter_program_error);
  return TC_ACT_SHOT;
}

/* One packet by itself: what the guard allows, or the answer of an open TCP connection that it allowed. */
SHARED int is_guarded(const struct packet *p)
{
  if (!p)
    return 0;
  __u8 far[16] __attribute__((aligned(8)));
  __u32 in = is_received(p), protocol = (__u32)p->protocol << 16;
  copy_address(far, in ? p->source : p->destination);
  if (host_port(WORDS(far), protocol | p->destination_port, in ? host_port_guard_in : host_port_guard_out))
    return 1;
  return p->protocol == IPPROTO_TCP && !begins_connection(p) &&
         host_port(WORDS(far), protocol | p->source_port, in ? host_port_guard_out : host_port_guard_in);
}

/*
 * Behind those of uplinks. The host's own packets pass no more than its guard, so that whoever is to repair it can; without the host's
 * mark its input chain takes nothing in. Where the host is no subject, nothing was to be judged.
 */
SEC("tc")
int closed_uplink(struct __sk_buff *skb)
{
  if (likely(!host_endpoint()))
    return TC_ACT_UNSPEC;
  int in = skb->ingress_ifindex == skb->ifindex;
  if (!in && skb->ingress_ifindex)
    return TC_ACT_OK;
  struct packet p = {
    .length = skb->len, .slot = {in ? 0 : host_slot, in ? host_slot : 0}, .hook = in ? hook_from_uplink : hook_to_uplink};
  int result = parse(skb, &p);
  if (in)
    skb->mark = 0;
  if (result == parsed ? p.icmp == icmp_neighbour || p.icmp == icmp_reports || is_guarded(&p) : is_beneath(skb, result)) {
    if (in)
      skb->mark = mark_host;
    return TC_ACT_OK;
  }
  if (in)
    return TC_ACT_OK;
  return drop(&p, counter_program_error);
}
