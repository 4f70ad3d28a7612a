/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Counters and events: nothing is dropped, and no event lost, without a number that says so. */
#pragma once
#include "packet.h"

FAST void count(__u32 reason)
{
  __u32 index = reason;
  __u64 *value = bpf_map_lookup_elem(&counters, &index);
  if (value)
    *value += 1;
}

/* Counts for the machine and for one endpoint. */
SHARED int count_at(__u32 slot, __u32 reason)
{
  count(reason);
  struct endpoint_counters *mine = bpf_map_lookup_elem(&endpoint_counters, &slot);
  if (mine && reason < 64)
    __sync_fetch_and_add(&mine->count[reason], 1);
  return 0;
}

FAST struct usage *usage_of(__u32 slot)
{
  return bpf_map_lookup_elem(&usage, &slot);
}

/* What an event says about verdict and parties, in the connection's direction; the packet, which may go the other way, gives the rest. */
struct story {
  enum event_kind kind;
  enum counter reason;
  __u32 slot[2];
  __u32 identity[2];
  __u32 rule[2];
  __u32 observed;
  __u32 from_responder;
};

/* The endpoint that an event is charged to: the sender, or from outside the receiver. */
FAST int may_report(__u32 slot, enum event_kind kind, __u64 now)
{
  struct usage *usage = usage_of(slot);
  if (!usage)
    return 0;
  int refusal = kind == event_deny || kind == event_drop;
  int granted = refusal ? take_token(&usage->refusal_event_bucket, now, 1000000000 / refusal_events_per_second, refusal_events_burst)
                        : take_token(&usage->connection_event_bucket, now, 1000000000 / connection_events_per_second, connection_events_burst);
  if (!granted) {
    __sync_fetch_and_add(&usage->events_suppressed, 1);
    count(counter_events_suppressed);
  }
  return granted;
}

/* Nobody is woken: the agent drains the ring in its own rhythm, and an interrupt per event would cost more than the event. */
SHARED int report(const struct packet *p, const struct story *story)
{
  if (!p || !story)
    return 0;
  if (!may_report(p->slot[0] ? p->slot[0] : p->slot[1], story->kind, now_of(p)))
    return 0;
  struct event *event = bpf_ringbuf_reserve(&events, sizeof *event, 0);
  if (!event) {
    count(counter_events_lost);
    return 0;
  }
  struct config *config = read_config();
  __builtin_memset(event, 0, sizeof *event);
  event->at_ns = now_of(p);
  event->kind = story->kind;
  event->reason = story->reason;
  for (int side = 0; side < 2; side++) {
    event->slot[side] = story->slot[side];
    event->identity[side] = story->identity[side];
    event->rule[side] = story->rule[side];
  }
  event->revision = config ? config->revision : 0;
  event->length = p->length;
  int back = story->from_responder;
  copy_address(event->source, back ? p->destination : p->source);
  copy_address(event->destination, back ? p->source : p->destination);
  event->source_port = back ? p->destination_port : p->source_port;
  event->destination_port = back ? p->source_port : p->destination_port;
  event->protocol = p->protocol;
  event->observed = story->observed;
  event->first_seen_ns = now_of(p);
  bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
  return 1;
}

/* The end of a connection, told once. False when there was no room: the entry then stays until it can be told. */
SLOW int report_close(const struct connection_key *key, struct connection *c, __u64 now)
{
  if (c->flags & connection_reported)
    return 1;
  struct event *event = bpf_ringbuf_reserve(&events, sizeof *event, 0);
  if (!event)
    return 0;
  c->flags |= connection_reported;
  __builtin_memset(event, 0, sizeof *event);
  event->at_ns = now;
  event->kind = event_close;
  event->reason = counter_connections_closed;
  for (int side = 0; side < 2; side++) {
    event->slot[side] = c->slot[side];
    event->identity[side] = c->identity[side];
    event->rule[side] = c->rule[side];
    event->packets[side] = c->packets[side];
    event->bytes[side] = c->bytes[side];
  }
  event->revision = c->revision;
  int high = c->originator_is_high;
  copy_address(event->source, high ? key->high : key->low);
  copy_address(event->destination, high ? key->low : key->high);
  event->source_port = high ? key->high_port : key->low_port;
  event->destination_port = high ? key->low_port : key->high_port;
  event->protocol = key->protocol;
  event->tcp_state = c->state;
  event->flags = c->flags;
  event->first_seen_ns = c->first_seen_ns;
  bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
  count(counter_connections_closed);
  return 1;
}

/* Drops a packet that no verdict was asked about. */
SHARED int drop(const struct packet *p, __u32 reason)
{
  if (!p)
    return TC_ACT_SHOT;
  struct story story = {.kind = event_drop, .reason = reason, .slot = {p->slot[0], p->slot[1]}};
  count_at(p->slot[0] ? p->slot[0] : p->slot[1], reason);
  report(p, &story);
  return TC_ACT_SHOT;
}
