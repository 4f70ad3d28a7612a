/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Packets that no current entry covers: judged, then opened, refused or held. */
#pragma once
#include "again.h"
#include "forward.h"
#include "host.h"
#include "punt.h"
#include "recycle.h"

/* Room for one more entry of whoever pays, or the bound that was met. */
FAST int take_budget(struct packet *p, const struct party *end, __u64 **budget)
{
  __u32 slot[2] = {end[0].slot, end[1].slot};
  struct endpoint *payer = endpoint_at(slot[0] ? slot[0] : slot[1]);
  *budget = budget_of(slot);
  if (!payer || !*budget)
    return counter_program_error;
  if (**budget < payer->connections_max || (recycle_if_alone(now_of(p)) && **budget < payer->connections_max)) {
    __sync_fetch_and_add(*budget, 1);
    return may_pass;
  }
  return counter_budget;
}

FAST void fill_connection(struct connection *c, const struct packet *p, const struct party *end, const struct verdict *verdict, __u32 flags)
{
  struct config *config = read_config();
  __builtin_memset(c, 0, sizeof *c);
  for (int side = 0; side < 2; side++) {
    c->word[side] = end[side].word;
    c->slot[side] = end[side].slot;
    c->identity[side] = end[side].identity;
    c->rule[side] = verdict->rule[side];
  }
  c->originator_is_high = p->source_is_high != p->answers;
  c->flags = flags;
  if (p->protocol == IPPROTO_SCTP)
    c->state = is_init(p) ? tcp_syn_sent : p->chunk == sctp_abort ? tcp_closed : tcp_established;
  if (p->protocol == IPPROTO_TCP)
    c->state = (p->tcp_flags & (tcp_syn | tcp_ack)) == tcp_syn ? tcp_syn_sent : p->tcp_flags & tcp_rst ? tcp_closed : tcp_established;
  c->idle_ns = c->state == tcp_closed ? IDLE(idle_tcp_closed) : idle_at_start(p->protocol, c->state);
  c->sequence = p->sequence;
  c->first_seen_ns = now_of(p);
  c->last_seen_ns = now_of(p);
  c->tick = bpf_jiffies64();
  c->revision = config ? config->revision : 0;
  c->overlay_host = end[0].host | end[1].host;
  c->packets[p->answers & 1] = !p->seen_again;
  c->bytes[p->answers & 1] = p->seen_again ? 0 : p->length;
}

/* Replaces an entry that is over (or begun again) in place: no other connection can take its room meanwhile. */
FAST int reopen(struct packet *p, struct connection *old, struct connection *fresh, const struct party *end)
{
  __u64 *before = budget_of(old->slot), *after = budget_of(fresh->slot);
  if (!report_close(&p->key, old, now_of(p)))
    count(counter_events_lost);
  if (before != after) {
    int refused = take_budget(p, end, &after);
    if (refused != may_pass)
      return refused;
    pay_back(old);
  }
  __builtin_memcpy(old, fresh, sizeof *old);
  return may_pass;
}

FAST int insert(struct packet *p, struct connection *fresh, const struct party *end)
{
  __u64 *budget = 0;
  int refused = take_budget(p, end, &budget);
  if (refused != may_pass)
    return refused;
  struct connection_key *key = key_of(p);
  long error = key ? bpf_map_update_elem(&connections, key, fresh, BPF_NOEXIST) : -1;
  if (key && error == -7 /* E2BIG */ && recycle_if_alone(now_of(p)))
    error = bpf_map_update_elem(&connections, key, fresh, BPF_NOEXIST);
  if (!error)
    return may_pass;
  if (budget)
    __sync_fetch_and_sub(budget, 1);
  /* Another processor was faster with the same connection. */
  return error == -17 /* EEXIST */ ? may_pass : counter_table_full;
}

