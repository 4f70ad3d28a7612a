/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the programs at an uplink have in common: the host's own packets, judged as those of any endpoint. */
#pragma once
#include "first.h"
#include "fragments.h"
#include "icmp.h"

FAST int is_current_at_uplink(struct packet *p, struct connection *c, const struct endpoint *host)
{
  __u32 side = (p->source_is_high != c->originator_is_high) & 1, mine = (side ^ is_received(p)) & 1;
  return is_alive(p, c) && c->slot[mine] == host_slot && !c->slot[mine ^ 1] && end_is_current(c, mine, host);
}

/*
 * may_pass or a TC action. What is in the middle of an unknown connection and would be refused may belong to the host's NAT, which knew it
 * before we did: it goes on without the host's mark.
 */
SHARED int first_at_uplink(struct __sk_buff *skb, struct packet *p, struct connection *c, __u32 begins)
{
  struct scratch *scratch = scratch_here();
  if (!p || !scratch)
    return TC_ACT_SHOT;
  p->now = now_of(p);
  struct judgement *j = &scratch->judgement;
  int is_inside = p->protocol == IPPROTO_TCP && !begins_connection(p);
  if (is_inside && (!c || is_dead(c, p->now)))
    find_originator(skb, p);
  int refused = evaluate(p, j, c, begins, 0);
  if (refused != may_pass)
    return drop(p, refused);
  if (is_inside && !j->open && is_received(p) && !p->answers && severity(j->verdict.action) == 2) {
    tell_refused(p, j);
    count_at(host_slot, counter_host_unclaimed);
    return TC_ACT_OK;
  }
  return settle(skb, p, j, c, 0);
}

/* Which groups a link's routers and switches carry: IGMP, and MLD (types 130 to 132 and 143). */
FAST int is_upkeep(const struct packet *p)
{
  __u32 type = p->destination_port >> 8;
  return p->protocol == IPPROTO_IGMP || (p->protocol == IPPROTO_ICMPV6 && ((type >= 130 && type <= 132) || type == 143));
}

/* To many: there is no other end that could answer, so there is no entry, and no question. */
SHARED int judge_multicast(struct packet *p)
{
  struct scratch *scratch = scratch_here();
  if (!p || !scratch)
    return TC_ACT_SHOT;
  struct judgement *j = &scratch->judgement;
  if (is_upkeep(p))
    return may_pass;
  int refused = evaluate(p, j, 0, 1, 0);
  if (refused != may_pass)
    return drop(p, refused);
  if (j->verdict.action == action_allow && !j->verdict.wait)
    return may_pass;
  tell_refused(p, j);
  return TC_ACT_SHOT;
}

/* may_pass, or the action for the host's own packet. */
FAST int judge_at_uplink(struct __sk_buff *skb, struct packet *p, const struct endpoint *host)
{
  set_key(p);
  struct connection *c = bpf_map_lookup_elem(&connections, &p->key);
  if (likely(c && is_current_at_uplink(p, c, host)))
    return likely(use_connection(p, c) == use_pass) ? may_pass : first_at_uplink(skb, p, c, 1);
  if (is_received(p) && is_left_to_nat(p))
    return TC_ACT_OK;
  return first_at_uplink(skb, p, c, 0);
}

/* What is no connection: neighbours, routers, and whatever is not IP belong to the host's stack. -1: go on. */
FAST int is_beneath(const struct __sk_buff *skb, int result)
{
  if (result == parsed_arp || result == counter_router_solicitation || result == counter_router_advertisement)
    return 1;
  int is_ip = skb->protocol == bpf_htons(ETH_P_IP) || skb->protocol == bpf_htons(ETH_P_IPV6);
  return (result == counter_unknown_protocol && !is_ip) || result == counter_vlan;
}
