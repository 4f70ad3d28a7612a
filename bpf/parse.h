/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* From a frame to a `struct packet`. Whatever is not understood is dropped under its own reason. */
#pragma once
#include "packet.h"
#include "sctp.h"

/* parse() returns one of these, or a counter as the reason to drop. */
enum { parsed = -1, parsed_arp = -2 };

/* Headers that parse() looks at directly, up to TCP's options: of plain IPv4, of IPv6, and of the longest IPv4. */
enum { ipv4_headers = 14 + 20 + 20, ipv6_headers = 14 + 40 + 20, headers_max = 14 + 60 + 20 };
enum { ipv4_plain = 0x45 };

struct tcp_header {
  struct port_pair ports;
  __be32 sequence;
  __be32 acknowledgement;
  __u8 offset;
  __u8 flags;
  __be16 window;
  __sum16 checksum;
  __be16 urgent;
};
struct icmp_header {
  __u8 type;
  __u8 code;
  __sum16 checksum;
  __be16 id;
  __be16 low;
};

/* Flags that no real stack sends together are used to slip past filters. */
FAST int tcp_flags_valid(__u8 flags)
{
  if (flags & tcp_syn)
    return !(flags & (tcp_fin | tcp_rst));
  return flags & (tcp_ack | tcp_rst);
}

FAST int parse_icmp4(const struct icmp_header *icmp, struct packet *p)
{
  switch (icmp->type) {
  case 8:
    p->icmp = icmp_asks;
    p->source_port = bpf_ntohs(icmp->id);
    p->destination_port = 8 << 8 | icmp->code;
    return parsed;
  case 0:
    p->icmp = icmp_answers;
    p->source_port = 8 << 8 | icmp->code;
    p->destination_port = bpf_ntohs(icmp->id);
    return parsed;
  case 3:
  case 4:
  case 11:
  case 12:
    p->icmp = icmp_reports;
    return parsed;
  case 5:
    return counter_icmp_redirect;
  case 9:
    return counter_router_advertisement;
  case 10:
    return counter_router_solicitation;
  }
  p->icmp = icmp_asks;
  p->source_port = 0;
  p->destination_port = icmp->type << 8 | icmp->code;
  return parsed;
}

FAST int parse_icmp6(const struct icmp_header *icmp, struct packet *p)
{
  switch (icmp->type) {
  case 128:
    p->icmp = icmp_asks;
    p->source_port = bpf_ntohs(icmp->id);
    p->destination_port = 128 << 8 | icmp->code;
    return parsed;
  case 129:
    p->icmp = icmp_answers;
    p->source_port = 128 << 8 | icmp->code;
    p->destination_port = bpf_ntohs(icmp->id);
    return parsed;
  case 133:
    return counter_router_solicitation;
  case 134:
    return counter_router_advertisement;
  case 135:
  case 136:
    p->icmp = icmp_neighbour;
    return parsed;
  case 137:
    return counter_icmp_redirect;
  }
  if (icmp->type < 128) {
    p->icmp = icmp_reports;
    return parsed;
  }
  p->icmp = icmp_asks;
  p->source_port = 0;
  p->destination_port = icmp->type << 8 | icmp->code;
  return parsed;
}

/*
 * A frame may be longer than its packet. What lies behind the packet's end is not part of it, and the receiver does not read it: a header
 * that reaches there would show us other flags than the receiver sees, who takes them from the next fragment.
 */
