/** Packets that are held for a decision: bpf/punt.h. All bounds act before the device. */
import { limit } from '../generated/maps.ts';
import { keyOf, reversed, tableKey, writeEvent } from './connections.ts';
import { drop, tell } from './events.ts';
import { takeToken, type Delivery, type Judgement, type Seen, type Surroundings } from './packet-judging.ts';
import { count, usageOf, type HeldPacket, type Pinned } from './state.ts';
import type { Party } from './verdict.ts';

const nsPerMs = 1_000_000n;

/** A retransmission of what is held already. */
function absorb(around: Surroundings, seen: Seen): Delivery {
  count(around.pinned, 'punt_absorbed', seen.slot);
  return { kind: 'dropped', reason: 'punt_absorbed', rejected: false };
}

/** Holds the packet under a fresh id, or drops it under the bound that it met. */
export function punt(around: Surroundings, seen: Seen, judgement: Judgement): Delivery {
  const { pinned, limits, nowNs } = around;
  const { ends, verdict } = judgement;
  const { config } = pinned;
  if (config.puntIfindex === 0) return drop(around, seen, 'punt_no_device');
  const key = tableKey(seen.packet);
  const pending = pinned.pendings.get(key);
  if (pending !== undefined) {
    if (nowNs - pending.atNs < BigInt(limit.pendingMs) * nsPerMs) return absorb(around, seen);
    releaseHeld(pinned, pending.id);
  }
  const usage = usageOf(pinned, seen.slot);
  const due = config.puntRate === 0 ? null : takeToken(usage.puntDueNs, nowNs, config.puntRate, config.puntBurst);
  if (due === null) return drop(around, seen, 'punt_rate');
  usage.puntDueNs = due;
  const isFull = pinned.punts.size >= limits.puntsMax || usage.punts >= limit.puntsPerEndpointMax;
  const id = around.randomId();
  if (isFull || pinned.punts.has(id)) return drop(around, seen, 'punt_full');
  const generationOf = (party: Party): number => pinned.endpoints.get(party.slot)?.generation ?? 0;
  pinned.punts.set(id, {
    atNs: nowNs,
    slot: [ends[0].slot, ends[1].slot],
    identity: [ends[0].identity, ends[1].identity],
    rule: [...verdict.asked],
    generation: [generationOf(ends[0]), generationOf(ends[1])],
    reason: verdict.wait ? 'held' : 'ask',
    arrival: seen.arrival,
    charged: seen.slot,
    fromResponder: judgement.side === 1,
    packet: seen.packet,
  });
  pinned.pendings.set(key, { atNs: nowNs, id });
  usage.punts++;
  const reason = verdict.wait ? 'held' : 'asked';
  count(pinned, reason);
  tell(around, seen, judgement, { kind: 'ask', reason: reason, observed: false });
  return { kind: 'punted', id };
}

/** Takes a held packet's record away and gives back its place. */
export function releaseHeld(pinned: Pinned, id: number): HeldPacket | null {
  const held = pinned.punts.get(id);
  if (held === undefined) return null;
  pinned.punts.delete(id);
  const usage = usageOf(pinned, held.charged);
  if (usage.punts > 0) usage.punts--;
  const key = tableKey(held.packet);
  if (pinned.pendings.get(key)?.id === id) pinned.pendings.delete(key);
  return held;
}

/** The agent's "no": the connection that the packet wanted is told as refused. */
export function refuseHeld(around: Surroundings, held: HeldPacket, bytes: number, isRejected: boolean): Delivery {
  const { pinned, nowNs } = around;
  count(pinned, 'refused', held.charged);
  const key = keyOf(held.packet);
  writeEvent(pinned, around.limits, {
    kind: 'deny',
    reason: 'refused',
    atNs: nowNs,
    slot: held.charged,
    sourceSlot: held.slot[0],
    destinationSlot: held.slot[1],
    sourceIdentity: held.identity[0],
    destinationIdentity: held.identity[1],
    egressRule: held.rule[0],
    ingressRule: held.rule[1],
    key: held.fromResponder ? reversed(key) : key,
    revision: pinned.config.revision,
    bytes,
    tcpState: 'none',
    observed: false,
    firstSeenNs: 0n,
    totalPackets: [0n, 0n],
    totalBytes: [0n, 0n],
  });
  return { kind: 'dropped', reason: 'refused', rejected: isRejected };
}

/** Forgets held packets that nobody answered: those that are too old, or all. */
export function sweepHeld(pinned: Pinned, nowNs: bigint, all: boolean): void {
  for (const [id, held] of pinned.punts) {
    if (all || nowNs - held.atNs >= BigInt(limit.puntMs) * nsPerMs) releaseHeld(pinned, id);
  }
}
