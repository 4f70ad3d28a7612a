/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Answers that the programs build out of the packet itself: TCP resets, SCTP aborts and ICMP errors, sent back to where it came from. */
#pragma once
#include "account.h"
#include "parse.h"
#include "overlay.h"
#include "scratch.h"

FAST __u16 fold(__u32 sum)
{
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return sum;
}

/* One's complement sum of a buffer on the stack; `bytes` is a multiple of 4. */
FAST __u32 sum_of(const void *buffer, __u32 bytes, __u32 seed)
{
  return bpf_csum_diff(0, 0, (void *)buffer, bytes, seed);
}

struct pseudo_header {
  __u8 source[16];
  __u8 destination[16];
  __be32 length;
  __be32 protocol;
};

/* The mapped form's ::ffff words would count, so IPv4 sums only the last four bytes of each. */
FAST __u32 pseudo_sum(const __u8 *source, const __u8 *destination, __u32 length, __u8 protocol, int is_ipv6)
{
  struct pseudo_header pseudo = {.length = bpf_htonl(length), .protocol = bpf_htonl(protocol)};
  if (is_ipv6) {
    copy_address(pseudo.source, source);
    copy_address(pseudo.destination, destination);
  } else {
    *(__u32 *)&pseudo.source[12] = *(const __u32 *)&source[12];
    *(__u32 *)&pseudo.destination[12] = *(const __u32 *)&destination[12];
  }
  return sum_of(&pseudo, sizeof pseudo, 0);
}

FAST struct iphdr ipv4_header(const __u8 *source, const __u8 *destination, __u32 bytes, __u8 protocol)
{
  struct iphdr ip = {.version = 4, .ihl = 5, .ttl = 64, .protocol = protocol, .tot_len = bpf_htons(bytes)};
  ip.saddr = *(const __u32 *)&source[12];
  ip.daddr = *(const __u32 *)&destination[12];
  ip.check = ~fold(sum_of(&ip, sizeof ip, 0));
  return ip;
}

FAST struct ipv6hdr ipv6_header(const __u8 *source, const __u8 *destination, __u32 payload, __u8 protocol)
{
  struct ipv6hdr ip = {.version = 6, .hop_limit = 64, .nexthdr = protocol, .payload_len = bpf_htons(payload)};
  __builtin_memcpy(&ip.saddr, source, 16);
  __builtin_memcpy(&ip.daddr, destination, 16);
  return ip;
}

/* Back to where it came from at an uplink: out again, or into the host's stack. */
FAST int answer_at_uplink(struct __sk_buff *skb, struct packet *p)
{
  __u8 macs[12] __attribute__((aligned(4))), swapped[12] __attribute__((aligned(4)));
  if (bpf_skb_load_bytes(skb, 0, macs, sizeof macs))
    return TC_ACT_SHOT;
  __builtin_memcpy(swapped, macs + 6, 6);
  __builtin_memcpy(swapped + 6, macs, 6);
  if (bpf_skb_store_bytes(skb, 0, swapped, sizeof swapped, BPF_F_INVALIDATE_HASH))
    return TC_ACT_SHOT;
  skb->mark = mark_answer;
  return bpf_redirect(p->ifindex, is_received(p) ? 0 : BPF_F_INGRESS);
}

/* Back to the sender: a workload's interface, the overlay, or the host's stack for whoever is outside. */
SHARED int send_answer(struct __sk_buff *skb, struct packet *p)
{
  if (!p)
    return TC_ACT_SHOT;
  if (is_at_uplink(p))
    return answer_at_uplink(skb, p);
  /* The host's own end has no interface of its own: it is reached through the workload's. */
  struct endpoint *sender = p->slot[0] == host_slot ? 0 : endpoint_at(p->slot[0]), *receiver = endpoint_at(p->slot[1]);
  struct endpoint *mine = sender ? sender : receiver;
  if (!mine)
    return TC_ACT_SHOT;
  __u8 macs[12] __attribute__((aligned(4)));
  __builtin_memcpy(macs, sender ? mine->mac : mine->gateway_mac, 6);
  __builtin_memcpy(macs + 6, sender ? mine->gateway_mac : mine->mac, 6);
  if (bpf_skb_store_bytes(skb, 0, macs, sizeof macs, BPF_F_INVALIDATE_HASH))
    return TC_ACT_SHOT;
  if (!sender && p->overlay_host)
    return to_overlay(skb, p, mine);
  skb->mark = mark_answer;
  if (!sender)
    return bpf_redirect(mine->ifindex, BPF_F_INGRESS);
  if (mine->kind == kind_tap || is_received(p))
    return bpf_redirect(mine->ifindex, 0);
  return bpf_redirect_peer(mine->ifindex, 0);
}