FAST int parse_transport(void *data, void *end, __u32 offset, struct packet *p)
{
  void *header = data + offset;
  p->transport = offset;
  if (p->protocol == IPPROTO_TCP) {
    struct tcp_header *tcp = header;
    if ((void *)(tcp + 1) > end || tcp->offset < 5 << 4 || offset + (tcp->offset >> 4) * 4 > p->payload)
      return counter_malformed;
    p->source_port = bpf_ntohs(tcp->ports.source);
    p->destination_port = bpf_ntohs(tcp->ports.destination);
    p->tcp_flags = tcp->flags;
    p->sequence = bpf_ntohl(tcp->sequence);
    p->acknowledgement = bpf_ntohl(tcp->acknowledgement);
    p->payload -= offset + (tcp->offset >> 4) * 4;
    return tcp_flags_valid(tcp->flags) ? parsed : counter_tcp_flags;
  }
  if (p->protocol == IPPROTO_SCTP)
    return parse_sctp(header, end, offset, p) ? parsed : counter_malformed;
  if (p->protocol == IPPROTO_UDP) {
    struct port_pair *ports = header;
    if (header + 8 > end || offset + 8 > p->payload)
      return counter_malformed;
    p->source_port = bpf_ntohs(ports->source);
    p->destination_port = bpf_ntohs(ports->destination);
    return parsed;
  }
  if (p->protocol == (p->is_ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP)) {
    struct icmp_header *icmp = header;
    if ((void *)(icmp + 1) > end || offset + 8 > p->payload)
      return counter_malformed;
    return p->is_ipv6 ? parse_icmp6(icmp, p) : parse_icmp4(icmp, p);
  }
  /* The other family's ICMP is no protocol here; the rest is judged by protocol alone. */
  if (p->protocol == IPPROTO_ICMP || p->protocol == IPPROTO_ICMPV6)
    return counter_malformed;
  p->source_port = 0;
  p->destination_port = 0;
  return parsed;
}

FAST int is_multicast4(__be32 address)
{
  return (address & bpf_htonl(0xf0000000)) == bpf_htonl(0xe0000000) || address == 0xffffffff;
}

FAST int parse_ipv4(void *data, void *end, struct packet *p)
{
  struct iphdr *ip = data + ETH_HLEN;
  if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5)
    return counter_malformed;
  __u32 total = bpf_ntohs(ip->tot_len), header = ip->ihl * 4;
  /* Linux leaves the length 0 where one GSO packet is larger than the field can say. */
  if ((total && total < header) || ETH_HLEN + total > p->length || (!total && p->length <= 65535))
    return counter_malformed;
  struct words source = {0, (__u64)ip->saddr << 32 | 0xffff0000}, destination = {0, (__u64)ip->daddr << 32 | 0xffff0000};
  copy_address(p->source, (void *)&source);
  copy_address(p->destination, (void *)&destination);
  p->protocol = ip->protocol;
  p->is_ipv6 = 0;
  p->payload = total ? ETH_HLEN + total : p->length;
  if (unlikely(is_multicast4(ip->daddr))) {
    if (!is_at_uplink(p))
      return counter_multicast;
    p->multicast = 1;
  }
  if (unlikely(ip->frag_off & bpf_htons(ip_more_fragments | ip_offset_mask))) {
    p->fragment = 1;
    p->fragment_id = ip->id;
    p->fragment_offset = (bpf_ntohs(ip->frag_off) & ip_offset_mask) * 8;
    p->more_fragments = !!(ip->frag_off & bpf_htons(ip_more_fragments));
    p->transport = ETH_HLEN + header;
    if (p->fragment_offset)
      return parsed;
  }
  return parse_transport(data, end, ETH_HLEN + header, p);
}

struct extension_header {
  __u8 next;
  __u8 length;
};
struct fragment_header {
  __u8 next;
  __u8 reserved;
  __be16 offset;
  __be32 id;
};

/* Walks hop-by-hop, destination and fragment headers; routing headers and whatever else hides the transport are refused. */
FAST int skip_extensions(struct __sk_buff *skb, struct packet *p)
{
  __u32 offset = ETH_HLEN + sizeof(struct ipv6hdr);
  for (int i = 0; i < extensions_max; i++) {
    struct fragment_header header = {};
    if (p->protocol != IPPROTO_HOPOPTS && p->protocol != IPPROTO_DSTOPTS && p->protocol != IPPROTO_FRAGMENT) {
      p->transport = offset;
      return p->protocol == IPPROTO_ROUTING || p->protocol == IPPROTO_AH || p->protocol == 135 ? counter_extension_headers : parsed;
    }
    if (bpf_skb_load_bytes(skb, offset, &header, sizeof header))
      return counter_malformed;
    if (p->protocol == IPPROTO_FRAGMENT) {
      if (p->fragment)
        return counter_malformed;
      p->fragment = 1;
      p->fragment_id = header.id;
      p->fragment_offset = bpf_ntohs(header.offset) & 0xfff8;
      p->more_fragments = bpf_ntohs(header.offset) & 1;
      p->protocol = header.next;
      offset += 8;
      if (p->fragment_offset) {
        p->transport = offset;
        return parsed;
      }
    } else {
      p->protocol = header.next;
      offset += 8 + header.reserved * 8;
    }
  }
  return counter_extension_headers;
}

