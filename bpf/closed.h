/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Behind the programs of workloads and of the punt device. Those end every packet's way through the hook, so that this one sees none
 * while they are there; what it sees was judged by nobody.
 */
#pragma once
#include "account.h"

SEC("tc")
int closed(struct __sk_buff *skb __attribute__((unused)))
{
  count(counter_program_error);
  return TC_ACT_SHOT;
}