/* `old`: the entry that the key had when it was looked up, or null. */
SHARED int open_connection(struct packet *p, struct judgement *j, struct connection *old, __u32 flags)
{
  if (!p || !j)
    return counter_program_error;
  const struct party *end = j->end;
  const struct verdict *verdict = &j->verdict;
  struct scratch *scratch = scratch_here();
  if (!scratch)
    return counter_program_error;
  struct connection *fresh = &scratch->connection;
  fill_connection(fresh, p, end, verdict, flags);
  int refused = old ? reopen(p, old, fresh, end) : insert(p, fresh, end);
  if (refused != may_pass)
    return refused;
  struct story story = {.kind = event_new, .reason = flags & connection_decided ? counter_admitted : counter_connections_opened};
  tell_ends(&story, end, verdict, p->answers);
  story.observed = verdict->observed_action;
  count(story.reason);
  report(p, &story);
  return may_pass;
}

/* A workload's address is believed with the mark that from_workload gives; a remote workload's from its own host under its own identity. */
FAST int is_believed(struct packet *p, const struct party *sender, __u32 mark)
{
  if (p->vouched) {
    p->overlay_host = sender->host;
    return 1;
  }
  if (p->overlay_host)
    return sender->owner == owner_remote && sender->host == p->overlay_host && sender->identity == p->overlay_identity;
  return sender->owner == owner_endpoint ? (mark & mark_mask) == mark_workload : sender->owner != owner_remote;
}

/* The packet's two ends in the order of the connection: `end[side]` sent it. False: the source is not who it says. */
FAST int set_ends(struct packet *p, struct party *end, __u32 side, __u32 mark)
{
  struct party *sender = &end[side & 1], *receiver = &end[~side & 1];
  struct endpoint *mine = endpoint_at(slot_here(p));
  if (!mine)
    return 0;
  if (!is_received(p)) {
    __builtin_memset(sender, 0, sizeof *sender);
    set_endpoint(sender, p->slot[0], mine);
    resolve(WORDS(p->destination), receiver);
    if (receiver->slot == host_slot && !side && is_published(WORDS(p->destination), p->destination_port, p->protocol))
      disown(receiver);
    p->slot[1] = receiver->slot;
    return 1;
  }
  __builtin_memset(receiver, 0, sizeof *receiver);
  set_endpoint(receiver, p->slot[1], mine);
  resolve(WORDS(p->source), sender);
  if (sender->slot == host_slot && p->translated)
    disown(sender);
  p->slot[0] = sender->slot;
  return is_believed(p, sender, mark);
}

/* An observed end would have refused or asked: told, not done. */
SHARED int tell_observed(struct packet *p, struct judgement *j, __u32 action)
{
  if (!p || !j)
    return 0;
  struct story story = {.kind = event_deny, .reason = counter_observed_denied, .observed = action};
  tell_ends(&story, j->end, &j->verdict, j->side);
  count(counter_observed_denied);
  report(p, &story);
  return 0;
}

/* A word that flipped while rows were read may have shown a mixture: then once more. */
FAST int words_changed(const struct party *end)
{
  struct endpoint *from = endpoint_at(end[0].slot), *to = endpoint_at(end[1].slot);
  return (from && word_of(from) != end[0].word) || (to && word_of(to) != end[1].word);
}

/* Both ends, and which of its peers the far one is to a workload that learnt it by name. */
FAST int find_ends(struct packet *p, struct judgement *j, __u32 mark)
{
  if (!set_ends(p, j->end, j->side, mark))
    return 0;
  if (unlikely(j->end[0].learns) && !j->end[1].owner)
    resolve_learnt(WORDS(j->side ? p->source : p->destination), &j->end[0], &j->end[1], j->open);
  return 1;
}

