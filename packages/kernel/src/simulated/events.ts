/** Events of judged packets, bounded per endpoint: bpf/account.h. */
import { limit } from '../generated/maps.ts';
import type { CounterName, KernelEvent } from '../port.ts';
import { keyOf, reversed, writeEvent } from './connections.ts';
import { chargedSlot, takeToken, type Judgement, type Seen, type Surroundings } from './packet-judging.ts';
import { count, usageOf } from './state.ts';

export function tell(
  around: Surroundings,
  seen: Seen,
  judgement: Judgement,
  story: { readonly kind: KernelEvent['kind']; readonly reason: CounterName; readonly observed: boolean },
): void {
  const { kind, reason, observed } = story;
  const { pinned, nowNs } = around;
  const { ends, verdict, side } = judgement;
  const slot = chargedSlot(judgement);
  if (observed && kind === 'deny') count(pinned, reason);
  const usage = usageOf(pinned, slot);
  const isRefusal = kind === 'deny' || kind === 'drop';
  const due = isRefusal
    ? takeToken(usage.refusalEventDueNs, nowNs, limit.refusalEventsPerSecond, limit.refusalEventsBurst)
    : takeToken(usage.connectionEventDueNs, nowNs, limit.connectionEventsPerSecond, limit.connectionEventsBurst);
  if (due === null) {
    count(pinned, 'events_suppressed');
    return;
  }
  if (isRefusal) usage.refusalEventDueNs = due;
  else usage.connectionEventDueNs = due;
  const key = keyOf(seen.packet);
  writeEvent(pinned, around.limits, {
    kind,
    reason,
    atNs: nowNs,
    slot,
    sourceSlot: ends[0].slot,
    destinationSlot: ends[1].slot,
    sourceIdentity: ends[0].identity,
    destinationIdentity: ends[1].identity,
    egressRule: verdict.rule[0],
    ingressRule: verdict.rule[1],
    key: side === 0 ? key : reversed(key),
    revision: pinned.config.revision,
    bytes: seen.bytes,
    tcpState: 'none',
    observed,
    firstSeenNs: 0n,
    totalPackets: [0n, 0n],
    totalBytes: [0n, 0n],
  });
}