/* The rare IPv6 packet: extension headers. */
SHARED int parse_extensions(struct __sk_buff *skb, struct packet *p)
{
  if (!p)
    return counter_program_error;
  int result = skip_extensions(skb, p);
  if (result != parsed || (p->fragment && p->fragment_offset))
    return result;
  __u32 offset = p->transport;
  if (offset > 1024 || bpf_skb_pull_data(skb, offset + 20 < skb->len ? offset + 20 : skb->len))
    return counter_malformed;
  void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
  return parse_transport(data, end, offset, p);
}

FAST int parse_ipv6(struct __sk_buff *skb, void *data, void *end, struct packet *p)
{
  struct ipv6hdr *ip = data + ETH_HLEN;
  if ((void *)(ip + 1) > end || ip->version != 6)
    return counter_malformed;
  __u32 payload = bpf_ntohs(ip->payload_len);
  if (ETH_HLEN + sizeof *ip + payload > p->length || (!payload && p->length <= 65535 && ip->nexthdr != IPPROTO_NONE))
    return counter_malformed;
  __builtin_memcpy(p->source, &ip->saddr, 16);
  __builtin_memcpy(p->destination, &ip->daddr, 16);
  p->protocol = ip->nexthdr;
  p->is_ipv6 = 1;
  p->payload = payload ? ETH_HLEN + sizeof *ip + payload : p->length;
  /* A mapped address on the wire would be taken for the IPv4 address that it maps. */
  if (unlikely(!WORDS(p->source)->first && (__u32)WORDS(p->source)->second == 0xffff0000) ||
      unlikely(!WORDS(p->destination)->first && (__u32)WORDS(p->destination)->second == 0xffff0000))
    return counter_malformed;
  int result;
  if (likely(p->protocol == IPPROTO_TCP || p->protocol == IPPROTO_UDP || p->protocol == IPPROTO_ICMPV6))
    result = parse_transport(data, end, ETH_HLEN + sizeof *ip, p);
  else
    result = parse_extensions(skb, p);
  /* Solicitations go to multicast addresses; nothing else of ours does. */
  if (unlikely(p->destination[0] == 0xff) && result == parsed && p->icmp != icmp_neighbour) {
    if (!is_at_uplink(p))
      return counter_multicast;
    p->multicast = 1;
  }
  return result;
}

/* Payload lies in pages of its own behind the headers: asking for more than the headers would copy some of it, for every packet. */
FAST __u32 headers_of(void *data, void *end)
{
  struct ethhdr *ethernet = data;
  __u8 *first = data + ETH_HLEN;
  if ((void *)(first + 1) > end)
    return headers_max;
  if (ethernet->h_proto == bpf_htons(ETH_P_IP) && *first == ipv4_plain)
    return ipv4_headers;
  return ethernet->h_proto == bpf_htons(ETH_P_IPV6) ? ipv6_headers : headers_max;
}

FAST int parse(struct __sk_buff *skb, struct packet *p)
{
  void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
  p->length = skb->len;
  if (unlikely(end - data < p->length && end - data < headers_of(data, end))) {
    bpf_skb_pull_data(skb, p->length < headers_max ? p->length : headers_max);
    data = (void *)(long)skb->data;
    end = (void *)(long)skb->data_end;
  }
  struct ethhdr *ethernet = data;
  if ((void *)(ethernet + 1) > end)
    return counter_malformed;
  if (unlikely(skb->vlan_present))
    return counter_vlan;
  switch (ethernet->h_proto) {
  case bpf_htons(ETH_P_IP):
    return parse_ipv4(data, end, p);
  case bpf_htons(ETH_P_IPV6):
    return parse_ipv6(skb, data, end, p);
  case bpf_htons(ETH_P_ARP):
    return parsed_arp;
  case bpf_htons(ETH_P_8021Q):
  case bpf_htons(ETH_P_8021AD):
    return counter_vlan;
  }
  return counter_unknown_protocol;
}
