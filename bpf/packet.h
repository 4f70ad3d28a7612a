/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the programs know about one packet, and the small things that every part needs. */
#pragma once
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include "maps.h"

struct bpf_map;

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
/* Slow paths are functions of their own: the verifier walks them apart, and the fast path stays small. */
#define SLOW static __noinline
/* Verified once on its own, whoever calls: arguments are plain numbers, or pointers that may be null. */
#define SHARED __noinline
#define FAST static __always_inline

enum { tcp_fin = 1, tcp_syn = 2, tcp_rst = 4, tcp_ack = 16 };
enum { ip_more_fragments = 0x2000, ip_offset_mask = 0x1fff };
enum { icmp_none = 0, icmp_asks, icmp_answers, icmp_reports, icmp_neighbour };

/* Where a packet was seen. Odd: the endpoint there receives. */
enum hook { hook_from_workload = 0, hook_to_workload = 1, hook_to_uplink = 2, hook_from_uplink = 3 };

/*
 * A parsed packet. `now` may be 0: see now_of(). Ports in host order as in the key of a connection (see maps.h for ICMP). `transport`: offset of the transport
 * header in the frame, `payload` of what follows the TCP header; `slot[0]` sends, `slot[1]` receives; 0 is no endpoint of this host.
 * `chunk`: type of SCTP's first chunk; the tag of an INIT is `sequence`, that of the packet `acknowledgement`.
 * `seen_again`: the packet will pass another program, which counts it. `overlay_host`, `overlay_identity`: outer address and VNI that it
 * came with, or the host that it goes to. `vouched`: its source was checked when it was held. `routed`:
 * answers what came through the host's stack. `translated`: has the host's address by NAT, and is not the host's own. `answers`: of a
 * connection that is older than its entry, whose originator is the receiver. `multicast`: seen at an uplink, to many.
 */
struct packet {
  struct connection_key key;
  __u8 source[16];
  __u8 destination[16];
  __u64 now;
  __u32 slot[2];
  __u32 length;
  __u32 payload;
  __u32 sequence;
  __u32 acknowledgement;
  __u32 fragment_id;
  __u16 source_port;
  __u16 destination_port;
  __u16 transport;
  __u16 fragment_offset;
  __u8 protocol;
  __u8 tcp_flags;
  __u8 is_ipv6;
  __u8 source_is_high;
  __u8 icmp;
  __u8 fragment;
  __u8 more_fragments;
  __u8 hook;
  __u8 seen_again;
  __u8 vouched;
  __u8 routed;
  __u8 chunk;
  __u8 translated;
  __u8 answers;
  __u8 multicast;
  __u8 padding;
  __u32 ifindex;
  __u32 overlay_host;
  __u32 overlay_identity;
};
_Static_assert(sizeof(struct packet) == 144, "packet: shared functions want it without holes");

/* Whether the endpoint where the packet was seen receives it. */
FAST __u32 is_received(const struct packet *p)
{
  return p->hook & 1;
}

/* The endpoint at whose interface the packet was seen: of a workload's own it is the sender. */
FAST __u32 slot_here(const struct packet *p)
{
  return is_received(p) ? p->slot[1] : p->slot[0];
}

FAST int is_at_uplink(const struct packet *p)
{
  return p->hook >= hook_to_uplink;
}

/* Addresses are compared and copied as two words: every buffer that holds one is aligned to 8, or the copy goes bytewise. */
struct words {
  __u64 first;
  __u64 second;
};
#define WORDS(address) ((const struct words *)(const void *)(address))

FAST int same_address(const __u8 *a, const __u8 *b)
{
  return WORDS(a)->first == WORDS(b)->first && WORDS(a)->second == WORDS(b)->second;
}

FAST void copy_address(__u8 *to, const __u8 *from)
{
  ((struct words *)(void *)to)->first = WORDS(from)->first;
  ((struct words *)(void *)to)->second = WORDS(from)->second;
}

FAST int same_mac(const __u8 *a, const __u8 *b)
{
  const __u16 *x = (const void *)a, *y = (const void *)b;
  return x[0] == y[0] && x[1] == y[1] && x[2] == y[2];
}

FAST void copy_mac(__u8 *to, const __u8 *from)
{
  *(__u32 *)to = *(const __u32 *)from;
  *(__u16 *)(to + 4) = *(const __u16 *)(from + 4);
}

FAST struct config *read_config(void)
{
  __u32 zero = 0;
  return bpf_map_lookup_elem(&config, &zero);
}

/* Slot 0 is nobody. */
FAST struct endpoint *endpoint_at(__u32 slot)
{
  return slot ? bpf_map_lookup_elem(&endpoints, &slot) : 0;
}

/* The host's own endpoint, or null where the host is no subject. */
FAST struct endpoint *host_endpoint(void)
{
  struct endpoint *host = endpoint_at(host_slot);
  return host && host->state != state_absent ? host : 0;
}

/* The endpoint of an interface and its slot. A hint that is right saves the hash; one that is wrong is put right. */
FAST struct endpoint *endpoint_on(__u32 ifindex, __u32 *slot)
{
  __u32 index = ifindex & (interface_hints_max - 1);
  __u32 *hint = bpf_map_lookup_elem(&interface_hints, &index);
  struct endpoint *endpoint = hint ? endpoint_at(*hint) : 0;
  if (likely(endpoint && endpoint->ifindex == ifindex && endpoint->state != state_absent)) {
    *slot = *hint;
    return endpoint;
  }
  __u32 *found = bpf_map_lookup_elem(&interfaces, &ifindex);
  endpoint = found ? endpoint_at(*found) : 0;
  if (!endpoint || endpoint->state == state_absent)
    return 0;
  *slot = *found;
  if (hint && endpoint->ifindex == ifindex)
    *hint = *found;
  return endpoint;
}

/* The fast path reads the clock once a jiffy, so a packet may not have the time yet. */
FAST __u64 now_of(const struct packet *p)
{
  return p->now ? p->now : bpf_ktime_get_coarse_ns();
}

/* One load of the word that userspace flips: never two halves of different states. */
FAST __u64 word_of(const struct endpoint *endpoint)
{
  return *(const volatile __u64 *)&endpoint->word;
}
FAST __u32 identity_of(__u64 word)
{
  return word & 0xffffff;
}
FAST __u32 ruleset_of(__u64 word)
{
  return (word >> 24) & 0xffffff;
}

/*
 * Token bucket as one number, the time at which the next token is due. Two processors at once may take one token too many; no more.
 */
FAST int take_token(__u64 *due_ns, __u64 now, __u64 interval_ns, __u64 burst)
{
  __u64 due = *due_ns > now ? *due_ns : now;
  /* Farther off than this bucket ever gets: it was filled under a slower rate. */
  if (due - now > (burst + 1) * interval_ns)
    due = now;
  if (due - now > burst * interval_ns)
    return 0;
  *due_ns = due + interval_ns;
  return 1;
}