/* may_pass, or the counter under which the packet drops unjudged. `c`: the key's entry or null; `begins`: it opens another connection. */
SHARED int evaluate(struct packet *p, struct judgement *j, struct connection *c, __u32 begins, __u32 mark)
{
  if (!p || !j)
    return counter_program_error;
  if (p->protocol == IPPROTO_TCP && (p->tcp_flags & (tcp_syn | tcp_ack)) == tcp_syn)
    begins = 1;
  if (is_init(p))
    begins = 1;
  /* A responder that asks begins an exchange of its own, as in use_connection(). */
  if (p->icmp == icmp_asks && c && c->originator_is_high != p->source_is_high)
    begins = 1;
  j->open = c && !begins && !is_dead(c, now_of(p));
  j->side = j->open ? c->originator_is_high != p->source_is_high : p->answers;
  if (!j->open && p->icmp == icmp_answers)
    return counter_icmp_unmatched;
  if (!j->open && p->fragment_offset)
    return counter_fragment_unknown;
  __u32 point = (__u32)p->protocol << 16 | (j->side ? p->source_port : p->destination_port);
  if (c && j->open)
    recall(j, c);
  if (!find_ends(p, j, mark))
    return p->overlay_host ? counter_overlay_spoofed : counter_spoofed;
  guard_host(p, j, point);
  judge(j, point);
  if ((severity(j->verdict.action) == 2 || j->verdict.resets) && words_changed(j->end)) {
    find_ends(p, j, mark);
    guard_host(p, j, point);
    judge(j, point);
  }
  /* What a rule ended stays ended, whatever the rules are by now. */
  if (c && j->open && c->state == tcp_reset)
    j->verdict.resets = 1;
  return may_pass;
}

FAST int is_observed(const struct packet *p, const struct judgement *j)
{
  return j->end[(p->hook ^ j->side) & 1].state == state_observed;
}

FAST int is_reachable(__u32 host)
{
  struct config *config = read_config();
  return config && config->overlay_ifindex && host;
}

/* Carries out what evaluate() found. `flags` of a new entry: `connection_decided` where the manager's answer is at hand. */
SHARED int settle(struct __sk_buff *skb, struct packet *p, struct judgement *j, struct connection *known, __u32 flags)
{
  if (!p || !j)
    return TC_ACT_SHOT;
  struct verdict *verdict = &j->verdict;
  struct connection *c = j->open ? known : 0;
  int passes = !verdict->wait && severity(verdict->action) == 0 && !verdict->resets;
  /* The host has no program of its own that would judge behind an observed workload's. */
  if (is_observed(p, j) && !passes && (j->end[0].slot != host_slot || is_at_uplink(p)) && (j->end[1].slot != host_slot || is_at_uplink(p))) {
    tell_observed(p, j, verdict->wait ? action_ask : verdict->action);
    return may_pass;
  }
  if (verdict->observed_action != action_allow)
    tell_observed(p, j, verdict->observed_action);
  if (unlikely(verdict->resets && c)) {
    settle_reset(p, j, c);
    return answer_reject(skb, p);
  }
  if (verdict->wait)
    return punt_packet(skb, p, j);
  if (verdict->action == action_ask && !(flags & connection_decided) && !(c && still_decided(c, verdict)))
    return punt_packet(skb, p, j);
  if (severity(verdict->action) == 2) {
    if (c)
      end_connection(p, c);
    tell_refused(p, j);
    return verdict->action == action_reject ? answer_reject(skb, p) : TC_ACT_SHOT;
  }
  if (p->hook == hook_from_workload && j->end[~j->side & 1].owner == owner_remote && !is_reachable(j->end[~j->side & 1].host))
    return drop(p, counter_unreachable_remote);
  if (p->hook == hook_to_workload && p->slot[0])
    flags |= connection_routed;
  if (p->hook == hook_from_workload) {
    p->overlay_host = j->end[~j->side & 1].host;
    p->routed = c && is_routed_reply(p, c);
  }
  int refused = c ? judged_again(p, j, c) : open_connection(p, j, known, flags);
  return refused == may_pass ? may_pass : drop(p, refused);
}

FAST int first_packet(struct __sk_buff *skb, struct packet *p, struct connection *c, __u32 begins, __u32 mark)
{
  struct scratch *scratch = scratch_here();
  p->now = now_of(p);
  if (!scratch)
    return drop(p, counter_program_error);
  int refused = evaluate(p, &scratch->judgement, c, begins, mark);
  return refused == may_pass ? settle(skb, p, &scratch->judgement, c, 0) : drop(p, refused);
}
