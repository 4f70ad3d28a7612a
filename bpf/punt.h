/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Holding a packet: it leaves for the agent through the punt device under a one-time id. All bounds act before the device. */
#pragma once
#include "account.h"
#include "connections.h"
#include "scratch.h"

struct punt_mac {
  __u8 local;
  __u8 verb;
  __u8 id[4];
};

FAST void release_punt(__u32 slot)
{
  struct usage *usage = usage_of(slot);
  if (usage && usage->punts)
    __sync_fetch_and_sub(&usage->punts, 1);
}

/* Forgets a held packet that was not consumed. */
FAST void expire_punt(__u32 id)
{
  struct punt *punt = bpf_map_lookup_elem(&punts, &id);
  if (!punt || __sync_val_compare_and_swap(&punt->outcome, outcome_none, outcome_stale) != outcome_none)
    return;
  release_punt(punt->holder_slot);
  bpf_map_delete_elem(&punts, &id);
}

/* Bounds of one endpoint; a counter says which one was hit, 0 (`denied` never is one) that there is room. */
FAST int refuse_punt(struct packet *p, const struct config *config, struct usage *usage)
{
  struct connection_key *key = key_of(p);
  struct pending *pending = key ? bpf_map_lookup_elem(&pendings, key) : 0;
  if (pending) {
    if (now_of(p) - pending->at_ns < (__u64)pending_ms * 1000000)
      return counter_punt_absorbed;
    expire_punt(pending->id);
  }
  if (!config->punt_rate || !take_token(&usage->punt_bucket, now_of(p), 1000000000 / config->punt_rate, config->punt_burst))
    return counter_punt_rate;
  return usage->punts >= punts_per_endpoint_max ? counter_punt_full : 0;
}

FAST __u32 generation_of(__u32 slot)
{
  struct endpoint *endpoint = endpoint_at(slot);
  return endpoint ? endpoint->generation : 0;
}

/* Writes down what is known under a fresh id; 0 where the tables are full. */
SHARED __u32 record_punt(struct __sk_buff *skb, struct packet *p, struct judgement *j)
{
  if (!p || !j)
    return 0;
  const struct party *end = j->end;
  const struct verdict *verdict = &j->verdict;
  __u32 from_responder = j->side;
  struct scratch *scratch = scratch_here();
  if (!scratch)
    return 0;
  struct punt *punt = &scratch->punt;
  __builtin_memset(punt, 0, sizeof *punt);
  punt->at_ns = now_of(p);
  punt->protocol = p->protocol;
  punt->from_responder = from_responder;
  struct pending pending = {.at_ns = now_of(p), .id = bpf_get_prandom_u32() | 1};
  for (int side = 0; side < 2; side++) {
    punt->word[side] = end[side].word;
    punt->slot[side] = end[side].slot;
    punt->identity[side] = end[side].identity;
    punt->rule[side] = verdict->asked[side];
    punt->generation[side] = generation_of(end[side].slot);
  }
  copy_address(punt->source, from_responder ? p->destination : p->source);
  copy_address(punt->destination, from_responder ? p->source : p->destination);
  punt->source_port = from_responder ? p->destination_port : p->source_port;
  punt->destination_port = from_responder ? p->source_port : p->destination_port;
  punt->reason = verdict->wait ? punt_held : punt_ask;
  punt->hook = p->hook;
  punt->ifindex = p->ifindex;
  punt->holder_slot = slot_here(p);
  if (is_at_uplink(p) && bpf_skb_load_bytes(skb, ETH_ALEN, punt->mac, ETH_ALEN))
    return 0;
  if (bpf_map_update_elem(&punts, &pending.id, punt, BPF_NOEXIST))
    return 0;
  struct connection_key *key = key_of(p);
  if (key && !bpf_map_update_elem(&pendings, key, &pending, BPF_ANY))
    return pending.id;
  bpf_map_delete_elem(&punts, &pending.id);
  return 0;
}

/* Sends the packet to the agent, or drops it under the bound that it met. */
SHARED int punt_packet(struct __sk_buff *skb, struct packet *p, struct judgement *j)
{
  if (!p || !j)
    return TC_ACT_SHOT;
  const struct verdict *verdict = &j->verdict;
  struct config *config = read_config();
  struct usage *usage = usage_of(slot_here(p));
  if (!config || !config->punt_ifindex || !usage)
    return drop(p, counter_punt_no_device);
  int refused = refuse_punt(p, config, usage);
  if (refused == counter_punt_absorbed) {
    count_at(slot_here(p), counter_punt_absorbed);
    return TC_ACT_SHOT;
  }
  if (refused)
    return drop(p, refused);
  struct punt_mac mac = {.local = 2};
  __u32 id = record_punt(skb, p, j);
  if (!id)
    return drop(p, counter_punt_full);
  __sync_fetch_and_add(&usage->punts, 1);
  __builtin_memcpy(mac.id, &id, sizeof id);
  struct story story = {.kind = event_ask, .reason = verdict->wait ? counter_held : counter_asked};
  tell_ends(&story, j->end, verdict, j->side);
  count(story.reason);
  report(p, &story);
  if (bpf_skb_store_bytes(skb, ETH_ALEN, &mac, sizeof mac, 0))
    return TC_ACT_SHOT;
  return bpf_redirect(config->punt_ifindex, 0);
}
