/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Who the two ends are, and what the rows in force say about them. Costs a handful of lookups, whatever the number of policies. */
#pragma once
#include "account.h"

enum { identity_host = 1, identity_world = 2, identity_unknown = 3 };

/*
 * One end of a connection. `owner` is 0 for an address that nobody of ours has; `host`: outer IPv4 address of a remote workload's host;
 * `guard`: the rule of the lock-out guard that allows it at the host's own end, else 0; `learns`: what it learnt by names may speak
 * for its peers.
 */
struct party {
  __u64 word;
  __u32 slot;
  __u32 identity;
  __u32 owner;
  __u32 state;
  __u32 host;
  __u32 learns;
  __u32 guard;
  __u32 padding;
};

FAST __u32 peer_of(const __u8 *address)
{
  struct cidr_key key = {.prefix = 128};
  __builtin_memcpy(key.address, address, 16);
  __u32 *peer = bpf_map_lookup_elem(&cidrs, &key);
  return peer ? *peer : identity_world;
}

/*
 * A trie of 10,000 networks costs an address 1 to 2 µs of cache misses, so each processor remembers what it found. The generation is
 * read before the trie: what changes meanwhile makes the hint void.
 */
SHARED int resolve_outside(const struct words *wanted, struct party *party)
{
  const __u8 *address = (const void *)wanted;
  if (!wanted || !party)
    return 0;
  __u64 mixed = (WORDS(address)->first ^ WORDS(address)->second >> 32) * 0x9e3779b97f4a7c15 ^ WORDS(address)->second * 0xc2b2ae3d27d4eb4f;
  __u32 zero = 0, index = (mixed >> 40) & (peer_hints_max - 1);
  volatile __u32 *generation = bpf_map_lookup_elem(&cidr_generation, &zero);
  struct peer_hint *hint = bpf_map_lookup_elem(&peer_hints, &index);
  if (!generation || !hint) {
    party->identity = peer_of(address);
    return 0;
  }
  __u32 now = *generation + 1;
  if (hint->generation != now || !now || !same_address(hint->address, address)) {
    hint->generation = now;
    hint->peer = peer_of(address);
    copy_address(hint->address, address);
  }
  party->identity = hint->peer;
  return 0;
}

/* The word is read here, before any row, so that an entry never claims newer rows than it was judged by. */
FAST void set_endpoint(struct party *party, __u32 slot, const struct endpoint *endpoint)
{
  party->word = word_of(endpoint);
  party->slot = slot;
  party->owner = owner_endpoint;
  party->state = endpoint->state;
  party->learns = endpoint->flags & endpoint_learns;
  party->identity = party->state == state_held ? identity_unknown : identity_of(party->word);
}

SHARED int resolve(const struct words *address, struct party *party)
{
  if (!address || !party)
    return 0;
  __builtin_memset(party, 0, sizeof *party);
  struct words key = *address;
  struct address_owner *owner = bpf_map_lookup_elem(&addresses, &key);
  if (!owner)
    return resolve_outside(address, party);
  party->owner = owner->kind;
  if (owner->kind == owner_endpoint) {
    struct endpoint *endpoint = endpoint_at(owner->slot);
    /* An address whose endpoint is gone belongs to nobody who may speak or listen. */
    if (!endpoint || endpoint->state == state_absent) {
      party->state = state_fenced;
      return 0;
    }
    set_endpoint(party, owner->slot, endpoint);
    return 0;
  }
  if (owner->kind == owner_host) {
    struct endpoint *host = host_endpoint();
    if (host)
      set_endpoint(party, host_slot, host);
    party->owner = owner_host;
    party->identity = identity_host;
    return 0;
  }
  party->identity = owner->identity;
  if (owner->kind == owner_remote)
    party->host = bpf_ntohl(*(__u32 *)&owner->host[12]);
  return 0;
}

#define DENIED (VERDICT_IMMEDIATE | action_deny << verdict_action_shift)

/* bound < point without a branch: the verifier would walk both ways of each. */
FAST __u64 is_below(__u64 bound, __u64 point)
{
  __u64 difference = bound - point;
  asm volatile("" : "+r"(difference));
  return difference >> 63;
}

/* The verdict of one side's rows; DENIED with rule 0 where there are none. */
SHARED __u32 look_up(__u32 ruleset_direction, __u32 peer, __u32 point)
{
  struct row_key key = {ruleset_direction, peer};
  __u32 *row = bpf_map_lookup_elem(&rows, &key);
  if (!row) {
    key.peer = 0;
    row = bpf_map_lookup_elem(&rows, &key);
  }
  if (!row)
    return DENIED;
  __u32 root = *row;
  for (int depth = 0; depth < port_depth_max; depth++) {
    if (root & VERDICT_IMMEDIATE)
      return root;
    struct port_node *node = bpf_map_lookup_elem(&port_nodes, &root);
    if (!node)
      return DENIED;
    __u64 child = 0;
#pragma unroll
    for (int i = 0; i < 15; i++)
      child += is_below(node->bound[i], point);
    root = node->next[child & 15];
  }
  return root & VERDICT_IMMEDIATE ? root : DENIED;
}

