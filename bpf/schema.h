/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What userspace must know by name beside the maps themselves. */
#pragma once
#include "maps.h"

/* Never read or written: brings into the object's BTF what userspace needs and no other map mentions. */
struct schema {
  struct event event;
  enum limit limit;
  enum idle_ms idle_ms;
  enum mark mark;
  enum endpoint_state endpoint_state;
  enum endpoint_kind endpoint_kind;
  enum endpoint_flag endpoint_flag;
  enum host_port_kind host_port_kind;
  enum owner_kind owner_kind;
  enum action action;
  enum live live;
  enum verdict_bits verdict_bits;
  enum tcp_state tcp_state;
  enum connection_flag connection_flag;
  enum punt_reason punt_reason;
  enum punt_verb punt_verb;
  enum punt_outcome punt_outcome;
};
MAP(schema, BPF_MAP_TYPE_ARRAY, 1, 0, __u32, struct schema);
