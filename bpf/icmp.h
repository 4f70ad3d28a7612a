/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* ICMP errors: believed only about a packet that an open connection has carried, and only towards whoever sent that packet. */
#pragma once
#include "connections.h"
#include "parse.h"

struct quote {
  __u8 source[16];
  __u8 destination[16];
  __u32 transport;
  __u32 protocol;
};

FAST int load_quote(struct __sk_buff *skb, const struct packet *p, struct quote *quote)
{
  __u32 network = p->transport + sizeof(struct icmp_header);
  if (p->is_ipv6) {
    struct ipv6hdr ip;
    if (bpf_skb_load_bytes(skb, network, &ip, sizeof ip) || ip.version != 6)
      return 0;
    __builtin_memcpy(quote->source, &ip.saddr, 16);
    __builtin_memcpy(quote->destination, &ip.daddr, 16);
    quote->protocol = ip.nexthdr;
    quote->transport = network + sizeof ip;
    return 1;
  }
  struct iphdr ip;
  if (bpf_skb_load_bytes(skb, network, &ip, sizeof ip) || ip.version != 4 || ip.ihl < 5 || ip.frag_off & bpf_htons(ip_offset_mask))
    return 0;
  struct words source = {0, (__u64)ip.saddr << 32 | 0xffff0000}, destination = {0, (__u64)ip.daddr << 32 | 0xffff0000};
  copy_address(quote->source, (void *)&source);
  copy_address(quote->destination, (void *)&destination);
  quote->protocol = ip.protocol;
  quote->transport = network + ip.ihl * 4;
  return 1;
}

/* Ports of the quoted packet, as its own key had them. */
FAST int load_quoted_ports(struct __sk_buff *skb, const struct packet *p, const struct quote *quote, struct packet *quoted)
{
  __u8 header[8] __attribute__((aligned(4)));
  if (bpf_skb_load_bytes(skb, quote->transport, header, sizeof header))
    return 0;
  struct port_pair *ports = (void *)header;
  quoted->is_ipv6 = p->is_ipv6;
  if (quote->protocol == (p->is_ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP)) {
    struct icmp_header *icmp = (void *)header;
    return (p->is_ipv6 ? parse_icmp6(icmp, quoted) : parse_icmp4(icmp, quoted)) == parsed && quoted->icmp != icmp_reports;
  }
  if (quote->protocol == IPPROTO_TCP || quote->protocol == IPPROTO_UDP || quote->protocol == IPPROTO_SCTP) {
    quoted->source_port = bpf_ntohs(ports->source);
    quoted->destination_port = bpf_ntohs(ports->destination);
  }
  return 1;
}

/* Whether the quoted packet belongs to a live entry, came from where this error goes, and this error's hook is an end of it. */
SHARED int is_about_connection(struct __sk_buff *skb, struct packet *p)
{
  if (!p)
    return 0;
  struct quote quote = {};
  struct packet quoted = {};
  if (!load_quote(skb, p, &quote) || !load_quoted_ports(skb, p, &quote, &quoted) || !same_address(quote.source, p->destination))
    return 0;
  if (p->hook == hook_from_workload && !same_address(quote.destination, p->source))
    return 0;
  __u32 high = make_key(&quoted.key, quote.source, quote.destination, quoted.source_port, quoted.destination_port, quote.protocol);
  struct connection *c = bpf_map_lookup_elem(&connections, &quoted.key);
  if (!c || is_dead(c, now_of(p)) || (p->overlay_host && p->overlay_host != c->overlay_host))
    return 0;
  __u32 sender = high != c->originator_is_high;
  struct endpoint *here = endpoint_at(slot_here(p)), *there = endpoint_at(c->slot[(is_received(p) ? ~sender : sender) & 1]);
  __u32 mine = (is_received(p) ? sender : ~sender) & 1;
  if (!here || c->slot[mine] != slot_here(p) || !end_is_current(c, mine, here))
    return 0;
  if (there && !end_is_current(c, ~mine & 1, there))
    return 0;
  if (is_received(p))
    p->slot[0] = c->slot[~mine & 1];
  else
    p->slot[1] = c->slot[~mine & 1];
  p->overlay_host = c->overlay_host;
  return 1;
}
