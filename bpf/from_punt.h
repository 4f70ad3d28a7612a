/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Ingress of the punt device: frames that the agent gives back, each good for one use of its id. */
#pragma once
#include "first.h"
#include "from_workload.h"

/* Takes the id away for good; whoever comes second gets nothing. */
FAST int consume(struct punt *punt, __u32 id, struct packet *p)
{
  if (__sync_val_compare_and_swap(&punt->outcome, outcome_none, outcome_stale) != outcome_none)
    return 0;
  release_punt(punt->holder_slot);
  struct pending *pending = bpf_map_lookup_elem(&pendings, &p->key);
  if (pending && pending->id == id)
    bpf_map_delete_elem(&pendings, &p->key);
  return 1;
}

/* Only the very packet that was held may use the id. */
FAST int is_same_packet(const struct punt *punt, const struct packet *p)
{
  const __u8 *source = punt->from_responder ? punt->destination : punt->source;
  const __u8 *destination = punt->from_responder ? punt->source : punt->destination;
  return same_address(source, p->source) && same_address(destination, p->destination) && punt->protocol == p->protocol;
}

/* The agent's "no" about a packet: the connection it wanted is told as refused. */
SHARED int refuse_punted(struct __sk_buff *skb, struct packet *p, struct punt *punt, __u32 verb)
{
  if (!p || !punt)
    return TC_ACT_SHOT;
  struct story story = {.kind = event_deny, .reason = counter_refused, .from_responder = punt->from_responder};
  for (int side = 0; side < 2; side++) {
    story.slot[side] = punt->slot[side];
    story.identity[side] = punt->identity[side];
    story.rule[side] = punt->rule[side];
  }
  punt->outcome = outcome_refused;
  count_at(p->slot[0] ? p->slot[0] : p->slot[1], counter_refused);
  report(p, &story);
  return verb == verb_reject ? answer_reject(skb, p) : TC_ACT_SHOT;
}

/* Slots and generations must be those of the time of the question, and the rules that asked the same. */
FAST int is_still_asked(const struct punt *punt, const struct judgement *j)
{
  for (int side = 0; side < 2; side++) {
    if (j->end[side].slot != punt->slot[side] || generation_of(j->end[side].slot) != punt->generation[side])
      return 0;
    if (j->verdict.asked[side] != punt->rule[side])
      return 0;
  }
  return j->end[0].identity == punt->identity[0] && j->end[1].identity == punt->identity[1];
}

/* On its way: into the workload, or into the ingress of the sender's interface, from where the host's stack takes it. */
FAST int send_on(struct __sk_buff *skb, struct packet *p)
{
  if (is_at_uplink(p)) {
    skb->mark = mark_forwarded;
    return bpf_redirect(p->ifindex, is_received(p) ? BPF_F_INGRESS : 0);
  }
  struct endpoint *from = endpoint_at(p->slot[0]), *to = endpoint_at(p->slot[1]);
  if (to && to->kind != kind_host && (p->hook == hook_to_workload || to->state != state_observed))
    return to_endpoint(skb, p, to);
  if (!from || bpf_skb_store_bytes(skb, ETH_ALEN, from->mac, ETH_ALEN, 0))
    return TC_ACT_SHOT;
  return bpf_redirect(from->ifindex, BPF_F_INGRESS);
}

SHARED int judge_punted(struct __sk_buff *skb, struct packet *p, struct punt *punt, __u32 verb)
{
  if (!p || !punt)
    return TC_ACT_SHOT;
  struct scratch *scratch = scratch_here();
  if (!scratch)
    return TC_ACT_SHOT;
  struct judgement *j = &scratch->judgement;
  p->vouched = 1;
  struct connection_key *key = key_of(p);
  struct connection *c = key ? bpf_map_lookup_elem(&connections, key) : 0;
  int refused = evaluate(p, j, c, 0, 0);
  if (refused != may_pass)
    return drop(p, refused);
  p->seen_again = p->hook == hook_from_workload && (!p->slot[1] || p->slot[1] == host_slot);
  __u32 flags = 0;
  if (verb == verb_admit && punt->reason == punt_ask && (j->verdict.action == action_ask || j->verdict.wait)) {
    if (j->verdict.wait || !is_still_asked(punt, j))
      return drop(p, counter_punt_stale);
    flags = connection_decided;
  }
  int action = settle(skb, p, j, c, flags);
  if (action != may_pass) {
    punt->outcome = action == TC_ACT_SHOT ? outcome_full : outcome_sent;
    return action;
  }
  punt->outcome = outcome_sent;
  return send_on(skb, p);
}

SEC("tc")
int from_punt(struct __sk_buff *skb)
{
  struct punt_mac mac;
  __u32 id = 0;
  struct packet p = {.now = bpf_ktime_get_coarse_ns(), .length = skb->len};
  skb->mark = 0;
  if (bpf_skb_load_bytes(skb, ETH_ALEN, &mac, sizeof mac))
    return TC_ACT_SHOT;
  __builtin_memcpy(&id, mac.id, sizeof id);
  struct punt *punt = bpf_map_lookup_elem(&punts, &id);
  int understood = parse(skb, &p) == parsed;
  set_key(&p);
  /* An id is good for one try, also with the wrong packet. */
  if (!punt || !consume(punt, id, &p) || !understood || !is_same_packet(punt, &p)) {
    count(counter_punt_unknown);
    return TC_ACT_SHOT;
  }
  p.hook = punt->hook & 3;
  p.ifindex = punt->ifindex;
  p.slot[0] = punt->slot[punt->from_responder & 1];
  p.slot[1] = punt->slot[(punt->from_responder ^ 1) & 1];
  p.translated = !p.slot[0];
  if (is_at_uplink(&p) && bpf_skb_store_bytes(skb, ETH_ALEN, punt->mac, ETH_ALEN, 0))
    return TC_ACT_SHOT;
  if (mac.verb == verb_admit || mac.verb == verb_judge)
    return judge_punted(skb, &p, punt, mac.verb);
  return refuse_punted(skb, &p, punt, mac.verb);
}
