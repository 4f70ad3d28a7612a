/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Run by the agent through BPF_PROG_TEST_RUN, never attached: the kernel's own bookkeeping keeps budgets exact. */
#pragma once
#include "punt.h"
#include "recycle.h"

struct punt_sweep {
  __u64 now;
  __u64 older_ns;
};

static long expire_old_punt(struct bpf_map *map, __u32 *id, struct punt *punt, struct punt_sweep *sweep)
{
  (void)map;
  __u32 copy = *id;
  if ((__s64)(sweep->now - punt->at_ns) < (__s64)sweep->older_ns)
    return 0;
  expire_punt(copy);
  bpf_map_delete_elem(&punts, &copy);
  return 0;
}

static long expire_pending(struct bpf_map *map, struct connection_key *key, struct pending *pending, struct punt_sweep *sweep)
{
  (void)map;
  if ((__s64)(sweep->now - pending->at_ns) >= (__s64)sweep->older_ns)
    bpf_map_delete_elem(&pendings, key);
  return 0;
}

/*
 * Forgets held packets that nobody answered. A frame whose first byte is not 0 asks for all of them: for an agent that begins, since
 * the packets themselves were lost with the one before.
 */
SEC("tc")
int sweep_punts(struct __sk_buff *skb)
{
  struct punt_sweep sweep = {.now = bpf_ktime_get_coarse_ns(), .older_ns = (__u64)punt_ms * 1000000};
  __u8 all = 0;
  if (!bpf_skb_load_bytes(skb, 0, &all, sizeof all) && all)
    sweep.older_ns = 0;
  bpf_for_each_map_elem(&punts, expire_old_punt, &sweep, 0);
  bpf_for_each_map_elem(&pendings, expire_pending, &sweep, 0);
  return 0;
}

/* Removes dead connections, each told by a `close` event; those for which the ring has no room stay. Returns how many went. */
SEC("tc")
int sweep(struct __sk_buff *skb)
{
  (void)skb;
  return recycle(bpf_ktime_get_coarse_ns(), 1);
}

/* Removes the connection whose key follows the Ethernet header of the frame, told as closed. 1 = it was there. */
SEC("tc")
int forget_connection(struct __sk_buff *skb)
{
  struct connection_key key;
  if (bpf_skb_load_bytes(skb, ETH_HLEN, &key, sizeof key))
    return 0;
  struct connection *c = bpf_map_lookup_elem(&connections, &key);
  if (!c)
    return 0;
  if (!report_close(&key, c, bpf_ktime_get_coarse_ns()))
    count(counter_events_lost);
  return forget(&key, c);
}