/* The peer that an address outside is to whoever asked for it by name. `open`: also where its time is over. */
SHARED int resolve_learnt(const struct words *address, const struct party *mine, struct party *peer, __u32 open)
{
  if (!address || !mine || !peer)
    return 0;
  struct learnt_key key = {.slot = mine->slot};
  copy_address(key.address, (const void *)address);
  struct learnt_peer *found = bpf_map_lookup_elem(&learnt, &key);
  if (found && (open || !found->lapsed))
    peer->identity = found->peer;
  return 0;
}

/*
 * What both sides say together. `wait`: an end is held. `rule` of a side that did not speak is 0. `observed_action`: what an observed
 * end would have done, action_allow where nothing differs. Of a live connection: `kept`, a bit for each side that lets it go on only
 * because it lives; `stays`: a side's rows stand between two others, and what it recorded remains; `resets`: a side ends it.
 */
struct verdict {
  __u32 action;
  __u32 reason;
  __u32 rule[2];
  __u32 asked[2];
  __u32 wait;
  __u32 observed_action;
  __u32 kept;
  __u32 stays;
  __u32 resets;
};

/*
 * What judging a packet found. `open`: it belongs to a live entry; `side`: then 1 where the responder sent it; `recorded` and `kept`: what
 * the entry says.
 */
struct judgement {
  struct party end[2];
  struct verdict verdict;
  __u32 side;
  __u32 open;
  __u32 recorded[2];
  __u32 kept;
};

FAST int severity(__u32 action)
{
  return action == action_allow ? 0 : action == action_ask ? 1 : 2;
}

/* What a side's rule makes of a connection that lives: the action, or allow where the rule lets what lives go on. */
FAST __u32 action_for_live(struct judgement *j, __u32 side, __u32 action, __u32 live)
{
  struct verdict *verdict = &j->verdict;
  __u32 bit = 1 << side, is_other = verdict->rule[side] != j->recorded[side];
  if (live == live_stay) {
    verdict->rule[side] = j->recorded[side];
    verdict->kept |= j->kept & bit;
    verdict->stays = 1;
    return action_allow;
  }
  if (live == live_keep && (is_other || j->kept & bit)) {
    verdict->kept |= bit;
    return action_allow;
  }
  if (live == live_reset && is_other)
    verdict->resets = 1;
  return action;
}

/* Adds one side's word to the verdict: deny or reject > ask > allow, and of two denials the egress side's form. */
FAST void add_side(struct judgement *j, __u32 side, __u32 point)
{
  const struct party *mine = &j->end[side], *peer = &j->end[side ^ 1];
  struct verdict *verdict = &j->verdict;
  __u32 root = mine->guard ? VERDICT_IMMEDIATE | mine->guard : look_up(ruleset_of(mine->word) << 1 | side, peer->identity, point);
  __u32 action = (root >> verdict_action_shift) & 7;
  verdict->rule[side] = root & verdict_rule_mask;
  if (mine->state == state_observed) {
    if (severity(action) > severity(verdict->observed_action))
      verdict->observed_action = action;
    return;
  }
  __u32 live = (root >> verdict_live_shift) & 3;
  if (unlikely(j->open && live != live_judge))
    action = action_for_live(j, side, action, live);
  if (action == action_ask)
    verdict->asked[side] = verdict->rule[side];
  if (severity(action) > severity(verdict->action)) {
    verdict->action = action;
    verdict->reason = action == action_reject ? counter_rejected : root == DENIED ? counter_no_row : counter_denied;
  }
}

/* `end[0]` opens the connection, `end[1]` is its other side, `point` is protocol << 16 | port. */
SHARED int judge(struct judgement *j, __u32 point)
{
  if (!j)
    return 0;
  const struct party *end = j->end;
  struct verdict *verdict = &j->verdict;
  __builtin_memset(verdict, 0, sizeof *verdict);
  if (end[0].state == state_fenced || end[1].state == state_fenced) {
    verdict->action = action_deny;
    verdict->reason = counter_fenced;
    return 0;
  }
  /* Whoever is not known yet may turn out to be anybody: neither side can be judged. */
  if (end[0].state == state_held || end[1].state == state_held) {
    verdict->wait = 1;
    return 0;
  }
  if (end[0].slot)
    add_side(j, 0, point);
  if (end[1].slot)
    add_side(j, 1, point);
  return 0;
}

FAST void tell_ends(struct story *story, const struct party *end, const struct verdict *verdict, __u32 from_responder)
{
  for (int side = 0; side < 2; side++) {
    story->slot[side] = end[side].slot;
    story->identity[side] = end[side].identity;
    story->rule[side] = verdict->rule[side];
  }
  story->from_responder = from_responder;
}
