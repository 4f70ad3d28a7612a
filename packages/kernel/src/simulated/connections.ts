/** The simulated connection table: keys, states of TCP, who pays: bpf/connections.h over maps of JavaScript. */
import { sourceIsHigh } from '../connection-key.ts';
import { idleMs } from '../generated/maps.ts';
import type { Connection, ConnectionKey, KernelEvent, Limits, TcpState } from '../port.ts';
import { sctpChunk, tcpFlag, type Packet } from './frame.ts';
import { count, usageOf, type Pair, type Pinned, type TableConnection } from './state.ts';

const nsPerMs = 1_000_000n;
const protocols = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58, sctp: 132 } as const;
/** An event and its header in the ring. */
const eventBytes = 136;

export function tableKey(key: ConnectionKey): string {
  const ends = [`${key.source} ${key.sourcePort}`, `${key.destination} ${key.destinationPort}`];
  if (sourceIsHigh(key)) ends.reverse();
  return `${key.protocol} ${ends.join(' ')}`;
}

/** 0 when the packet goes the originator's way. */
export function sideOf(connection: TableConnection, packet: ConnectionKey): 0 | 1 {
  return connection.source === packet.source && connection.sourcePort === packet.sourcePort ? 0 : 1;
}

export function isDead(connection: TableConnection, nowNs: bigint): boolean {
  return nowNs - connection.lastSeenNs > connection.idleNs;
}

export function idleAtStart(protocol: number, state: TcpState): bigint {
  return BigInt(idleMsAtStart(protocol, state)) * nsPerMs;
}

function idleMsAtStart(protocol: number, state: TcpState): number {
  if (state === 'closed') return idleMs.tcpClosed;
  if (protocol === protocols.sctp) return state === 'syn-sent' ? idleMs.tcpSynSent : idleMs.sctpEstablished;
  if (protocol === protocols.tcp) return state === 'syn-sent' ? idleMs.tcpSynSent : idleMs.tcpEstablished;
  if (protocol === protocols.udp) return idleMs.udpSingle;
  if (protocol === protocols.icmp || protocol === protocols.icmpv6) return idleMs.icmp;
  return idleMs.other;
}

/** Slot and index of the budget that an entry counts in. */
export function payerOf(slot: Pair<number>): { readonly slot: number; readonly index: 0 | 1 } {
  return slot[0] !== 0 ? { slot: slot[0], index: 0 } : { slot: slot[1], index: 1 };
}

export function payBack(pinned: Pinned, slot: Pair<number>): void {
  const payer = payerOf(slot);
  const usage = usageOf(pinned, payer.slot);
  if (usage.connections[payer.index] > 0) usage.connections[payer.index]--;
}

export function forget(pinned: Pinned, key: string): void {
  const connection = pinned.connections.get(key);
  if (connection === undefined) return;
  pinned.connections.delete(key);
  payBack(pinned, connection.slot);
}

/** Writes an event; false where the ring has no room. */
export function writeEvent(pinned: Pinned, limits: Limits, event: KernelEvent): boolean {
  if ((pinned.events.length + 1) * eventBytes > limits.eventsBytes) {
    count(pinned, 'events_lost');
    return false;
  }
  pinned.events.push(event);
  return true;
}

export function reportClose(pinned: Pinned, limits: Limits, connection: TableConnection, nowNs: bigint): boolean {
  if (connection.reported) return true;
  connection.reported = writeEvent(pinned, limits, {
    kind: 'close',
    reason: 'connections_closed',
    atNs: nowNs,
    slot: payerOf(connection.slot).slot,
    sourceSlot: connection.slot[0],
    destinationSlot: connection.slot[1],
    sourceIdentity: connection.identity[0],
    destinationIdentity: connection.identity[1],
    egressRule: connection.rule[0],
    ingressRule: connection.rule[1],
    key: keyOf(connection),
    revision: connection.revision,
    bytes: 0,
    tcpState: connection.state,
    observed: false,
    firstSeenNs: connection.firstSeenNs,
    totalPackets: [...connection.packets],
    totalBytes: [...connection.bytes],
  });
  if (connection.reported) count(pinned, 'connections_closed');
  return connection.reported;
}

export function keyOf(connection: ConnectionKey): ConnectionKey {
  const { protocol, source, sourcePort, destination, destinationPort } = connection;
  return { protocol, source, sourcePort, destination, destinationPort };
}

/** The same connection from the other end. */
export function reversed(key: ConnectionKey): ConnectionKey {
  return {
    protocol: key.protocol,
    source: key.destination,
    sourcePort: key.destinationPort,
    destination: key.source,
    destinationPort: key.sourcePort,
  };
}

