/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* One object: every hook, sharing the maps of maps.h. */
#include "schema.h"
#include "from_workload.h"
#include "to_workload.h"
#include "from_punt.h"
#include "from_uplink.h"
#include "to_uplink.h"
#include "from_overlay.h"
#include "closed.h"
#include "sweep.h"

char _license[] SEC("license") = "GPL";
