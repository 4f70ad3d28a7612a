/**
 * The programs over the simulated tables: what bpf/from_workload.h, to_workload.h, first.h and from_punt.h do with one packet. Fragments,
 * ARP, ICMP errors, hop limits and sizes are left to the real programs.
 */
import { limit } from '../generated/maps.ts';
import type { CounterName, EndpointEntry } from '../port.ts';
import { forget, isDead, reportClose, sideOf, tableKey, useConnection } from './connections.ts';
import { drop, tell } from './events.ts';
import { endsConnection, opensConnection, packetOf, type Parsed } from './frame.ts';
import { punt } from './held.ts';
import { judgedAgain, openConnection, resetConnection } from './opening.ts';
import {
  chargedSlot,
  isSending,
  other,
  type Arrival,
  type Delivery,
  type Judgement,
  type Seen,
  type Surroundings,
} from './packet-judging.ts';
import { count, type HeldPacket, type Pair, type TableConnection } from './state.ts';
import { atUplink } from './uplink.ts';
import {
  disowned,
  endpointParty,
  guardOf,
  isPublished,
  judge,
  partyOf,
  severity,
  withLearnt,
  wordOf,
  type Party,
} from './verdict.ts';

function isUplink({ hook }: Arrival): boolean {
  return hook === 'to-uplink' || hook === 'from-uplink';
}

/** What is known of a packet that was not read. */
const unread = packetOf({ protocol: 0, source: '::', sourcePort: 0, destination: '::', destinationPort: 0 });

/** The endpoint whose traffic the packet is: of the interface, or of the inner destination that came through the tunnel. */
function endpointOf(around: Surroundings, parsed: Parsed, arrival: Arrival): EndpointEntry | CounterName {
  const { pinned } = around;
  if (arrival.hook === 'to-uplink' || arrival.hook === 'from-uplink') {
    return pinned.endpoints.get(limit.hostSlot) ?? 'unknown_interface';
  }
  if (arrival.hook !== 'from-overlay') {
    const found = pinned.endpoints.values().find((candidate) => candidate.ifindex === arrival.ifindex);
    return found ?? 'unknown_interface';
  }
  if (parsed.kind === 'dropped') return parsed.reason;
  const owner = pinned.addresses.get(parsed.packet.destination);
  return (owner?.kind === 'endpoint' ? pinned.endpoints.get(owner.slot) : undefined) ?? 'misdirected';
}

export function enforce(around: Surroundings, parsed: Parsed, bytes: number, arrival: Arrival): Delivery {
  const left = atUplink(around, parsed, arrival);
  if (left !== null) return left;
  const endpoint = endpointOf(around, parsed, arrival);
  if (typeof endpoint === 'string') {
    count(around.pinned, endpoint);
    return { kind: 'dropped', reason: endpoint, rejected: false };
  }
  const isUnread = parsed.packet === null || (endpoint.state === 'fenced' && arrival.hook !== 'from-overlay');
  const seen: Seen = {
    packet: isUnread ? unread : parsed.packet,
    bytes,
    answers: parsed.kind === 'packet' && parsed.answers,
    arrival,
    slot: endpoint.slot,
    slots: isSending(arrival) ? [endpoint.slot, 0] : [0, endpoint.slot],
    vouched: false,
  };
  if (endpoint.state === 'fenced') return drop(around, seen, 'fenced');
  const delivery = parsed.kind === 'dropped' ? drop(around, seen, parsed.reason) : checked(around, seen, endpoint);
  // Observed: told and counted, never enforced.
  if (endpoint.state !== 'observed') return delivery;
  // Whoever is at the other end is governed all the same; the host has no program of its own that would judge behind this one.
  if (seen.slots.includes(limit.hostSlot) && endpoint.kind !== 'host') return delivery;
  return { kind: 'passed', slot: arrival.hook === 'from-workload' ? 0 : endpoint.slot };
}

