/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The only source of map layouts: what the agent writes, what the programs write, and the limits of both. packages/kernel generates its
 * codecs from the BTF of the object, so a change here is a change there after `make`. Rules: natural alignment, explicit padding (always
 * zero), sizes asserted; numbers in host order (ports too), addresses 16 bytes in network order (IPv4 as ::ffff:a.b.c.d), times in
 * nanoseconds of CLOCK_MONOTONIC. Pins lie under a hash of all layouts, and live
 * connections are migrated to a new one.
 */
#pragma once
#include <linux/types.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "limits.h"

enum endpoint_state { state_absent = 0, state_held = 1, state_governed = 2, state_fenced = 3, state_observed = 4 };
enum endpoint_kind { kind_veth = 1, kind_tap = 2, kind_host = 3 };
/* `learns`: entries of `learnt` may speak for this endpoint's peers. */
enum endpoint_flag { endpoint_learns = 1 };

/*
 * `word` holds identity (bits 0–23), ruleset (24–47), epoch (48–63): userspace flips it in one aligned store through the mapping of the
 * map, and an entry of the connection table that recorded another word is judged again. Everything else changes only while the state is
 * `absent` or `held`, except `state` and `flags` themselves (one byte each). Order for a new endpoint: all fields, word, then state, then `interfaces`.
 */
struct endpoint {
  __u64 word;
  __u8 state;
  __u8 kind;
  __u16 mtu;
  __u32 ifindex;
  __u32 generation;
  __u32 connections_max;
  __u8 mac[6];
  __u8 gateway_mac[6];
  __u8 flags;
  __u8 padding[3];
  __u8 ipv4[16];
  __u8 ipv6[16];
};
_Static_assert(sizeof(struct endpoint) == 72, "endpoint");

/*
 * What the programs account to an endpoint, with atomic additions. Userspace writes only `connections`, through the mapping and also
 * atomically: whoever deletes an entry of the connection table subtracts it from its payer. `connections[0]`: entries that it opened, `[1]`: entries that
 * outside opened to it. Buckets hold the time at which the next token is due (generic cell rate algorithm).
 */
struct usage {
  __u64 connections[2];
  __u64 punts;
  __u64 punt_bucket;
  __u64 refusal_event_bucket;
  __u64 connection_event_bucket;
  __u64 answer_bucket;
  __u64 events_suppressed;
};
_Static_assert(sizeof(struct usage) == 64, "usage");

struct endpoint_counters {
  __u64 count[64];
};
_Static_assert(counters_count <= 64, "counters fit an endpoint's array");

/*
 * The host's own end. A guard allows, whatever the rules say (the lock-out guard); `address` is the far end there, all zero for anybody.
 * `published`: a port at which the host's NAT gives what comes to a workload; `address` is the host's there, all zero for every one.
 */
enum host_port_kind { host_port_guard_out = 0, host_port_guard_in = 1, host_port_published = 2 };
struct host_port_key {
  __u8 address[16];
  __u16 port;
  __u8 protocol;
  __u8 kind;
  __u32 padding;
};
_Static_assert(sizeof(struct host_port_key) == 24, "host_port_key");

enum owner_kind { owner_endpoint = 1, owner_remote = 2, owner_host = 3 };

/* Who owns an address. `identity` of an endpoint stands in the endpoint, so it is 0 here. `host`: outer address of the remote host. */
struct address_owner {
  __u32 kind;
  __u32 slot;
  __u32 identity;
  __u32 padding;
  __u8 host[16];
};
_Static_assert(sizeof(struct address_owner) == 32, "address_owner");

/* `prefix` counts bits of the 16-byte form: an IPv4 /24 is 120. */
struct cidr_key {
  __u32 prefix;
  __u8 address[16];
};
_Static_assert(sizeof(struct cidr_key) == 20, "cidr_key");

/*
 * The peer that an address outside is to one endpoint which learnt it by a name. `lapsed`: its time is over, and only what lives already
 * is judged by it.
 */
