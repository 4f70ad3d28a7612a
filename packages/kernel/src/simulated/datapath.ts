/**
 * The programs over the simulated tables: what bpf/from_workload.h, to_workload.h, first.h and from_punt.h do with one packet. Fragments,
 * ARP, ICMP errors, hop limits and sizes are left to the real programs.
 */
import type { CounterName } from '../port.ts';
import { forget, isDead, reportClose, sideOf, tableKey, useConnection } from './connections.ts';
import { tell } from './events.ts';
import { tcpFlag, type Packet } from './frame.ts';
import { punt } from './held.ts';
import { judgedAgain, openConnection } from './opening.ts';
import {
  chargedSlot,
  drop,
  other,
  type Arrival,
  type Delivery,
  type Judgement,
  type Seen,
  type Surroundings,
} from './packet-judging.ts';
import { count, type HeldPacket, type Pair } from './state.ts';
import { endpointParty, judge, partyOf, severity, wordOf, type Party } from './verdict.ts';

const protocolTcp = 6;

export function enforce(
  around: Surroundings,
  packet: Packet,
  bytes: number,
  answers: boolean,
  arrival: Arrival,
): Delivery {
  const { pinned } = around;
  const endpoint = [...pinned.endpoints.values()].find((candidate) => candidate.ifindex === arrival.ifindex);
  if (endpoint === undefined) return drop(around, 0, 'unknown_interface');
  if (endpoint.state === 'fenced') return drop(around, endpoint.slot, 'fenced');
  const isIpv6 = packet.source.includes(':');
  const own = isIpv6 ? endpoint.ipv6 : endpoint.ipv4;
  const seen: Seen = { packet, bytes, answers, arrival, slot: endpoint.slot };
  let delivery: Delivery;
  if (arrival.hook === 'from-workload' && (packet.sourceMac !== endpoint.mac || packet.source !== own)) {
    delivery = drop(around, endpoint.slot, 'spoofed');
  } else if (arrival.hook === 'to-workload' && packet.destination !== own) {
    delivery = drop(around, endpoint.slot, 'misdirected');
  } else {
    delivery = known(around, seen) ?? first(around, seen);
  }
  // Observed: told and counted, never enforced.
  if (endpoint.state === 'observed')
    return { kind: 'passed', slot: arrival.hook === 'to-workload' ? endpoint.slot : 0 };
  return delivery;
}

/** A packet of an open connection whose both ends are as they were judged; null for every other. */
function known(around: Surroundings, seen: Seen): Delivery | null {
  const { pinned, limits, nowNs } = around;
  const connection = pinned.connections.get(tableKey(seen.packet));
  if (connection === undefined || isDead(connection, nowNs)) return null;
  const side = sideOf(connection, seen.packet);
  const current = ([0, 1] as const).every((index) => {
    if (connection.slot[index] === 0) return true;
    const endpoint = pinned.endpoints.get(connection.slot[index]);
    return endpoint?.state === 'governed' && wordOf(endpoint) === connection.word[index];
  });
  const sender = seen.arrival.hook === 'from-workload' ? side : other(side);
  if (!current || connection.slot[sender] !== seen.slot) return null;
  if (seen.arrival.hook === 'to-workload' && connection.slot[side] !== 0 && !seen.arrival.marked) return null;
  if (useConnection(pinned, limits, connection, seen.packet, seen.bytes, nowNs) === 'begins') return null;
  return { kind: 'passed', slot: connection.slot[other(side)] };
}

/** The ends in the connection's order, or null where the source is not who it says. */
function endsOf(around: Surroundings, seen: Seen, side: 0 | 1): Pair<Party> | null {
  const { pinned } = around;
  const mine = pinned.endpoints.get(seen.slot);
  if (mine === undefined) return null;
  const { arrival, packet } = seen;
  const sender = arrival.hook === 'from-workload' ? endpointParty(mine) : partyOf(pinned, packet.source);
  const receiver = arrival.hook === 'from-workload' ? partyOf(pinned, packet.destination) : endpointParty(mine);
  if (arrival.hook === 'to-workload') {
    // A workload's address is believed only with the mark, a remote workload's never from here.
    if (sender.owner === 'endpoint' ? !arrival.marked : sender.owner === 'remote') return null;
  }
  return side === 0 ? [sender, receiver] : [receiver, sender];
}

