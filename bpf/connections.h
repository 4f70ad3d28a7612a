/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The connection table: keys, life of an entry, and who pays for it. */
#pragma once
#include "scratch.h"
#include "sctp.h"

/* Fills a key from the two ends as a packet has them; true when the packet's source is the higher one. */
FAST int make_key(struct connection_key *key, const __u8 *from, const __u8 *to, __u16 from_port, __u16 to_port, __u8 protocol)
{
  const struct words *source = WORDS(from), *destination = WORDS(to);
  int high = source->first != destination->first     ? source->first > destination->first
             : source->second != destination->second ? source->second > destination->second
                                                     : from_port > to_port;
  copy_address(key->low, high ? to : from);
  copy_address(key->high, high ? from : to);
  key->low_port = high ? to_port : from_port;
  key->high_port = high ? from_port : to_port;
  key->protocol = protocol;
  key->padding[0] = key->padding[1] = key->padding[2] = 0;
  return high;
}

FAST void set_key(struct packet *p)
{
  p->source_is_high = make_key(&p->key, p->source, p->destination, p->source_port, p->destination_port, p->protocol);
}

#define IDLE(milliseconds) ((__u64)(milliseconds) * 1000000)

/* Coarse clocks of two processors may differ by a tick, so the difference is signed. */
FAST int is_dead(const struct connection *c, __u64 now)
{
  return (__s64)(now - c->last_seen_ns) > (__s64)c->idle_ns;
}

/* As !is_dead(), for the fast path: within one jiffy of its last packet an entry needs no clock. */
FAST int is_alive(struct packet *p, struct connection *c)
{
  __u32 tick = bpf_jiffies64();
  if (likely(c->tick == tick))
    return 1;
  p->now = bpf_ktime_get_coarse_ns();
  c->tick = tick;
  return !is_dead(c, p->now);
}

FAST __u64 idle_at_start(__u8 protocol, __u8 state)
{
  switch (protocol) {
  case IPPROTO_SCTP:
    return IDLE(state == tcp_syn_sent ? idle_tcp_syn_sent : idle_sctp_established);
  case IPPROTO_TCP:
    return IDLE(state == tcp_syn_sent ? idle_tcp_syn_sent : idle_tcp_established);
  case IPPROTO_UDP:
    return IDLE(idle_udp_single);
  case IPPROTO_ICMP:
  case IPPROTO_ICMPV6:
    return IDLE(idle_icmp);
  }
  return IDLE(idle_other);
}

/* Entries of an endpoint may fill its budget; entries that outside opened to it have one of their own. */
FAST __u64 *budget_of(const __u32 *slot)
{
  struct usage *usage = usage_of(slot[0] ? slot[0] : slot[1]);
  return usage ? &usage->connections[slot[0] ? 0 : 1] : 0;
}

FAST void pay_back(const struct connection *c)
{
  __u64 *budget = budget_of(c->slot);
  if (budget && *budget)
    __sync_fetch_and_sub(budget, 1);
}

SLOW int forget(const struct connection_key *key, const struct connection *c)
{
  struct connection copy = {.slot = {c->slot[0], c->slot[1]}};
  if (bpf_map_delete_elem(&connections, key))
    return 0;
  pay_back(&copy);
  return 1;
}

/* An entry that is over stays for a moment, but never in more than half of a budget. */
FAST void keep_if_room(const struct connection_key *key, struct connection *c)
{
  __u64 *budget = budget_of(c->slot);
  struct endpoint *payer = endpoint_at(c->slot[0] ? c->slot[0] : c->slot[1]);
  if (budget && payer && *budget > payer->connections_max / 2)
    forget(key, c);
}

/* A closed connection stays for a moment, so that late segments are no news. */
SHARED int close_connection(struct packet *p, struct connection *c, __u64 now)
{
  struct connection_key *key = p ? key_of(p) : 0;
  if (!key || !c)
    return 0;
  c->state = tcp_closed;
  c->idle_ns = IDLE(idle_tcp_closed);
  c->last_seen_ns = now;
  if (!report_close(key, c, now))
    return 0;
  keep_if_room(key, c);
  return 0;
}

/* No endpoint has this word: an entry that holds it is judged again with every packet. */
#define word_of_nobody (~0ull)

enum use { use_pass, use_close, use_open };

/*
 * TCP that is not plain data of an open connection. `side`: 0 from the originator. `use_open`: a SYN that begins another connection
 * on the same ports, to be judged in its sender's direction. `use_close`: this segment was its last.
 */
