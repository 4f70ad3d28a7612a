/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Removing entries that are over: for the agent (sweep), and without it when it is gone and somebody needs the room. */
#pragma once
#include "connections.h"

/* `report_all`: an entry stays until its end was told. Without an agent nobody listens, so room goes before reports. */
struct recycling {
  __u64 now;
  __u32 report_all;
  __u32 removed;
};

static long recycle_entry(struct bpf_map *map, struct connection_key *key, struct connection *c, struct recycling *run)
{
  (void)map;
  if (!is_dead(c, run->now))
    return 0;
  if (!report_close(key, c, run->now)) {
    if (run->report_all)
      return 1;
    count(counter_events_lost);
  }
  __u32 removed = forget(key, c);
  run->removed += removed;
  if (removed && !run->report_all)
    count(counter_connections_recycled);
  return 0;
}

FAST __u32 recycle(__u64 now, __u32 report_all)
{
  struct recycling run = {.now = now, .report_all = report_all};
  bpf_for_each_map_elem(&connections, recycle_entry, &run, 0);
  count(counter_recycle_runs);
  return run.removed;
}

/* With a dead agent: at most one walk a second, and only when somebody needs the room. True when it walked. */
SHARED int recycle_if_alone(__u64 now)
{
  __u32 zero = 0;
  struct config *config = read_config();
  struct runtime *state = bpf_map_lookup_elem(&runtime, &zero);
  if (!config || !state || (__s64)(now - config->heartbeat_ns) <= (__s64)heartbeat_max_ms * 1000000)
    return 0;
  __u64 last = state->recycle_at_ns;
  if (now - last < (__u64)recycle_interval_ms * 1000000 || __sync_val_compare_and_swap(&state->recycle_at_ns, last, now) != last)
    return 0;
  recycle(now, 0);
  return 1;
}
