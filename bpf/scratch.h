/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What is too large for the stack (512 bytes over all nested calls). Programs run with bottom halves off, so nobody interleaves. */
#pragma once
#include "packet.h"
#include "verdict.h"

struct scratch {
  struct judgement judgement;
  struct connection connection;
  struct punt punt;
  struct connection_key key;
  __u8 answer[128];
};
/* Opaque to userspace, so that no change here is a change of layout. */
struct scratch_space {
  __u64 word[96];
};
_Static_assert(sizeof(struct scratch) <= sizeof(struct scratch_space), "scratch fits");
MAP(scratch, BPF_MAP_TYPE_PERCPU_ARRAY, 1, 0, __u32, struct scratch_space);

FAST struct scratch *scratch_here(void)
{
  __u32 zero = 0;
  return bpf_map_lookup_elem(&scratch, &zero);
}

/* Linux 6.1 takes no argument of a shared function as a map's key: it has to lie in a map or on the function's own stack. */
FAST struct connection_key *key_of(const struct packet *p)
{
  struct scratch *scratch = scratch_here();
  if (!scratch)
    return 0;
  scratch->key = p->key;
  return &scratch->key;
}
