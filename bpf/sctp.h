/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* SCTP (RFC 9260): what of a packet says how an association begins, lives and ends, and the ABORT that answers one that may not. */
#pragma once
#include "packet.h"

/* Types of the chunks that change an association's life. */
enum { sctp_init = 1, sctp_abort = 6, sctp_shutdown = 7, sctp_shutdown_ack = 8, sctp_cookie_ack = 11, sctp_shutdown_complete = 14 };

struct port_pair {
  __be16 source;
  __be16 destination;
};
/* The common header and the first chunk's. */
struct sctp_header {
  struct port_pair ports;
  __be32 tag;
  __le32 checksum;
  __u8 chunk;
  __u8 flags;
  __be16 length;
};
_Static_assert(sizeof(struct sctp_header) == 16, "sctp_header");

FAST int is_init(const struct packet *p)
{
  return p->protocol == IPPROTO_SCTP && p->chunk == sctp_init;
}

/* Only the first chunk is read: INIT, SHUTDOWN COMPLETE and what else decides are alone or first in their packets. */
FAST int parse_sctp(void *header, void *end, __u32 offset, struct packet *p)
{
  struct sctp_header *sctp = header;
  if ((void *)(sctp + 1) > end || offset + sizeof *sctp > p->payload)
    return 0;
  p->source_port = bpf_ntohs(sctp->ports.source);
  p->destination_port = bpf_ntohs(sctp->ports.destination);
  p->acknowledgement = bpf_ntohl(sctp->tag);
  p->chunk = sctp->chunk;
  if (sctp->chunk != sctp_init)
    return 1;
  __be32 *tag = (void *)(sctp + 1);
  if ((void *)(tag + 1) > end || offset + sizeof *sctp + sizeof *tag > p->payload)
    return 0;
  p->sequence = bpf_ntohl(*tag);
  return 1;
}

/* One step of CRC32c. A product, since newer verifiers walk both ways of a mask that is all zeros or all ones. */
FAST __u64 crc32c_bit(__u64 crc)
{
  __u64 low = crc & 1;
  asm volatile("" : "+r"(low));
  return (crc >> 1) ^ (low * 0x82f63b78);
}

/* Bit by bit: an ABORT has sixteen bytes, and no table is worth its cache lines. */
FAST __u32 crc32c(const __u8 *bytes, __u32 length)
{
  __u64 crc = 0xffffffff;
  for (__u32 index = 0; index < length; index++) {
    crc ^= bytes[index];
    for (int bit = 0; bit < 8; bit++)
      crc = crc32c_bit(crc);
  }
  return ~crc;
}

/* Whoever began is told under its own new tag; in the midst of an association the sender's tag comes back with the T bit. */
FAST struct sctp_header abort_to(const struct packet *p)
{
  struct sctp_header reply = {.chunk = sctp_abort, .length = bpf_htons(4)};
  reply.ports.source = bpf_htons(p->destination_port);
  reply.ports.destination = bpf_htons(p->source_port);
  reply.tag = bpf_htonl(is_init(p) ? p->sequence : p->acknowledgement);
  reply.flags = !is_init(p);
  /* The checksum stands in the packet with its least byte first, whatever the machine's order. */
  __u32 crc = crc32c((const __u8 *)&reply, sizeof reply);
  __u8 *at = (__u8 *)&reply.checksum;
  at[0] = crc;
  at[1] = crc >> 8;
  at[2] = crc >> 16;
  at[3] = crc >> 24;
  return reply;
}