/* Workloads must not make the programs work, or another listen, without bound. */
FAST int may_answer(const struct packet *p)
{
  __u32 slot = p->slot[0] ? p->slot[0] : p->slot[1];
  struct usage *usage = usage_of(slot);
  if (usage && take_token(&usage->answer_bucket, now_of(p), 1000000000 / answers_per_second, answers_burst))
    return 1;
  count_at(slot, counter_answer_rate);
  return 0;
}

/*
 * A packet from a local socket may still lack its checksum: the field then holds the folded pseudo header, and the device fills the
 * rest in. The reset has its field in the same place, so it keeps the same form.
 */
FAST __u16 reset_checksum(const struct packet *p, const struct tcp_header *old, const struct tcp_header *reset)
{
  __u32 length = p->payload + (old->offset >> 4) * 4;
  __u32 pseudo = pseudo_sum(p->destination, p->source, sizeof *reset, IPPROTO_TCP, p->is_ipv6);
  if (old->checksum == fold(pseudo_sum(p->source, p->destination, length, IPPROTO_TCP, p->is_ipv6)))
    return fold(pseudo);
  return ~fold(sum_of(reset, sizeof *reset, pseudo));
}

SHARED int answer_reset(struct __sk_buff *skb, struct packet *p)
{
  if (!p)
    return TC_ACT_SHOT;
  struct scratch *scratch = scratch_here();
  struct tcp_header *old = scratch ? (void *)scratch->answer : 0, reset = {.offset = 5 << 4, .flags = tcp_rst};
  __u32 network = p->is_ipv6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
  if (!old || p->tcp_flags & tcp_rst || p->fragment || !may_answer(p) || bpf_skb_load_bytes(skb, p->transport, old, sizeof *old))
    return TC_ACT_SHOT;
  reset.ports.source = old->ports.destination;
  reset.ports.destination = old->ports.source;
  if (p->tcp_flags & tcp_ack) {
    reset.sequence = old->acknowledgement;
  } else {
    reset.flags |= tcp_ack;
    reset.acknowledgement = bpf_htonl(p->sequence + p->payload + !!(p->tcp_flags & tcp_syn) + !!(p->tcp_flags & tcp_fin));
  }
  reset.checksum = reset_checksum(p, old, &reset);
  /* A header longer than usual would put the checksum where the device does not expect it. */
  if (p->transport != ETH_HLEN + network || bpf_skb_change_tail(skb, ETH_HLEN + network + sizeof reset, 0))
    return TC_ACT_SHOT;
  if (p->is_ipv6) {
    struct ipv6hdr ip = ipv6_header(p->destination, p->source, sizeof reset, IPPROTO_TCP);
    bpf_skb_store_bytes(skb, ETH_HLEN, &ip, sizeof ip, 0);
  } else {
    struct iphdr ip = ipv4_header(p->destination, p->source, sizeof ip + sizeof reset, IPPROTO_TCP);
    bpf_skb_store_bytes(skb, ETH_HLEN, &ip, sizeof ip, 0);
  }
  if (bpf_skb_store_bytes(skb, ETH_HLEN + network, &reset, sizeof reset, 0))
    return TC_ACT_SHOT;
  count(counter_reset_sent);
  return send_answer(skb, p);
}

/* Tells the sender that there is no association: the counterpart of a reset. */
SHARED int answer_abort(struct __sk_buff *skb, struct packet *p)
{
  if (!p)
    return TC_ACT_SHOT;
  __u32 network = p->is_ipv6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
  /* The end of an association is never answered by another. */
  if (p->chunk == sctp_abort || p->chunk == sctp_shutdown_complete || p->fragment || !may_answer(p))
    return TC_ACT_SHOT;
  struct sctp_header reply = abort_to(p);
  if (p->transport != ETH_HLEN + network || bpf_skb_change_tail(skb, ETH_HLEN + network + sizeof reply, 0))
    return TC_ACT_SHOT;
  if (p->is_ipv6) {
    struct ipv6hdr ip = ipv6_header(p->destination, p->source, sizeof reply, IPPROTO_SCTP);
    bpf_skb_store_bytes(skb, ETH_HLEN, &ip, sizeof ip, 0);
  } else {
    struct iphdr ip = ipv4_header(p->destination, p->source, sizeof ip + sizeof reply, IPPROTO_SCTP);
    bpf_skb_store_bytes(skb, ETH_HLEN, &ip, sizeof ip, 0);
  }
  if (bpf_skb_store_bytes(skb, ETH_HLEN + network, &reply, sizeof reply, 0))
    return TC_ACT_SHOT;
  count(counter_reset_sent);
  return send_answer(skb, p);
}