struct learnt_key {
  __u8 address[16];
  __u32 slot;
  __u32 padding;
};
struct learnt_peer {
  __u32 peer;
  __u32 lapsed;
};
_Static_assert(sizeof(struct learnt_key) == 24 && sizeof(struct learnt_peer) == 8, "learnt");

/* Where an address was found in `cidrs` last, while nothing there has changed: the generation it was found under, plus one. */
struct peer_hint {
  __u8 address[16];
  __u32 generation;
  __u32 peer;
};
_Static_assert(sizeof(struct peer_hint) == 24, "peer_hint");

/*
 * Roots and children: bit 31 set = verdict (bits 28–30 action, 26–27 live, 0–25 rule), else the index of a port node. Row key: `ruleset << 1 |
 * direction` (0 egress, 1 ingress), and peer: identity, CIDR peer, or 0 for every peer without a row. No row at all is denied (no_row).
 */
enum action { action_allow = 0, action_deny = 1, action_reject = 2, action_ask = 3 };
/*
 * What becomes of a live connection that is judged again and finds another rule than the one it recorded. `keep`: it goes on whatever
 * the action; `reset`: it ends whatever the action, and both ends are told; `stay`: nothing yet, these rows stand between two others.
 */
enum live { live_judge = 0, live_keep = 1, live_reset = 2, live_stay = 3 };
enum verdict_bits { verdict_action_shift = 28, verdict_live_shift = 26, verdict_rule_mask = (1 << 26) - 1 };
#define VERDICT_IMMEDIATE 0x80000000u

struct row_key {
  __u32 ruleset_direction;
  __u32 peer;
};
_Static_assert(sizeof(struct row_key) == 8, "row_key");

/*
 * Immutable node of a B-tree over `protocol << 16 | port`. Child i covers what is <= bound[i] and > bound[i-1]; child 15 the rest.
 * Unused bounds are 0xffffffff and their children repeat the last one.
 */
struct port_node {
  __u32 bound[15];
  __u32 padding;
  __u32 next[16];
};
_Static_assert(sizeof(struct port_node) == 128, "port_node");

/*
 * Endpoints sorted: `low` is the one whose (address words 0–7, 8–15 as little-endian 64-bit numbers, port) is less. ICMP: the asker's
 * port is the echo identifier (0 for other types), the other's is `type * 256 + code` of the asking message.
 */
struct connection_key {
  __u8 low[16];
  __u8 high[16];
  __u16 low_port;
  __u16 high_port;
  __u8 protocol;
  __u8 padding[3];
};
_Static_assert(sizeof(struct connection_key) == 40, "connection_key");

/* SCTP's associations have the same states: INIT sent, COOKIE ACK seen, SHUTDOWN seen. `reset`: a rule ended it, nothing of it passes. */
enum tcp_state { tcp_none = 0, tcp_syn_sent = 1, tcp_established = 2, tcp_closing = 3, tcp_closed = 4, tcp_reset = 5 };
enum connection_flag {
  connection_decided = 1,  /* a decision of the manager admitted it */
  connection_replied = 2,  /* the responder has sent something */
  connection_routed = 4,   /* came through the host's stack: replies go the same way, for its NAT */
  connection_reported = 8, /* its `close` event was written */
  connection_fin = 16,     /* originator's FIN seen; responder's is << 1 */
  connection_fin_acked = 64, /* originator's FIN acknowledged; responder's is << 1 */
};

/*
 * Index 0 is the originator's side, 1 the responder's (for `rule`: egress, ingress). `word`: endpoint's word when judged, 0 where the
 * side is no endpoint of this host. `originator_is_high`: which end of the key opened the connection. An entry is dead when
 * `last_seen_ns + idle_ns` has passed. `kept`: a bit for each side whose rule lets it live on only because it lived. `sequence`: of TCP's
 * SYN, or the tag of SCTP's INIT. `tick`: jiffies at the last look at the clock, so that not every packet pays for one.
 * `overlay_host`: outer IPv4 address of the host of the end that is a workload elsewhere, else 0. The originator's endpoint pays for it; where that is outside (slot 0), the responder's.
 */
