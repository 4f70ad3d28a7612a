/** Events of judged packets, bounded per endpoint: bpf/account.h. */
import { limit } from '../generated/maps.ts';
import type { ConnectionKey, CounterName, KernelEvent } from '../port.ts';
import { keyOf, reversed, writeEvent } from './connections.ts';
import {
  chargedSlot,
  takeToken,
  type Delivery,
  type Judgement,
  type Seen,
  type Surroundings,
} from './packet-judging.ts';
import { count, usageOf, type Pair } from './state.ts';

interface Story {
  readonly kind: KernelEvent['kind'];
  readonly reason: CounterName;
  readonly observed: boolean;
}
/** What an event says of its parties, in the order of the connection. */
interface Parties {
  readonly slot: Pair<number>;
  readonly identity: Pair<number>;
  readonly rule: Pair<number>;
}
const noParty: Pair<number> = [0, 0];

/** Tells what a judgement came to. */
export function tell(around: Surroundings, seen: Seen, judgement: Judgement, story: Story): void {
  const { ends, verdict, side } = judgement;
  const key = keyOf(seen.packet);
  if (story.observed && story.kind === 'deny') count(around.pinned, story.reason);
  report(around, seen, story, side === 0 ? key : reversed(key), {
    slot: [ends[0].slot, ends[1].slot],
    identity: [ends[0].identity, ends[1].identity],
    rule: verdict.rule,
  });
}

/** Drops a packet that no verdict was asked about. */
export function drop(around: Surroundings, seen: Seen, reason: CounterName): Delivery {
  count(around.pinned, reason, chargedSlot(seen));
  const parties = { slot: seen.slots, identity: noParty, rule: noParty };
  report(around, seen, { kind: 'drop', reason, observed: false }, keyOf(seen.packet), parties);
  return { kind: 'dropped', reason, rejected: false };
}

function report(around: Surroundings, seen: Seen, story: Story, key: ConnectionKey, parties: Parties): void {
  const { pinned, nowNs } = around;
  const slot = chargedSlot(seen);
  const usage = usageOf(pinned, slot);
  const isRefusal = story.kind === 'deny' || story.kind === 'drop';
  const due = isRefusal
    ? takeToken(usage.refusalEventDueNs, nowNs, limit.refusalEventsPerSecond, limit.refusalEventsBurst)
    : takeToken(usage.connectionEventDueNs, nowNs, limit.connectionEventsPerSecond, limit.connectionEventsBurst);
  if (due === null) {
    count(pinned, 'events_suppressed');
    return;
  }
  if (isRefusal) usage.refusalEventDueNs = due;
  else usage.connectionEventDueNs = due;
  writeEvent(pinned, around.limits, {
    ...story,
    atNs: nowNs,
    slot,
    sourceSlot: parties.slot[0],
    destinationSlot: parties.slot[1],
    sourceIdentity: parties.identity[0],
    destinationIdentity: parties.identity[1],
    egressRule: parties.rule[0],
    ingressRule: parties.rule[1],
    key,
    revision: pinned.config.revision,
    bytes: seen.bytes,
    tcpState: 'none',
    firstSeenNs: nowNs,
    totalPackets: [0n, 0n],
    totalBytes: [0n, 0n],
  });
}
