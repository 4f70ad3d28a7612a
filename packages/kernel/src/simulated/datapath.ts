/**
 * The programs over the simulated tables: what bpf/from_workload.h, to_workload.h, first.h and from_punt.h do with one packet. Fragments,
 * ARP, ICMP errors, hop limits and sizes are left to the real programs.
 */
import type { CounterName, EndpointEntry } from '../port.ts';
import { forget, isDead, reportClose, sideOf, tableKey, useConnection } from './connections.ts';
import { drop, tell } from './events.ts';
import { packetOf, tcpFlag, type Parsed } from './frame.ts';
import { punt } from './held.ts';
import { judgedAgain, openConnection } from './opening.ts';
import {
  chargedSlot,
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

/** What is known of a packet that was not read. */
const unread = packetOf({ protocol: 0, source: '::', sourcePort: 0, destination: '::', destinationPort: 0 });

export function enforce(around: Surroundings, parsed: Parsed, bytes: number, arrival: Arrival): Delivery {
  const { pinned } = around;
  const endpoint = [...pinned.endpoints.values()].find((candidate) => candidate.ifindex === arrival.ifindex);
  if (endpoint === undefined) {
    count(pinned, 'unknown_interface');
    return { kind: 'dropped', reason: 'unknown_interface', rejected: false };
  }
  const seen: Seen = {
    packet: endpoint.state === 'fenced' || parsed.packet === null ? unread : parsed.packet,
    bytes,
    answers: parsed.kind === 'packet' && parsed.answers,
    arrival,
    slot: endpoint.slot,
    slots: arrival.hook === 'from-workload' ? [endpoint.slot, 0] : [0, endpoint.slot],
  };
  if (endpoint.state === 'fenced') return drop(around, seen, 'fenced');
  const delivery = parsed.kind === 'dropped' ? drop(around, seen, parsed.reason) : checked(around, seen, endpoint);
  // Observed: told and counted, never enforced.
  if (endpoint.state === 'observed')
    return { kind: 'passed', slot: arrival.hook === 'to-workload' ? endpoint.slot : 0 };
  return delivery;
}

function checked(around: Surroundings, seen: Seen, endpoint: EndpointEntry): Delivery {
  const { packet, arrival } = seen;
  const own = packet.source.includes(':') ? endpoint.ipv6 : endpoint.ipv4;
  if (arrival.hook === 'from-workload') {
    if (packet.sourceMac !== endpoint.mac || packet.source !== own) return drop(around, seen, 'spoofed');
  } else if (packet.destination !== own) {
    return drop(around, seen, 'misdirected');
  }
  return known(around, seen) ?? first(around, seen);
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

/** On its way in a workload's address is believed only with the mark, a remote workload's never. */
function isGenuine(sender: Party, arrival: Arrival): boolean {
  if (arrival.hook === 'from-workload') return true;
  return sender.owner === 'endpoint' ? arrival.marked : sender.owner !== 'remote';
}

/** The ends in the connection's order, or null where the source is not who it says. */
function endsOf(around: Surroundings, seen: Seen, side: 0 | 1): Pair<Party> | null {
  const { pinned } = around;
  const mine = pinned.endpoints.get(seen.slot);
  if (mine === undefined) return null;
  const { arrival, packet } = seen;
  const sender = arrival.hook === 'from-workload' ? endpointParty(mine) : partyOf(pinned, packet.source);
  const receiver = arrival.hook === 'from-workload' ? partyOf(pinned, packet.destination) : endpointParty(mine);
  seen.slots = [sender.slot, receiver.slot];
  return isGenuine(sender, arrival) ? (side === 0 ? [sender, receiver] : [receiver, sender]) : null;
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
  return typeof judgement === 'string' ? drop(around, seen, judgement) : settle(around, seen, judgement, false);
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
    count(pinned, verdict.reason, chargedSlot(seen));
    tell(around, seen, judgement, { kind: 'deny', reason: verdict.reason, observed: false });
    // A reset is never answered by another.
    const isReset = (seen.packet.tcpFlags & tcpFlag.rst) !== 0;
    return { kind: 'dropped', reason: verdict.reason, rejected: verdict.action === 'reject' && !isReset };
  }
  if (receiver.owner === 'remote') return drop(around, seen, 'unreachable_remote');
  const refused =
    open === null ? openConnection(around, seen, judgement, isDecided) : judgedAgain(around, seen, judgement, open);
  return refused === null ? passed : drop(around, seen, refused);
}

export type Answered = { readonly outcome: 'sent' | 'stale' | 'full'; readonly delivery: Delivery };

/** A frame that came back to the punt device, with its record. */
export function answerHeld(around: Surroundings, held: HeldPacket, bytes: number, isAdmitted: boolean): Answered {
  const endpoint = around.pinned.endpoints.get(held.charged);
  const ifindex = endpoint?.ifindex ?? 0;
  const arrival: Arrival =
    held.hook === 'from-workload' ? { hook: held.hook, ifindex } : { hook: held.hook, ifindex, marked: held.marked };
  const sender = held.fromResponder ? held.slot[1] : held.slot[0];
  const receiver = held.fromResponder ? held.slot[0] : held.slot[1];
  const slots: Pair<number> = [sender, receiver];
  const seen: Seen = { packet: held.packet, bytes, answers: false, arrival, slot: held.charged, slots };
  const judgement = evaluate(around, seen);
  if (typeof judgement === 'string') return { outcome: 'stale', delivery: drop(around, seen, judgement) };
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
    if (verdict.wait || !isSame) return { outcome: 'stale', delivery: drop(around, seen, 'punt_stale') };
    isDecided = true;
  }
  const delivery = settle(around, seen, judgement, isDecided);
  return { outcome: delivery.kind === 'dropped' && severity(verdict.action) < 2 ? 'full' : 'sent', delivery };
}