struct connection {
  __u64 word[2];
  __u64 last_seen_ns;
  __u64 idle_ns;
  __u64 packets[2];
  __u64 bytes[2];
  __u32 slot[2];
  __u8 originator_is_high;
  __u8 state;
  __u8 flags;
  __u8 kept;
  __u32 sequence;
  __u32 fin_end[2];
  __u32 identity[2];
  __u32 rule[2];
  __u64 first_seen_ns;
  __u32 revision;
  __u32 tick;
  __u32 overlay_host;
  __u32 padding2;
};
_Static_assert(sizeof(struct connection) == 128, "connection");

enum punt_reason { punt_ask = 1, punt_held = 2 };
/* Source MAC of a frame on the punt device: 02, verb (0 on the way out), id as little-endian 32 bits. */
enum punt_verb { verb_punted = 0, verb_admit = 1, verb_judge = 2, verb_refuse = 3, verb_reject = 4 };
enum punt_outcome { outcome_none = 0, outcome_sent = 1, outcome_stale = 2, outcome_full = 3, outcome_refused = 4 };

/*
 * What was known when a packet was held. from_punt consumes it once (`outcome` leaves `none`) before write() to the device returns; the
 * agent then reads and deletes it. Source and index 0 are the originator's; `from_responder`: the packet itself goes the other way (an
 * open connection that must be asked about again). `hook`: where it was held (enum hook); `ifindex` and `mac` (its own source) at an uplink.
 * `holder_slot`: the endpoint at whose interface it was held, and whose bounds it counts against.
 */
struct punt {
  __u64 at_ns;
  __u64 word[2];
  __u32 slot[2];
  __u32 identity[2];
  __u32 rule[2];
  __u32 generation[2];
  __u8 source[16];
  __u8 destination[16];
  __u16 source_port;
  __u16 destination_port;
  __u8 protocol;
  __u8 reason;
  __u8 hook;
  __u8 from_responder;
  __u32 outcome;
  __u32 holder_slot;
  __u32 ifindex;
  __u8 mac[6];
  __u8 padding[6];
};
_Static_assert(sizeof(struct punt) == 120, "punt");

struct pending {
  __u64 at_ns;
  __u32 id;
  __u32 padding;
};
_Static_assert(sizeof(struct pending) == 16, "pending");

struct fragment_key {
  __u8 source[16];
  __u8 destination[16];
  __u32 id;
  __u32 ifindex;
  __u8 protocol;
  __u8 padding[7];
};
_Static_assert(sizeof(struct fragment_key) == 48, "fragment_key");

/* Ports of a first fragment that passed, and the next byte that may follow. */
struct fragment {
  __u64 at_ns;
  __u32 next;
  __u16 source_port;
  __u16 destination_port;
};
_Static_assert(sizeof(struct fragment) == 16, "fragment");

enum event_kind { event_new = 1, event_deny = 2, event_drop = 3, event_ask = 4, event_close = 5 };

/* `reason`: why a packet was dropped or denied; for others the counter of what happened. Index 0 source, 1 destination. */
struct event {
  __u64 at_ns;
  enum event_kind kind;
  enum counter reason;
  __u32 slot[2];
  __u32 identity[2];
  __u32 rule[2];
  __u32 revision;
  __u32 length;
  __u8 source[16];
  __u8 destination[16];
  __u16 source_port;
  __u16 destination_port;
  __u8 protocol;
  __u8 tcp_state;
  __u8 flags;
  __u8 observed;
  __u64 first_seen_ns;
  __u64 packets[2];
  __u64 bytes[2];
};
_Static_assert(sizeof(struct event) == 128, "event");

/* Written by the agent through the mapping. Gateway addresses are the source of ICMP errors; zero = the packet's own destination. */
struct config {
  __u64 heartbeat_ns;
  __u32 revision;
  __u32 punt_ifindex;
  __u32 overlay_ifindex;
  __u32 punt_rate;
  __u32 punt_burst;
  __u32 padding;
  __u8 gateway_ipv4[16];
  __u8 gateway_ipv6[16];
};
_Static_assert(sizeof(struct config) == 64, "config");