SHARED int advance_tcp(struct packet *p, struct connection *c, __u32 side)
{
  if (!p || !c)
    return use_pass;
  __u8 flags = p->tcp_flags;
  if ((flags & (tcp_syn | tcp_ack)) == tcp_syn)
    return side == 0 && c->state == tcp_syn_sent && c->sequence == p->sequence ? use_pass : use_open;
  if (c->state == tcp_closed)
    return use_pass;
  if (flags & tcp_rst)
    return use_close;
  if (c->state == tcp_syn_sent && side == 1 && flags & tcp_syn) {
    c->state = tcp_established;
    c->idle_ns = IDLE(idle_tcp_established);
  }
  __u8 sent = connection_fin << (side & 1), acked = connection_fin_acked << (~side & 1);
  if (flags & tcp_fin) {
    c->fin_end[side & 1] = p->sequence + p->payload + 1;
    c->flags |= sent;
    c->state = tcp_closing;
    c->idle_ns = IDLE(idle_tcp_closing);
  }
  if (flags & tcp_ack && c->flags & (connection_fin << (~side & 1)) && (__s32)(p->acknowledgement - c->fin_end[~side & 1]) >= 0)
    c->flags |= acked;
  return (c->flags & (connection_fin_acked * 3)) == connection_fin_acked * 3 ? use_close : use_pass;
}

/* As advance_tcp(), for associations. */
SHARED int advance_sctp(struct packet *p, struct connection *c, __u32 side)
{
  if (!p || !c)
    return use_pass;
  switch (p->chunk) {
  case sctp_init:
    return side == 0 && c->state == tcp_syn_sent && c->sequence == p->sequence ? use_pass : use_open;
  case sctp_cookie_ack:
    /* INIT ACK commits nobody to anything: the association is there once the cookie has come back and was taken. */
    if (c->state == tcp_syn_sent && side == 1) {
      c->state = tcp_established;
      c->idle_ns = IDLE(idle_sctp_established);
    }
    return use_pass;
  case sctp_shutdown:
  case sctp_shutdown_ack:
    if (c->state != tcp_closed) {
      c->state = tcp_closing;
      c->idle_ns = IDLE(idle_tcp_closing);
    }
    return use_pass;
  case sctp_abort:
  case sctp_shutdown_complete:
    return c->state == tcp_closed ? use_pass : use_close;
  }
  return use_pass;
}

FAST __u8 *address_of(struct endpoint *endpoint, int is_ipv6)
{
  return is_ipv6 ? endpoint->ipv6 : endpoint->ipv4;
}

/* A reply to what came through the host's stack goes back through it, for the sake of its NAT. */
FAST __u32 is_routed_reply(const struct packet *p, const struct connection *c)
{
  return c->flags & connection_routed && c->originator_is_high != p->source_is_high;
}

/* Whether one end of an entry is still what it was when the entry was judged. Outside has no word: its peers' words change for it. */
FAST int end_is_current(const struct connection *c, __u32 side, const struct endpoint *endpoint)
{
  return (endpoint->state == state_governed || endpoint->state == state_observed) && word_of(endpoint) == c->word[side & 1];
}

/* A packet of a known connection: its state, its clock, its counters. */
FAST int use_connection(struct packet *p, struct connection *c)
{
  __u32 side = p->source_is_high != c->originator_is_high;
  int use = use_pass;
  if (p->protocol == IPPROTO_TCP) {
    if (unlikely(c->state != tcp_established || p->tcp_flags & (tcp_fin | tcp_syn | tcp_rst)))
      use = advance_tcp(p, c, side);
  } else if (p->protocol == IPPROTO_SCTP) {
    use = advance_sctp(p, c, side);
  } else if (p->protocol == IPPROTO_UDP) {
    if (c->flags & connection_replied && c->packets[0] + c->packets[1] > 2)
      c->idle_ns = IDLE(idle_udp_stream);
  } else if (side == 1 && p->icmp == icmp_asks) {
    use = use_open;
  }
  if (unlikely(use == use_open))
    return use;
  if (side == 1 && !(c->flags & connection_replied))
    c->flags |= connection_replied;
  if (p->now && c->state != tcp_closed)
    c->last_seen_ns = p->now;
  /* Each direction of a flow is sent by one processor at a time, so its own pair of numbers needs no atomic addition. */
  c->packets[side & 1] += 1;
  c->bytes[side & 1] += p->length;
  if (unlikely(use == use_close))
    close_connection(p, c, now_of(p));
  return use_pass;
}
