/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Numbers that bound the datapath, the marks of packets, and the names of everything that is counted. */
#pragma once

enum limit {
  endpoints_max = 4096,
  /* The slot of the host itself; no workload gets it. Absent: the host is no subject of policy. */
  host_slot = endpoints_max - 1,
  addresses_max = 1 << 18,
  rows_max = 1 << 20,
  port_nodes_max = 1 << 17,
  cidrs_max = 1 << 17,
  /* Addresses that workloads learnt by name, of all endpoints together; the agent bounds each endpoint's share. */
  learnt_max = 1 << 17,
  interface_hints_max = 1 << 12,
  peer_hints_max = 1 << 14,
  connections_max = 1 << 18,
  punts_max = 1 << 14,
  fragments_max = 1 << 14,
  host_ports_max = 1 << 15,
  /* Connections that leave under the host's address by its NAT; the least recently used go first. */
  translated_max = 1 << 16,
  events_bytes = 1 << 24,
  /* Levels of a port tree: 16^5 ranges. */
  port_depth_max = 5,
  /* IPv6 extension headers that are walked; a longer chain is dropped. */
  extensions_max = 6,
  /* Without a heartbeat for so long the programs recycle the connection table themselves. */
  heartbeat_max_ms = 5000,
  recycle_interval_ms = 1000,
  /* A retransmission of a held packet is absorbed for so long; a later one is punted again (and coalesced by the agent). */
  pending_ms = 4000,
  /* A held packet that nobody answered is forgotten. Longer than the longest human approval. */
  punt_ms = 900 * 1000,
  /* Held packets per endpoint at one time, as sender (or, from outside, as receiver). */
  punts_per_endpoint_max = 512,
  fragment_ms = 30 * 1000,
  /* Events per endpoint and second: denials and drops, and opened connections. Suppressed ones are counted. */
  refusal_events_per_second = 500,
  refusal_events_burst = 250,
  connection_events_per_second = 50000,
  connection_events_burst = 10000,
  /* Answers that the programs build (resets, unreachables, …) per endpoint and second. */
  answers_per_second = 1000,
  answers_burst = 250,
};

/* How long an idle connection lives, milliseconds. */
enum idle_ms {
  idle_tcp_syn_sent = 30 * 1000,
  idle_tcp_established = 6 * 3600 * 1000,
  idle_tcp_closing = 120 * 1000,
  idle_tcp_closed = 4 * 1000,
  /* Both ends of a connection that a rule reset are told again whenever they speak of it, for so long. */
  idle_reset = 120 * 1000,
  idle_udp_single = 30 * 1000,
  idle_udp_stream = 180 * 1000,
  idle_icmp = 30 * 1000,
  /* Ends of an association send heartbeats, by default every 30 s. */
  idle_sctp_established = 600 * 1000,
  idle_other = 120 * 1000,
};

/*
 * Bits of skb->mark that are ours. The workload's own mark is cleared on ingress. `mark_workload`: checked by from_workload, so that
 * to_workload and the host's forward chain may believe its source address. `mark_answer`: built by a program (reset, unreachable, …).
 * `mark_forwarded`: judged on ingress and redirected into a tap, whose egress hook it passes.
 * `mark_host`, a bit of its own: judged as the host's own; with a host that is a subject, its input chain takes nothing else in.
 * nft: `meta mark and 0x3000 == 0x2000`. Clear of Kubernetes (0x4000, 0x8000), Cilium (0x0f00), Calico (0xffff0000), Docker (none).
 */
enum mark { mark_mask = 0x3000, mark_answer = 0x1000, mark_workload = 0x2000, mark_forwarded = 0x3000, mark_host = 0x0040 };

/* One line a counter; the names are part of the API. Drops first, then what is only counted. */
#define COUNTERS(X) \
  X(denied) X(rejected) X(no_row) X(spoofed) X(malformed) X(unknown_interface) X(unknown_protocol) X(vlan) X(fenced) X(multicast) \
  X(table_full) X(budget) X(punt_rate) X(punt_full) X(punt_absorbed) X(punt_stale) X(punt_unknown) X(punt_no_device) X(refused) \
  X(icmp_unmatched) X(icmp_redirect) X(router_advertisement) X(router_solicitation) X(neighbour_spoofed) X(neighbour_swallowed) \
  X(fragment_unknown) X(fragment_overlap) X(extension_headers) X(misdirected) X(tcp_flags) X(ttl_exceeded) X(too_big) X(uplink_spoofed) \
  X(overlay_spoofed) X(unreachable_remote) X(answer_rate) X(program_error) X(live_reset) X(host_unclaimed) \
  X(connections_opened) X(connections_judged_again) X(connections_closed) X(connections_recycled) X(asked) X(held) X(admitted) \
  X(neighbour_answered) X(reset_sent) X(icmp_sent) X(observed_denied) X(events_lost) X(events_suppressed) X(recycle_runs) \
  X(connections_reset) X(connections_kept)

enum counter {
#define X(name) counter_##name,
  COUNTERS(X)
#undef X
  counters_count,
};