function checked(around: Surroundings, seen: Seen, endpoint: EndpointEntry): Delivery {
  const { packet, arrival } = seen;
  const own = packet.source.includes(':') ? endpoint.ipv6 : endpoint.ipv4;
  if (arrival.hook === 'from-workload') {
    if (packet.sourceMac !== endpoint.mac || packet.source !== own) return drop(around, seen, 'spoofed');
  } else if (arrival.hook === 'to-workload' && packet.destination !== own) {
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
  if (!([0, 1] as const).every((index) => isCurrent(around, connection, index))) return null;
  if (connection.slot[isSending(seen.arrival) ? side : other(side)] !== seen.slot) return null;
  if (!isSameSender(seen.arrival, connection, side)) return null;
  if (isUplink(seen.arrival) && connection.slot[isSending(seen.arrival) ? other(side) : side] !== 0) return null;
  if (useConnection(pinned, limits, connection, seen.packet, seen.bytes, nowNs) === 'begins') return null;
  return passed(around, seen, connection.slot[other(side)], connection.overlayHost);
}

/** An end is as it was judged. */
function isCurrent(around: Surroundings, connection: TableConnection, index: 0 | 1): boolean {
  const endpoint = around.pinned.endpoints.get(connection.slot[index]);
  if (connection.slot[index] === 0) return true;
  const isJudged = endpoint?.state === 'governed' || endpoint?.state === 'observed';
  return isJudged && wordOf(endpoint) === connection.word[index];
}

/** What comes in must come from where the connection's packets come from. */
function isSameSender(arrival: Arrival, connection: TableConnection, side: 0 | 1): boolean {
  switch (arrival.hook) {
    case 'from-workload':
    case 'to-uplink':
    case 'from-uplink':
      return true;
    case 'to-workload':
      if (connection.slot[side] === limit.hostSlot) return !arrival.forwarded;
      return connection.slot[side] === 0 || arrival.marked;
    case 'from-overlay':
      return connection.overlayHost === arrival.host && connection.identity[side] === arrival.identity;
  }
}

/** Where a packet goes that may: to the endpoint it came for, to another one here, through the tunnel, or to the host's stack. */
function passed(around: Surroundings, seen: Seen, receiverSlot: number, overlayHost: string | null): Delivery {
  if (seen.arrival.hook === 'to-uplink') return { kind: 'passed', slot: 0 };
  if (seen.arrival.hook !== 'from-workload') return { kind: 'passed', slot: seen.slot };
  const sender = around.pinned.endpoints.get(seen.slot);
  const receiver = around.pinned.endpoints.get(receiverSlot);
  if (receiver !== undefined) return { kind: 'passed', slot: receiver.state === 'observed' ? 0 : receiver.slot };
  if (overlayHost === null || sender === undefined || sender.state === 'observed') return { kind: 'passed', slot: 0 };
  return { kind: 'tunnelled', host: overlayHost, identity: sender.identity };
}

/** On its way in a workload's address is believed only with the mark; a remote one's only from its own host, under its own identity. */
function isBelieved(sender: Party, seen: Seen): boolean {
  const { arrival } = seen;
  if (isSending(arrival) || seen.vouched) return true;
  if (arrival.hook === 'from-overlay') {
    return sender.owner === 'remote' && sender.host === arrival.host && sender.identity === arrival.identity;
  }
  const isMarked = arrival.hook === 'to-workload' && arrival.marked;
  return sender.owner === 'endpoint' ? isMarked : sender.owner !== 'remote';
}

/** The ends in the connection's order, or null where the source is not who it says. */
function endsOf(around: Surroundings, seen: Seen, side: 0 | 1, isOpen: boolean): Pair<Party> | null {
  const { pinned } = around;
  const mine = pinned.endpoints.get(seen.slot);
  if (mine === undefined) return null;
  const { arrival, packet } = seen;
  let sender = isSending(arrival) ? endpointParty(mine) : partyOf(pinned, packet.source);
  let receiver = isSending(arrival) ? partyOf(pinned, packet.destination) : endpointParty(mine);
  const point = packet.protocol * 0x10000 + packet.destinationPort;
  const isForHost = arrival.hook === 'from-workload' && receiver.owner === 'host' && side === 0;
  if (isForHost && isPublished(pinned, packet.destination, point)) receiver = disowned(receiver);
  const isForwarded = arrival.hook === 'to-workload' && arrival.forwarded && !seen.vouched;
  if (isForwarded && sender.owner === 'host') sender = disowned(sender);
  seen.slots = [sender.slot, receiver.slot];
  if (!isBelieved(sender, seen)) return null;
  const [opener, far, address] =
    side === 0 ? [sender, receiver, packet.destination] : [receiver, sender, packet.source];
  return [opener, withLearnt(pinned, opener, far, address, isOpen)];
}

function evaluate(around: Surroundings, seen: Seen): Judgement | CounterName {
  const { packet } = seen;
  const found = around.pinned.connections.get(tableKey(packet));
  const open = found !== undefined && !opensConnection(packet) && !isDead(found, around.nowNs) ? found : null;
  if (open === null && seen.answers) return 'icmp_unmatched';
  const side = open === null ? 0 : sideOf(open, packet);
  const ends = endsOf(around, seen, side, open !== null);
  if (ends === null) return seen.arrival.hook === 'from-overlay' ? 'overlay_spoofed' : 'spoofed';
  const port = side === 0 ? packet.destinationPort : packet.sourcePort;
  const point = packet.protocol * 0x10000 + port;
  const [originator, responder] =
    side === 0 ? [packet.source, packet.destination] : [packet.destination, packet.source];
  const guarded: Pair<Party> = [
    { ...ends[0], guard: guardOf(around.pinned, ends[0], 0, responder, point) },
    { ...ends[1], guard: guardOf(around.pinned, ends[1], 1, originator, point) },
  ];
  const verdict = judge(around.pinned, guarded, point, open);
  // What a rule ended stays ended, whatever the rules are by now.
  return { ends: guarded, verdict: open?.state === 'reset' ? { ...verdict, resets: true } : verdict, side, open };
}

function first(around: Surroundings, seen: Seen): Delivery {
  const judgement = evaluate(around, seen);
  return typeof judgement === 'string' ? drop(around, seen, judgement) : settle(around, seen, judgement, false);
}

function settle(around: Surroundings, seen: Seen, judgement: Judgement, isDecided: boolean): Delivery {
  const { pinned, limits, nowNs } = around;
  const { ends, verdict, open, side } = judgement;
  const receiver = ends[other(side)];
  const passes = !verdict.wait && verdict.action === 'allow' && !verdict.resets;
  const bindsHost = !isUplink(seen.arrival) && ends.some((end) => end.slot === limit.hostSlot);
  if (pinned.endpoints.get(seen.slot)?.state === 'observed' && !passes && !bindsHost) {
    tell(around, seen, judgement, { kind: 'deny', reason: 'observed_denied', observed: true });
    return passed(around, seen, receiver.slot, receiver.host);
  }
  if (verdict.observed !== 'allow')
    tell(around, seen, judgement, { kind: 'deny', reason: 'observed_denied', observed: true });
  if (open !== null && verdict.resets) return settleReset(around, seen, judgement, open);
  const stillDecided = open?.decided === true && open.rule[0] === verdict.rule[0] && open.rule[1] === verdict.rule[1];
  if (verdict.wait || (verdict.action === 'ask' && !isDecided && !stillDecided)) return punt(around, seen, judgement);
  if (severity(verdict.action) === 2) {
    if (open !== null) {
      reportClose(pinned, limits, open, nowNs);
      forget(pinned, tableKey(open));
    }
    count(pinned, verdict.reason, chargedSlot(seen));
    tell(around, seen, judgement, { kind: 'deny', reason: verdict.reason, observed: false });
    const isRejected = verdict.action === 'reject' && !endsConnection(seen.packet);
    return { kind: 'dropped', reason: verdict.reason, rejected: isRejected };
  }
  const isLeaving = seen.arrival.hook === 'from-workload' && receiver.owner === 'remote';
  if (isLeaving && pinned.config.overlayIfindex === 0) return drop(around, seen, 'unreachable_remote');
  const refused =
    open === null ? openConnection(around, seen, judgement, isDecided) : judgedAgain(around, seen, judgement, open);
  return refused === null ? passed(around, seen, receiver.slot, receiver.host) : drop(around, seen, refused);
}

/** A rule ended the connection: who sent this packet is told, and the other end when it sends one. */
function settleReset(around: Surroundings, seen: Seen, judgement: Judgement, open: TableConnection): Delivery {
  const { pinned } = around;
  count(pinned, 'live_reset', chargedSlot(seen));
  if (open.state !== 'reset') {
    tell(around, seen, judgement, { kind: 'deny', reason: 'live_reset', observed: false });
    resetConnection(around, seen, open);
  }
  // A reset is never answered by another.
  return { kind: 'dropped', reason: 'live_reset', rejected: !endsConnection(seen.packet) };
}

export type Answered = { readonly outcome: 'sent' | 'stale' | 'full'; readonly delivery: Delivery };

/** A frame that came back to the punt device, with its record. */
export function answerHeld(around: Surroundings, held: HeldPacket, bytes: number, isAdmitted: boolean): Answered {
  const sender = held.fromResponder ? held.slot[1] : held.slot[0];
  const receiver = held.fromResponder ? held.slot[0] : held.slot[1];
  const slots: Pair<number> = [sender, receiver];
  const seen: Seen = {
    packet: held.packet,
    bytes,
    answers: false,
    arrival: held.arrival,
    slot: held.charged,
    slots,
    vouched: true,
  };
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
