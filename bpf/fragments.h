/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Fragments after the first carry no ports: they inherit those of their first, and with them its connection. They must come in order
 * and without overlap, as every sender sends them; what does not is dropped, so that no two readers can see different packets.
 */
#pragma once
#include "connections.h"
#include "parse.h"

FAST void fragment_key_of(struct fragment_key *key, const struct packet *p, __u32 ifindex)
{
  __builtin_memset(key, 0, sizeof *key);
  copy_address(key->source, p->source);
  copy_address(key->destination, p->destination);
  key->id = p->fragment_id;
  key->ifindex = ifindex;
  key->protocol = p->protocol;
}

/* Where this fragment's payload ends within the datagram. */
FAST __u32 fragment_end(struct __sk_buff *skb, const struct packet *p)
{
  __u32 payload = skb->len - p->transport;
  __be16 total = 0;
  if (!p->is_ipv6 && !bpf_skb_load_bytes(skb, ETH_HLEN + 2, &total, sizeof total))
    payload = ETH_HLEN + bpf_ntohs(total) - p->transport;
  else if (p->is_ipv6 && !bpf_skb_load_bytes(skb, ETH_HLEN + 4, &total, sizeof total))
    payload = ETH_HLEN + sizeof(struct ipv6hdr) + bpf_ntohs(total) - p->transport;
  return p->fragment_offset + payload;
}

/* parsed, or the counter to drop under. A first fragment must not replace one whose rest may still come. */
SHARED int check_fragment(struct __sk_buff *skb, struct packet *p)
{
  if (!p)
    return counter_program_error;
  struct fragment_key key;
  fragment_key_of(&key, p, skb->ifindex);
  struct fragment *known = bpf_map_lookup_elem(&fragments, &key);
  int fresh = known && now_of(p) - known->at_ns < (__u64)fragment_ms * 1000000;
  if (!p->fragment_offset)
    return fresh ? counter_fragment_overlap : parsed;
  if (!fresh)
    return counter_fragment_unknown;
  __u32 end = fragment_end(skb, p);
  if (p->fragment_offset != known->next || end > 65535 || end <= p->fragment_offset)
    return counter_fragment_overlap;
  p->source_port = known->source_port;
  p->destination_port = known->destination_port;
  known->next = end;
  if (!p->more_fragments)
    bpf_map_delete_elem(&fragments, &key);
  return parsed;
}

/* Called for a first fragment that may pass. */
SHARED int remember_fragment(struct __sk_buff *skb, struct packet *p)
{
  if (!p)
    return 0;
  struct fragment_key key;
  fragment_key_of(&key, p, skb->ifindex);
  struct fragment fragment = {.at_ns = now_of(p), .next = fragment_end(skb, p), .source_port = p->source_port, .destination_port = p->destination_port};
  /* An atomic fragment (IPv6, nothing follows) needs no memory. */
  if (p->more_fragments)
    bpf_map_update_elem(&fragments, &key, &fragment, BPF_ANY);
  return 0;
}