function evaluate(around: Surroundings, seen: Seen): Judgement | CounterName {
  const { packet } = seen;
  const found = around.pinned.connections.get(tableKey(packet));
  const begins = packet.protocol === protocolTcp && (packet.tcpFlags & (tcpFlag.syn | tcpFlag.ack)) === tcpFlag.syn;
  const open = found !== undefined && !begins && !isDead(found, around.nowNs) ? found : null;
  if (open === null && seen.answers) return 'icmp_unmatched';
  const side = open === null ? 0 : sideOf(open, packet);
  const ends = endsOf(around, seen, side);
  if (ends === null) return 'spoofed';
  const port = side === 0 ? packet.destinationPort : packet.sourcePort;
  return { ends, verdict: judge(around.pinned, ends, packet.protocol * 0x10000 + port), side, open };
}

function first(around: Surroundings, seen: Seen): Delivery {
  const judgement = evaluate(around, seen);
  return typeof judgement === 'string' ? drop(around, seen.slot, judgement) : settle(around, seen, judgement, false);
}

function settle(around: Surroundings, seen: Seen, judgement: Judgement, isDecided: boolean): Delivery {
  const { pinned, limits, nowNs } = around;
  const { ends, verdict, open, side } = judgement;
  const isReceiver = seen.arrival.hook === 'to-workload';
  const receiver = ends[other(side)];
  const passed: Delivery = {
    kind: 'passed',
    slot: isReceiver ? seen.slot : receiver.state === 'observed' ? 0 : receiver.slot,
  };
  const passes = !verdict.wait && verdict.action === 'allow';
  if (pinned.endpoints.get(seen.slot)?.state === 'observed' && !passes) {
    tell(around, seen, judgement, { kind: 'deny', reason: 'observed_denied', observed: true });
    return passed;
  }
  if (verdict.observed !== 'allow')
    tell(around, seen, judgement, { kind: 'deny', reason: 'observed_denied', observed: true });
  const stillDecided = open?.decided === true && open.rule[0] === verdict.rule[0] && open.rule[1] === verdict.rule[1];
  if (verdict.wait || (verdict.action === 'ask' && !isDecided && !stillDecided)) return punt(around, seen, judgement);
  if (severity(verdict.action) === 2) {
    if (open !== null) {
      reportClose(pinned, limits, open, nowNs);
      forget(pinned, tableKey(open));
    }
    count(pinned, verdict.reason, chargedSlot(judgement));
    tell(around, seen, judgement, { kind: 'deny', reason: verdict.reason, observed: false });
    return { kind: 'dropped', reason: verdict.reason, rejected: verdict.action === 'reject' };
  }
  if (receiver.owner === 'remote') return drop(around, seen.slot, 'unreachable_remote');
  const refused =
    open === null ? openConnection(around, seen, judgement, isDecided) : judgedAgain(around, seen, judgement, open);
  return refused === null ? passed : drop(around, seen.slot, refused);
}

export type Answered = { readonly outcome: 'sent' | 'stale' | 'full'; readonly delivery: Delivery };

/** A frame that came back to the punt device, with its record. */
export function answerHeld(around: Surroundings, held: HeldPacket, bytes: number, isAdmitted: boolean): Answered {
  const endpoint = around.pinned.endpoints.get(held.charged);
  const ifindex = endpoint?.ifindex ?? 0;
  const arrival: Arrival =
    held.hook === 'from-workload' ? { hook: held.hook, ifindex } : { hook: held.hook, ifindex, marked: held.marked };
  const seen: Seen = { packet: held.packet, bytes, answers: false, arrival, slot: held.charged };
  const judgement = evaluate(around, seen);
  if (typeof judgement === 'string') return { outcome: 'stale', delivery: drop(around, held.charged, judgement) };
  const { verdict, ends } = judgement;
  let isDecided = false;
  if (isAdmitted && held.reason === 'ask' && (verdict.action === 'ask' || verdict.wait)) {
    const isSame = ([0, 1] as const).every(
      (side) =>
        ends[side].slot === held.slot[side] &&
        ends[side].identity === held.identity[side] &&
        (around.pinned.endpoints.get(held.slot[side])?.generation ?? 0) === held.generation[side] &&
        verdict.asked[side] === held.rule[side],
    );
    if (verdict.wait || !isSame) return { outcome: 'stale', delivery: drop(around, held.charged, 'punt_stale') };
    isDecided = true;
  }
  const delivery = settle(around, seen, judgement, isDecided);
  return { outcome: delivery.kind === 'dropped' && severity(verdict.action) < 2 ? 'full' : 'sent', delivery };
}