export function portConnection(connection: TableConnection): Connection {
  return {
    ...keyOf(connection),
    sourceSlot: connection.slot[0],
    destinationSlot: connection.slot[1],
    sourceIdentity: connection.identity[0],
    destinationIdentity: connection.identity[1],
    egressRule: connection.rule[0],
    ingressRule: connection.rule[1],
    state: connection.state,
    decided: connection.decided,
    reported: connection.reported,
    revision: connection.revision,
    firstSeenNs: connection.firstSeenNs,
    lastSeenNs: connection.lastSeenNs,
    packets: [...connection.packets],
    bytes: [...connection.bytes],
  };
}

/** What a packet does to an entry that covers it: used, or a SYN that begins another connection on the same ports. */
export type Use = 'used' | 'begins';

export function useConnection(
  pinned: Pinned,
  limits: Limits,
  connection: TableConnection,
  packet: Packet,
  bytes: number,
  nowNs: bigint,
): Use {
  const side = sideOf(connection, packet);
  const step = advance(connection, packet, side);
  if (step === 'begins') return 'begins';
  if (packet.protocol === protocols.udp && connection.replied && connection.packets[0] + connection.packets[1] > 2n) {
    connection.idleNs = BigInt(idleMs.udpStream) * nsPerMs;
  }
  if (side === 1) connection.replied = true;
  if (connection.state !== 'closed') connection.lastSeenNs = nowNs;
  connection.packets[side]++;
  connection.bytes[side] += BigInt(bytes);
  if (step === 'closes') close(pinned, limits, connection, nowNs);
  return 'used';
}

type Step = 'used' | 'begins' | 'closes';

function advance(connection: TableConnection, packet: Packet, side: 0 | 1): Step {
  if (packet.protocol === protocols.tcp) return advanceTcp(connection, packet, side);
  return packet.protocol === protocols.sctp ? advanceSctp(connection, packet, side) : 'used';
}

function advanceSctp(connection: TableConnection, packet: Packet, side: 0 | 1): Step {
  switch (packet.chunk) {
    case sctpChunk.init: {
      const isRepeated = side === 0 && connection.state === 'syn-sent' && connection.sequence === packet.sequence;
      return isRepeated ? 'used' : 'begins';
    }
    case sctpChunk.cookieAck:
      if (connection.state === 'syn-sent' && side === 1) {
        connection.state = 'established';
        connection.idleNs = BigInt(idleMs.sctpEstablished) * nsPerMs;
      }
      return 'used';
    case sctpChunk.shutdown:
    case sctpChunk.shutdownAck:
      if (connection.state === 'closed') return 'used';
      connection.state = 'closing';
      connection.idleNs = BigInt(idleMs.tcpClosing) * nsPerMs;
      return 'used';
    case sctpChunk.abort:
    case sctpChunk.shutdownComplete:
      return connection.state === 'closed' ? 'used' : 'closes';
    default:
      return 'used';
  }
}

function advanceTcp(connection: TableConnection, packet: Packet, side: 0 | 1): Step {
  const flags = packet.tcpFlags;
  const other = side === 0 ? 1 : 0;
  if ((flags & (tcpFlag.syn | tcpFlag.ack)) === tcpFlag.syn) {
    const isRepeated = side === 0 && connection.state === 'syn-sent' && connection.sequence === packet.sequence;
    return isRepeated ? 'used' : 'begins';
  }
  if (connection.state === 'closed') return 'used';
  if ((flags & tcpFlag.rst) !== 0) return 'closes';
  if (connection.state === 'syn-sent' && side === 1 && (flags & tcpFlag.syn) !== 0) {
    connection.state = 'established';
    connection.idleNs = BigInt(idleMs.tcpEstablished) * nsPerMs;
  }
  if ((flags & tcpFlag.fin) !== 0) {
    connection.fin[side] = packet.sequence + packet.payloadBytes + 1;
    connection.state = 'closing';
    connection.idleNs = BigInt(idleMs.tcpClosing) * nsPerMs;
  }
  const otherEnd = connection.fin[other];
  if ((flags & tcpFlag.ack) !== 0 && otherEnd !== null && ((packet.acknowledgement - otherEnd) | 0) >= 0) {
    connection.finAcked[other] = true;
  }
  return connection.finAcked[0] && connection.finAcked[1] ? 'closes' : 'used';
}

/** An entry that is over stays for a moment, but never in more than half of a budget. */
export function keepIfRoom(pinned: Pinned, connection: TableConnection): void {
  const payer = payerOf(connection.slot);
  const max = pinned.endpoints.get(payer.slot)?.connectionsMax ?? 0;
  if (usageOf(pinned, payer.slot).connections[payer.index] > max / 2) forget(pinned, tableKey(connection));
}

function close(pinned: Pinned, limits: Limits, connection: TableConnection, nowNs: bigint): void {
  connection.state = 'closed';
  connection.idleNs = BigInt(idleMs.tcpClosed) * nsPerMs;
  connection.lastSeenNs = nowNs;
  if (reportClose(pinned, limits, connection, nowNs)) keepIfRoom(pinned, connection);
}
