/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Who has which MAC: for a workload, everybody lives at its gateway's. Endpoints are routed /32 and /128, so the programs answer every
 * request themselves, and nobody hears a workload's claims but the host, about the workload's own addresses.
 */
#pragma once
#include "answer.h"

struct arp_packet {
  __be16 hardware;
  __be16 network;
  __u8 hardware_bytes;
  __u8 network_bytes;
  __be16 operation;
  __u8 sender_mac[6];
  __u8 sender[4];
  __u8 target_mac[6];
  __u8 target[4];
};
_Static_assert(sizeof(struct arp_packet) == 28, "arp_packet");

FAST __u32 word_at(const __u8 *bytes)
{
  return (__u32)bytes[0] | (__u32)bytes[1] << 8 | (__u32)bytes[2] << 16 | (__u32)bytes[3] << 24;
}

/* Straight back to the workload that asked. */
FAST int answer_to(struct __sk_buff *skb, const struct endpoint *endpoint)
{
  __u8 macs[12] __attribute__((aligned(4)));
  __builtin_memcpy(macs, endpoint->mac, 6);
  __builtin_memcpy(macs + 6, endpoint->gateway_mac, 6);
  if (bpf_skb_store_bytes(skb, 0, macs, sizeof macs, 0))
    return TC_ACT_SHOT;
  count(counter_neighbour_answered);
  skb->mark = mark_answer;
  return endpoint->kind == kind_tap ? bpf_redirect(endpoint->ifindex, 0) : bpf_redirect_peer(endpoint->ifindex, 0);
}

SHARED int arp_from_workload(struct __sk_buff *skb, struct packet *p)
{
  if (!p)
    return TC_ACT_SHOT;
  struct endpoint *endpoint = endpoint_at(p->slot[0]);
  struct arp_packet arp;
  if (!endpoint || bpf_skb_load_bytes(skb, ETH_HLEN, &arp, sizeof arp) || arp.hardware != bpf_htons(1) || arp.network != bpf_htons(ETH_P_IP) ||
      arp.hardware_bytes != 6 || arp.network_bytes != 4)
    return drop(p, counter_malformed);
  __u32 mine = word_at(&endpoint->ipv4[12]), sender = word_at(arp.sender), target = word_at(arp.target);
  if (!same_mac(arp.sender_mac, endpoint->mac) || (sender && sender != mine) || !mine)
    return drop(p, counter_neighbour_spoofed);
  /* The host asked on this link, and hears the endpoint's own address. */
  if (arp.operation == bpf_htons(2) && sender == mine && target != mine) {
    skb->mark = mark_workload;
    return TC_ACT_OK;
  }
  if (arp.operation != bpf_htons(1) || !sender || target == mine) {
    count_at(p->slot[0], counter_neighbour_swallowed);
    return TC_ACT_SHOT;
  }
  struct arp_packet answer = arp;
  answer.operation = bpf_htons(2);
  __builtin_memcpy(answer.sender_mac, endpoint->gateway_mac, 6);
  __builtin_memcpy(answer.sender, arp.target, 4);
  __builtin_memcpy(answer.target_mac, endpoint->mac, 6);
  __builtin_memcpy(answer.target, arp.sender, 4);
  if (bpf_skb_store_bytes(skb, ETH_HLEN, &answer, sizeof answer, 0))
    return TC_ACT_SHOT;
  return answer_to(skb, endpoint);
}

struct neighbour_message {
  __u8 type;
  __u8 code;
  __sum16 checksum;
  __be32 flags;
  __u8 target[16];
  __u8 option_type;
  __u8 option_length;
  __u8 option_mac[6];
};
_Static_assert(sizeof(struct neighbour_message) == 32, "neighbour_message");
enum { neighbour_solicitation = 135, neighbour_advertisement = 136, bytes_without_option = 24 };
enum { option_source = 1, option_target = 2 };

/* fe80:: with the interface identifier that belongs to a MAC; other link-local addresses may ask, but not claim. */
FAST int is_link_local_of(const __u8 *address, const __u8 *mac)
{
  return WORDS(address)->first == bpf_cpu_to_be64(0xfe80000000000000) && address[8] == (mac[0] ^ 2) && address[9] == mac[1] &&
         address[10] == mac[2] && address[11] == 0xff && address[12] == 0xfe && address[13] == mac[3] && address[14] == mac[4] &&
         address[15] == mac[5];
}

FAST int is_link_local(const __u8 *address)
{
  return address[0] == 0xfe && (address[1] & 0xc0) == 0x80;
}

FAST int is_zero(const __u8 *address)
{
  return !(WORDS(address)->first | WORDS(address)->second);
}