/* What an ICMP error says; `mtu` for packet-too-big only. `from_gateway`: a router speaks, not the destination. */
struct complaint {
  __u8 type;
  __u8 code;
  __u16 from_gateway;
  __u32 mtu;
};

struct icmp4_error {
  struct iphdr ip;
  __u8 type;
  __u8 code;
  __sum16 checksum;
  __be16 unused;
  __be16 mtu;
  __u8 quote[28];
};

FAST const __u8 *speaker(const struct packet *p, const struct complaint *complaint, struct config *config)
{
  if (!complaint->from_gateway || !config)
    return p->destination;
  const __u8 *gateway = p->is_ipv6 ? config->gateway_ipv6 : config->gateway_ipv4;
  return WORDS(gateway)->second ? gateway : p->destination;
}

SHARED int answer_icmp4(struct __sk_buff *skb, struct packet *p, const struct complaint *complaint)
{
  if (!p || !complaint)
    return TC_ACT_SHOT;
  struct scratch *scratch = scratch_here();
  if (!scratch)
    return TC_ACT_SHOT;
  struct icmp4_error *error = (void *)scratch->answer;
  error->type = complaint->type;
  error->code = complaint->code;
  error->checksum = 0;
  error->unused = 0;
  error->mtu = bpf_htons(complaint->mtu);
  __u8 source[16] __attribute__((aligned(8)));
  copy_address(source, speaker(p, complaint, read_config()));
  if (bpf_skb_load_bytes(skb, ETH_HLEN, error->quote, sizeof error->quote))
    return TC_ACT_SHOT;
  error->checksum = ~fold(sum_of(&error->type, sizeof *error - sizeof error->ip, 0));
  error->ip = ipv4_header(source, p->source, sizeof *error, IPPROTO_ICMP);
  if (bpf_skb_change_tail(skb, ETH_HLEN + sizeof *error, 0) || bpf_skb_store_bytes(skb, ETH_HLEN, error, sizeof *error, 0))
    return TC_ACT_SHOT;
  count(counter_icmp_sent);
  return send_answer(skb, p);
}

struct icmp6_error {
  struct ipv6hdr ip;
  __u8 type;
  __u8 code;
  __sum16 checksum;
  __be32 mtu;
  __u8 quote[48];
};

SHARED int answer_icmp6(struct __sk_buff *skb, struct packet *p, const struct complaint *complaint)
{
  if (!p || !complaint)
    return TC_ACT_SHOT;
  struct scratch *scratch = scratch_here();
  if (!scratch)
    return TC_ACT_SHOT;
  struct icmp6_error *error = (void *)scratch->answer;
  error->type = complaint->type;
  error->code = complaint->code;
  error->checksum = 0;
  error->mtu = bpf_htonl(complaint->mtu);
  __u8 source[16] __attribute__((aligned(8)));
  copy_address(source, speaker(p, complaint, read_config()));
  if (bpf_skb_load_bytes(skb, ETH_HLEN, error->quote, sizeof error->quote))
    return TC_ACT_SHOT;
  __u32 bytes = sizeof *error - sizeof error->ip;
  error->checksum = ~fold(sum_of(&error->type, bytes, pseudo_sum(source, p->source, bytes, IPPROTO_ICMPV6, 1)));
  error->ip = ipv6_header(source, p->source, bytes, IPPROTO_ICMPV6);
  if (bpf_skb_change_tail(skb, ETH_HLEN + sizeof *error, 0) || bpf_skb_store_bytes(skb, ETH_HLEN, error, sizeof *error, 0))
    return TC_ACT_SHOT;
  count(counter_icmp_sent);
  return send_answer(skb, p);
}

/* An ICMP error about this packet, unless it is one itself. */
FAST int answer_icmp(struct __sk_buff *skb, struct packet *p, const struct complaint *complaint)
{
  if (p->icmp == icmp_reports || p->fragment_offset || !may_answer(p))
    return TC_ACT_SHOT;
  return p->is_ipv6 ? answer_icmp6(skb, p, complaint) : answer_icmp4(skb, p, complaint);
}

/* `deny: reject`: the sender learns at once. */
SHARED int answer_reject(struct __sk_buff *skb, struct packet *p)
{
  if (!p)
    return TC_ACT_SHOT;
  if (p->protocol == IPPROTO_TCP)
    return answer_reset(skb, p);
  if (p->protocol == IPPROTO_SCTP)
    return answer_abort(skb, p);
  int closed_port = p->protocol == IPPROTO_UDP;
  struct complaint complaint = {.type = p->is_ipv6 ? 1 : 3, .code = p->is_ipv6 ? (closed_port ? 4 : 1) : (closed_port ? 3 : 13)};
  return answer_icmp(skb, p, &complaint);
}
