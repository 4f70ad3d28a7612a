/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Connections that were open when words changed: they go on as the same entry, end, or are reset. */
#pragma once
#include "answer.h"
#include "connections.h"

/* first_packet() returns a TC action, or this: forward it. */
enum { may_pass = -1 };

/* A connection that a decision admitted stays, as long as the same rules still ask. */
FAST int still_decided(const struct connection *c, const struct verdict *verdict)
{
  return c->flags & connection_decided && c->rule[0] == verdict->rule[0] && c->rule[1] == verdict->rule[1];
}

/* What a connection that is judged again was judged by before. */
FAST void recall(struct judgement *j, const struct connection *c)
{
  j->recorded[0] = c->rule[0];
  j->recorded[1] = c->rule[1];
  j->kept = c->kept;
}

/* An open connection under new words stays the same entry. */
SHARED int judged_again(struct packet *p, struct judgement *j, struct connection *c)
{
  if (!p || !j || !c)
    return counter_program_error;
  const struct party *end = j->end;
  const struct verdict *verdict = &j->verdict;
  struct config *config = read_config();
  __u64 *before = budget_of(c->slot);
  for (int side = 0; side < 2; side++) {
    c->word[side] = end[side].word;
    c->slot[side] = end[side].slot;
    c->identity[side] = end[side].identity;
    c->rule[side] = verdict->rule[side];
  }
  c->overlay_host = end[0].host | end[1].host;
  __u64 *after = budget_of(c->slot);
  if (before && after && before != after && *before) {
    __sync_fetch_and_sub(before, 1);
    __sync_fetch_and_add(after, 1);
  }
  if (verdict->action == action_allow && !verdict->stays)
    c->flags &= ~connection_decided;
  if (verdict->kept & ~c->kept)
    count(counter_connections_kept);
  c->kept = verdict->kept;
  if (!verdict->stays)
    c->revision = config ? config->revision : 0;
  count(counter_connections_judged_again);
  c->tick = bpf_jiffies64();
  use_connection(p, c);
  return may_pass;
}

SHARED int tell_refused(struct packet *p, struct judgement *j)
{
  if (!p || !j)
    return 0;
  struct story story = {.kind = event_deny, .reason = j->verdict.reason};
  tell_ends(&story, j->end, &j->verdict, j->side);
  count_at(p->slot[0] ? p->slot[0] : p->slot[1], j->verdict.reason);
  report(p, &story);
  return 0;
}

/* An open connection that may not go on. */
SHARED int end_connection(struct packet *p, struct connection *c)
{
  struct connection_key *key = p ? key_of(p) : 0;
  if (!key || !c)
    return 0;
  if (!report_close(key, c, now_of(p)))
    count(counter_events_lost);
  return forget(key, c);
}

/*
 * A rule that ends what lives. An end that is not speaking now learns of it when it does: until then the entry stays, for nothing but to
 * tell it. What has no beginning that could be told from the rest (UDP) begins anew with the next packet.
 */
SHARED int reset_connection(struct packet *p, struct connection *c)
{
  struct connection_key *key = p ? key_of(p) : 0;
  if (!key || !c)
    return 0;
  if (!report_close(key, c, now_of(p)))
    count(counter_events_lost);
  c->flags |= connection_reported;
  count(counter_connections_reset);
  if (p->protocol != IPPROTO_TCP && p->protocol != IPPROTO_SCTP)
    return forget(key, c);
  c->state = tcp_reset;
  c->word[0] = c->word[1] = word_of_nobody;
  c->idle_ns = IDLE(idle_reset);
  c->last_seen_ns = now_of(p);
  keep_if_room(key, c);
  return 1;
}

/* What is left is to answer the packet; by the caller, since every nested call costs stack. */
SHARED int settle_reset(struct packet *p, struct judgement *j, struct connection *c)
{
  if (!p || !j || !c)
    return 0;
  j->verdict.reason = counter_live_reset;
  if (c->state == tcp_reset) {
    count_at(p->slot[0] ? p->slot[0] : p->slot[1], counter_live_reset);
  } else {
    tell_refused(p, j);
    reset_connection(p, c);
  }
  return 0;
}
