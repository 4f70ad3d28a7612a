/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The host's own end of a connection: what its guard allows, which ports are published and so no affair of its own, and which packets have
 * its address by NAT alone.
 */
#pragma once
#include "connections.h"
#include "verdict.h"

/* The address that stands for every one of the same family. */
FAST struct words every_address_like(const struct words *address)
{
  struct words every = {0, !address->first && (__u32)address->second == 0xffff0000 ? 0xffff0000 : 0};
  return every;
}

/* The value of a host port plus one, under the address itself or under every one of its family; 0 where there is none. */
SHARED __u32 host_port(const struct words *address, __u32 point, __u32 kind)
{
  if (!address)
    return 0;
  struct host_port_key key __attribute__((aligned(8))) = {.port = point & 0xffff, .protocol = point >> 16, .kind = kind};
  struct words wanted = *address, every = every_address_like(&wanted);
  copy_address(key.address, (void *)&wanted);
  __u32 *value = bpf_map_lookup_elem(&host_ports, &key);
  if (!value) {
    copy_address(key.address, (void *)&every);
    value = bpf_map_lookup_elem(&host_ports, &key);
  }
  return value ? *value + 1 : 0;
}

/* True where the host's NAT gives packets to this port of the host's address to a workload, whose own end judges them. */
FAST int is_published(const struct words *address, __u16 port, __u8 protocol)
{
  return host_port(address, (__u32)protocol << 16 | port, host_port_published) != 0;
}

/* Still the host's address, but not the host's own doing. */
FAST void disown(struct party *party)
{
  party->word = 0;
  party->slot = 0;
  party->state = state_absent;
}

FAST __u32 guard_at(const struct party *end, const __u8 *far, __u32 point, __u32 kind)
{
  __u32 found = end->slot == host_slot ? host_port(WORDS(far), point, kind) : 0;
  return found ? (found - 1) & verdict_rule_mask : 0;
}

/* Looks up the guard for whichever end is the host's. */
FAST void guard_host(const struct packet *p, struct judgement *j, __u32 point)
{
  if (likely(j->end[0].slot != host_slot && j->end[1].slot != host_slot))
    return;
  j->end[0].guard = guard_at(&j->end[0], j->side ? p->source : p->destination, point, host_port_guard_out);
  j->end[1].guard = guard_at(&j->end[1], j->side ? p->destination : p->source, point, host_port_guard_in);
}

FAST int is_host_address(const __u8 *address)
{
  struct address_owner *owner = bpf_map_lookup_elem(&addresses, address);
  return owner && owner->kind == owner_host;
}

/* Whether the host's own end has a say about a packet from a workload. */
SHARED int is_for_host(const struct packet *p)
{
  if (!p || !host_endpoint())
    return 0;
  __u8 destination[16] __attribute__((aligned(8)));
  copy_address(destination, p->destination);
  return is_host_address(destination) && !is_published(WORDS(destination), p->destination_port, p->protocol);
}

FAST int begins_connection(const struct packet *p)
{
  return p->protocol == IPPROTO_TCP && (p->tcp_flags & (tcp_syn | tcp_ack)) == tcp_syn;
}

/* A packet that leaves with the host's address and is not its own: what comes back is not for the host either. */
SHARED int note_translated(const struct packet *p)
{
  struct connection_key *key = p ? key_of(p) : 0;
  __u64 now = bpf_ktime_get_coarse_ns();
  if (key && !bpf_map_lookup_elem(&translated, key))
    bpf_map_update_elem(&translated, key, &now, BPF_ANY);
  return 0;
}

/*
 * Whether the host's NAT may know better than we whose this packet is. It is let through without the host's mark, so that the input chain
 * drops it, should the host turn out to be its receiver after all: nobody gets in by looking like an answer.
 */
FAST int is_left_to_nat(struct packet *p)
{
  if (!begins_connection(p) && !is_init(p) && bpf_map_lookup_elem(&translated, &p->key))
    return 1;
  return is_published(WORDS(p->destination), p->destination_port, p->protocol);
}

FAST __u32 socket_state(struct __sk_buff *skb, struct bpf_sock_tuple *tuple, __u32 bytes)
{
  struct bpf_sock *socket = bpf_sk_lookup_tcp(skb, tuple, bytes, BPF_F_CURRENT_NETNS, 0);
  if (!socket)
    return 0;
  __u32 state = socket->state;
  bpf_sk_release(socket);
  return state;
}

/*
 * TCP in the middle of a connection that the table does not know, since the host was no subject when it began: the host's own sockets say
 * who opened it. Where a socket listens at the host's port, the other end did. False: there is no such connection.
 */
SHARED int find_originator(struct __sk_buff *skb, struct packet *p)
{
  if (!p || p->protocol != IPPROTO_TCP)
    return 0;
  struct bpf_sock_tuple tuple = {};
  int in = is_received(p);
  __u32 bytes = p->is_ipv6 ? sizeof tuple.ipv6 : sizeof tuple.ipv4;
  __be16 *far_port = p->is_ipv6 ? &tuple.ipv6.sport : &tuple.ipv4.sport;
  if (p->is_ipv6) {
    __builtin_memcpy(tuple.ipv6.saddr, in ? p->source : p->destination, 16);
    __builtin_memcpy(tuple.ipv6.daddr, in ? p->destination : p->source, 16);
    tuple.ipv6.dport = bpf_htons(in ? p->destination_port : p->source_port);
  } else {
    tuple.ipv4.saddr = *(__u32 *)&(in ? p->source : p->destination)[12];
    tuple.ipv4.daddr = *(__u32 *)&(in ? p->destination : p->source)[12];
    tuple.ipv4.dport = bpf_htons(in ? p->destination_port : p->source_port);
  }
  *far_port = bpf_htons(in ? p->source_port : p->destination_port);
  __u32 state = socket_state(skb, &tuple, bytes);
  if (!state || state == BPF_TCP_LISTEN || state == BPF_TCP_CLOSE)
    return 0;
  *far_port = 0;
  int listens = socket_state(skb, &tuple, bytes) == BPF_TCP_LISTEN;
  p->answers = listens != in;
  return 1;
}