/* The message becomes its own answer: every address is at the gateway. */
SHARED int advertise(struct __sk_buff *skb, struct packet *p, const struct neighbour_message *asked)
{
  if (!p || !asked)
    return TC_ACT_SHOT;
  struct endpoint *endpoint = endpoint_at(p->slot[0]);
  struct neighbour_message answer = {.type = neighbour_advertisement, .flags = bpf_htonl(0x60000000), .option_type = option_target, .option_length = 1};
  __u8 target[16] __attribute__((aligned(8)));
  if (!endpoint)
    return TC_ACT_SHOT;
  __builtin_memcpy(target, asked->target, 16);
  __builtin_memcpy(answer.target, asked->target, 16);
  __builtin_memcpy(answer.option_mac, endpoint->gateway_mac, 6);
  answer.checksum = ~fold(sum_of(&answer, sizeof answer, pseudo_sum(target, p->source, sizeof answer, IPPROTO_ICMPV6, 1)));
  struct ipv6hdr ip = ipv6_header(target, p->source, sizeof answer, IPPROTO_ICMPV6);
  ip.hop_limit = 255;
  if (bpf_skb_change_tail(skb, ETH_HLEN + sizeof ip + sizeof answer, 0) || bpf_skb_store_bytes(skb, ETH_HLEN, &ip, sizeof ip, 0) ||
      bpf_skb_store_bytes(skb, ETH_HLEN + sizeof ip, &answer, sizeof answer, 0))
    return TC_ACT_SHOT;
  return answer_to(skb, endpoint);
}

/* Whether a packet goes to the other end of the endpoint's link. An advertisement to anybody else would pass the host's routing unjudged. */
FAST int is_on_link(const struct packet *p)
{
  __u8 destination[16] __attribute__((aligned(8)));
  copy_address(destination, p->destination);
  if (is_link_local(destination) || (destination[0] == 0xff && destination[1] == 2))
    return 1;
  struct address_owner *owner = bpf_map_lookup_elem(&addresses, destination);
  return owner && owner->kind == owner_host;
}

SHARED int neighbour_from_workload(struct __sk_buff *skb, struct packet *p)
{
  if (!p)
    return TC_ACT_SHOT;
  struct endpoint *endpoint = endpoint_at(p->slot[0]);
  struct neighbour_message message = {};
  __u8 hop_limit = 0;
  __u32 network = ETH_HLEN + sizeof(struct ipv6hdr), bytes = p->length - network;
  /* Without extension headers, as the standard demands of nodes that want to be believed; a hop limit below 255 came from afar. */
  if (!endpoint || p->transport != network || bytes < bytes_without_option || bpf_skb_load_bytes(skb, ETH_HLEN + 7, &hop_limit, 1) || hop_limit != 255)
    return drop(p, counter_malformed);
  if (bytes >= sizeof message ? bpf_skb_load_bytes(skb, network, &message, sizeof message) : bpf_skb_load_bytes(skb, network, &message, bytes_without_option))
    return drop(p, counter_malformed);
  __u8 target[16] __attribute__((aligned(8)));
  __builtin_memcpy(target, message.target, 16);
  int own_target = same_address(target, endpoint->ipv6) || is_link_local_of(target, endpoint->mac);
  int own_source = same_address(p->source, endpoint->ipv6) || is_link_local(p->source);
  if (message.option_type && !same_mac(message.option_mac, endpoint->mac))
    return drop(p, counter_neighbour_spoofed);
  if (message.type == neighbour_advertisement) {
    if (!own_target || !own_source || !is_on_link(p))
      return drop(p, counter_neighbour_spoofed);
    skb->mark = mark_workload;
    return TC_ACT_OK;
  }
  /* Duplicate address detection finds no duplicate, ever. */
  if (is_zero(p->source) || own_target) {
    count_at(p->slot[0], counter_neighbour_swallowed);
    return TC_ACT_SHOT;
  }
  if (!own_source)
    return drop(p, counter_neighbour_spoofed);
  return advertise(skb, p, &message);
}

/*
 * To a workload: its gateway asks for the workload's own MAC. On a bridge (an adopted interface) others might say who the gateway is, so
 * whoever else speaks is not heard.
 */
SHARED int arp_to_workload(struct __sk_buff *skb, struct packet *p)
{
  if (!p)
    return TC_ACT_SHOT;
  struct endpoint *to = endpoint_at(p->slot[1]);
  struct arp_packet arp;
  if (!to || bpf_skb_load_bytes(skb, ETH_HLEN, &arp, sizeof arp))
    return drop(p, counter_malformed);
  int is_heard = arp.operation == bpf_htons(1) && same_mac(arp.sender_mac, to->gateway_mac) && word_at(arp.target) == word_at(&to->ipv4[12]);
  if (is_heard)
    return TC_ACT_OK;
  count_at(p->slot[1], counter_neighbour_swallowed);
  return TC_ACT_SHOT;
}

SHARED int neighbour_to_workload(struct __sk_buff *skb, struct packet *p)
{
  if (!p)
    return TC_ACT_SHOT;
  struct endpoint *to = endpoint_at(p->slot[1]);
  struct neighbour_message message = {};
  __u8 mac[8] __attribute__((aligned(8))), target[16] __attribute__((aligned(8)));
  if (!to || bpf_skb_load_bytes(skb, ETH_ALEN, mac, ETH_ALEN) || bpf_skb_load_bytes(skb, p->transport, &message, bytes_without_option))
    return drop(p, counter_malformed);
  __builtin_memcpy(target, message.target, 16);
  int is_own = same_address(target, to->ipv6) || is_link_local_of(target, to->mac);
  if (message.type == neighbour_solicitation && is_own && same_mac(mac, to->gateway_mac))
    return TC_ACT_OK;
  count_at(p->slot[1], counter_neighbour_swallowed);
  return TC_ACT_SHOT;
}