/* Written by programs: when the last recycling began. */
struct runtime {
  __u64 recycle_at_ns;
};

/* Map key and value types; `__type` wants a plain name. */
struct address {
  __u8 byte[16];
};

#define MAP(name, kind, entries, flags, key_type, value_type) \
  struct { \
    __uint(type, kind); \
    __uint(max_entries, entries); \
    __uint(map_flags, flags); \
    __type(key, key_type); \
    __type(value, value_type); \
  } name SEC(".maps")

MAP(config, BPF_MAP_TYPE_ARRAY, 1, BPF_F_MMAPABLE, __u32, struct config);
MAP(runtime, BPF_MAP_TYPE_ARRAY, 1, 0, __u32, struct runtime);
MAP(interfaces, BPF_MAP_TYPE_HASH, endpoints_max, 0, __u32, __u32);
/* By the low bits of an interface's index: the slot that was found there last. A hint: the endpoint itself says whose it is. */
MAP(interface_hints, BPF_MAP_TYPE_ARRAY, interface_hints_max, 0, __u32, __u32);
MAP(endpoints, BPF_MAP_TYPE_ARRAY, endpoints_max, BPF_F_MMAPABLE, __u32, struct endpoint);
MAP(usage, BPF_MAP_TYPE_ARRAY, endpoints_max, BPF_F_MMAPABLE, __u32, struct usage);
MAP(endpoint_counters, BPF_MAP_TYPE_ARRAY, endpoints_max, 0, __u32, struct endpoint_counters);
MAP(addresses, BPF_MAP_TYPE_HASH, addresses_max, BPF_F_NO_PREALLOC, struct address, struct address_owner);
MAP(cidrs, BPF_MAP_TYPE_LPM_TRIE, cidrs_max, BPF_F_NO_PREALLOC, struct cidr_key, __u32);
/* Userspace adds one after every change of `cidrs`, so that programs forget what they found there. */
MAP(cidr_generation, BPF_MAP_TYPE_ARRAY, 1, BPF_F_MMAPABLE, __u32, __u32);
/* Consulted for endpoints with the flag, towards addresses that nobody of ours has. */
MAP(learnt, BPF_MAP_TYPE_HASH, learnt_max, BPF_F_NO_PREALLOC, struct learnt_key, struct learnt_peer);
MAP(peer_hints, BPF_MAP_TYPE_PERCPU_ARRAY, peer_hints_max, 0, __u32, struct peer_hint);
MAP(rows, BPF_MAP_TYPE_HASH, rows_max, BPF_F_NO_PREALLOC, struct row_key, __u32);
MAP(port_nodes, BPF_MAP_TYPE_ARRAY, port_nodes_max, 0, __u32, struct port_node);
MAP(connections, BPF_MAP_TYPE_HASH, connections_max, 0, struct connection_key, struct connection);
MAP(punts, BPF_MAP_TYPE_HASH, punts_max, 0, __u32, struct punt);
MAP(pendings, BPF_MAP_TYPE_HASH, punts_max, 0, struct connection_key, struct pending);
MAP(fragments, BPF_MAP_TYPE_LRU_HASH, fragments_max, 0, struct fragment_key, struct fragment);
/* A rule's number for a guard, 0 for a published port. */
MAP(host_ports, BPF_MAP_TYPE_HASH, host_ports_max, BPF_F_NO_PREALLOC, struct host_port_key, __u32);
/* Connections that left by an uplink under the host's address without being its own: when they were first seen. */
MAP(translated, BPF_MAP_TYPE_LRU_HASH, translated_max, 0, struct connection_key, __u64);
MAP(counters, BPF_MAP_TYPE_PERCPU_ARRAY, counters_count, 0, __u32, __u64);

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, events_bytes);
} events SEC(".maps");
