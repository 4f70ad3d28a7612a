/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Where a packet goes that may pass: straight into a workload of this host, or to the host's own stack. */
#pragma once
#include "answer.h"

/* The workload's word is good from here on: to_workload and the host's forward chain believe this mark. */
FAST int to_host(struct __sk_buff *skb)
{
  skb->mark = mark_workload;
  if (skb->pkt_type != PACKET_HOST)
    bpf_skb_change_type(skb, PACKET_HOST);
  return TC_ACT_OK;
}

/* The host itself receives it, and its own end has allowed that. */
FAST int into_host(struct __sk_buff *skb)
{
  int action = to_host(skb);
  skb->mark = mark_workload | mark_host;
  return action;
}

SHARED int refuse_ttl(struct __sk_buff *skb, struct packet *p)
{
  if (!p)
    return TC_ACT_SHOT;
  struct complaint complaint = {.type = p->is_ipv6 ? 3 : 11, .from_gateway = 1};
  drop(p, counter_ttl_exceeded);
  return answer_icmp(skb, p, &complaint);
}

SHARED int refuse_size(struct __sk_buff *skb, struct packet *p, __u32 mtu)
{
  if (!p)
    return TC_ACT_SHOT;
  struct complaint complaint = {.type = p->is_ipv6 ? 2 : 3, .code = p->is_ipv6 ? 0 : 4, .from_gateway = 1, .mtu = mtu};
  __be16 flags = 0;
  /* Without "don't fragment" a router cuts the packet: the host's stack knows how. */
  if (!p->is_ipv6 && !bpf_skb_load_bytes(skb, ETH_HLEN + 6, &flags, sizeof flags) && !(flags & bpf_htons(0x4000)))
    return to_host(skb);
  drop(p, counter_too_big);
  return answer_icmp(skb, p, &complaint);
}

/* One GSO packet stands for segments that were cut to the sender's size. */
FAST int is_too_big(struct __sk_buff *skb, const struct packet *p, __u32 mtu)
{
  if (likely(p->length <= mtu + ETH_HLEN))
    return 0;
  return !skb->gso_size || skb->gso_size + (__u32)p->transport - ETH_HLEN > mtu;
}

/* Routers' duty: a packet that circles must die. The IPv4 checksum changes by exactly one in its high byte. */
FAST int decrement_ttl(void *data, void *end, const struct packet *p)
{
  if (p->is_ipv6) {
    struct ipv6hdr *ip = data + ETH_HLEN;
    if ((void *)(ip + 1) > end || ip->hop_limit <= 1)
      return -1;
    ip->hop_limit -= 1;
    return 0;
  }
  struct iphdr *ip = data + ETH_HLEN;
  if ((void *)(ip + 1) > end || ip->ttl <= 1)
    return -1;
  ip->ttl -= 1;
  __u32 check = ip->check + bpf_htons(0x0100);
  ip->check = check + (check >= 0xffff);
  return 0;
}

/* Into a workload of this host, from an ingress hook. */
FAST int to_endpoint(struct __sk_buff *skb, struct packet *p, const struct endpoint *to)
{
  if (unlikely(is_too_big(skb, p, to->mtu)))
    return refuse_size(skb, p, to->mtu);
  void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
  if (unlikely(decrement_ttl(data, end, p)))
    return refuse_ttl(skb, p);
  struct ethhdr *ethernet = data;
  copy_mac(ethernet->h_dest, to->mac);
  copy_mac(ethernet->h_source, to->gateway_mac);
  if (unlikely(skb->pkt_type != PACKET_HOST))
    bpf_skb_change_type(skb, PACKET_HOST);
  if (likely(to->kind == kind_veth))
    return bpf_redirect_peer(to->ifindex, 0);
  skb->mark = mark_forwarded;
  return bpf_redirect(to->ifindex, 0);
}
