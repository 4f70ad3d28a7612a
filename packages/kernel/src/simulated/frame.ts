/**
 * Ethernet frames of the packets that the simulated kernel and the contract suite speak of: IPv4 and IPv6 without options or fragments,
 * TCP, UDP, ICMP echo, and every other protocol as a bare payload. Pure.
 */
import { readAddress, readMac, writeAddress, writeMac } from '../address.ts';
import type { ConnectionKey, CounterName } from '../port.ts';

/** One packet; the key is in the packet's own direction, ports as in `ConnectionKey`. */
export interface Packet extends ConnectionKey {
  readonly sourceMac: string;
  readonly destinationMac: string;
  /** Type of the first chunk of SCTP, whose INIT has its tag in `sequence`; 0 for other protocols. */
  readonly chunk: number;
  /** Flags of TCP as on the wire; 0 for other protocols. */
  readonly tcpFlags: number;
  readonly sequence: number;
  readonly acknowledgement: number;
  readonly payloadBytes: number;
}
export const tcpFlag = { fin: 1, syn: 2, rst: 4, ack: 16 } as const;
export const sctpChunk = {
  data: 0,
  init: 1,
  abort: 6,
  shutdown: 7,
  shutdownAck: 8,
  cookieEcho: 10,
  cookieAck: 11,
  shutdownComplete: 14,
} as const;

export type Parsed =
  | { readonly kind: 'packet'; readonly packet: Packet; readonly bytes: number; readonly answers: boolean }
  | { readonly kind: 'dropped'; readonly reason: CounterName; readonly packet: Packet | null };

const ethernetBytes = 14;
const ipv4Bytes = 20;
const ipv6Bytes = 40;
const tcpBytes = 20;
const shortHeaderBytes = 8;
/** Common header, the first chunk's, and the first field of that chunk. */
const sctpBytes = 20;
const etherType = { ipv4: 0x0800, ipv6: 0x86dd } as const;
const protocols = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58, sctp: 132 } as const;
/** Echo request and reply, by family. */
const echo = { ipv4: { asks: 8, answers: 0 }, ipv6: { asks: 128, answers: 129 } } as const;

/** A packet with everything that does not matter to the case filled in. */
export function packetOf(key: ConnectionKey, rest: Partial<Packet> = {}): Packet {
  return {
    sourceMac: '02:00:00:00:00:01',
    destinationMac: '02:00:00:00:00:02',
    tcpFlags: key.protocol === protocols.tcp ? tcpFlag.syn : 0,
    chunk: key.protocol === protocols.sctp ? sctpChunk.init : 0,
    sequence: 1,
    acknowledgement: 0,
    payloadBytes: 0,
    ...key,
    ...rest,
  };
}

function isIcmp(protocol: number): boolean {
  return protocol === protocols.icmp || protocol === protocols.icmpv6;
}

export function isSctp({ protocol }: Packet): boolean {
  return protocol === protocols.sctp;
}

/** The packet begins a connection, whatever was there before. */
export function opensConnection(packet: Packet): boolean {
  if (isSctp(packet)) return packet.chunk === sctpChunk.init;
  return packet.protocol === protocols.tcp && (packet.tcpFlags & (tcpFlag.syn | tcpFlag.ack)) === tcpFlag.syn;
}

/** The packet says itself that there is no connection: nobody answers it with the same. */
export function endsConnection(packet: Packet): boolean {
  if (isSctp(packet)) return packet.chunk === sctpChunk.abort || packet.chunk === sctpChunk.shutdownComplete;
  return (packet.tcpFlags & tcpFlag.rst) !== 0;
}

function transportBytes(protocol: number): number {
  if (protocol === protocols.tcp) return tcpBytes;
  if (protocol === protocols.sctp) return sctpBytes;
  return protocol === protocols.udp || isIcmp(protocol) ? shortHeaderBytes : 0;
}

export function frameOf(packet: Packet): Uint8Array {
  const isIpv6 = packet.source.includes(':');
  const transportAt = ethernetBytes + (isIpv6 ? ipv6Bytes : ipv4Bytes);
  const transport = transportBytes(packet.protocol) + packet.payloadBytes;
  const frame = new Uint8Array(transportAt + transport);
  const view = new DataView(frame.buffer);
  writeMac(packet.destinationMac, view, 0);
  writeMac(packet.sourceMac, view, 6);
  view.setUint16(12, isIpv6 ? etherType.ipv6 : etherType.ipv4);
  writeNetwork(packet, view, isIpv6, transport);
  writeTransport(packet, view, transportAt, isIpv6);
  return frame;
}

const addressScratch = new DataView(new ArrayBuffer(16));
function writeNetwork(packet: Packet, view: DataView, isIpv6: boolean, transport: number): void {
  if (isIpv6) {
    view.setUint8(14, 0x60);
    view.setUint16(18, transport);
    view.setUint8(20, packet.protocol);
    view.setUint8(21, 64);
    writeAddress(packet.source, view, 22);
    writeAddress(packet.destination, view, 38);
    return;
  }
  view.setUint8(14, 0x45);
  view.setUint16(16, ipv4Bytes + transport);
  view.setUint8(22, 64);
  view.setUint8(23, packet.protocol);
  writeAddress(packet.source, addressScratch, 0);
  view.setUint32(26, addressScratch.getUint32(12));
  writeAddress(packet.destination, addressScratch, 0);
  view.setUint32(30, addressScratch.getUint32(12));
  let sum = 0;
  for (let at = ethernetBytes; at < ethernetBytes + ipv4Bytes; at += 2) sum += view.getUint16(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  view.setUint16(24, ~sum & 0xffff);
}

function writeTransport(packet: Packet, view: DataView, at: number, isIpv6: boolean): void {
  if (isIcmp(packet.protocol)) {
    const types = isIpv6 ? echo.ipv6 : echo.ipv4;
    // The asking side's type stands where a port would: at the destination of a request, at the source of its answer.
    const asks = packet.destinationPort >>> 8 === types.asks;
    const type = asks
      ? types.asks
      : packet.sourcePort >>> 8 === types.asks
        ? types.answers
        : packet.destinationPort >>> 8;
    view.setUint8(at, type);
    view.setUint8(at + 1, (type === types.answers ? packet.sourcePort : packet.destinationPort) & 0xff);
    view.setUint16(at + 4, type === types.answers ? packet.destinationPort : packet.sourcePort);
    return;
  }
  if (transportBytes(packet.protocol) === 0) return;
  view.setUint16(at, packet.sourcePort);
  view.setUint16(at + 2, packet.destinationPort);
  if (packet.protocol === protocols.tcp) {
    view.setUint32(at + 4, packet.sequence);
    view.setUint32(at + 8, packet.acknowledgement);
    view.setUint8(at + 12, (tcpBytes / 4) << 4);
    view.setUint8(at + 13, packet.tcpFlags);
    view.setUint16(at + 14, 0xffff);
  } else if (packet.protocol === protocols.sctp) {
    view.setUint32(at + 4, packet.acknowledgement);
    view.setUint8(at + 12, packet.chunk);
    view.setUint16(at + 14, sctpBytes - 12 + packet.payloadBytes);
    view.setUint32(at + 16, packet.sequence);
  } else {
    view.setUint16(at + 4, shortHeaderBytes + packet.payloadBytes);
  }
}

function dropped(reason: CounterName, packet: Packet | null = null): Parsed {
  return { kind: 'dropped', reason, packet };
}

/** The packet of a frame, or the counter under which the programs drop it. */
export function parseFrame(frame: Uint8Array): Parsed {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  if (frame.length < ethernetBytes) return dropped('malformed');
  const type = view.getUint16(12);
  if (type !== etherType.ipv4 && type !== etherType.ipv6) return dropped('unknown_protocol');
  const isIpv6 = type === etherType.ipv6;
  const transportAt = ethernetBytes + (isIpv6 ? ipv6Bytes : ipv4Bytes);
  if (frame.length < transportAt || view.getUint8(14) >>> 4 !== (isIpv6 ? 6 : 4)) return dropped('malformed');
  const protocol = view.getUint8(isIpv6 ? 20 : 23);
  if (frame.length < transportAt + transportBytes(protocol)) return dropped('malformed');
  if (protocol === (isIpv6 ? protocols.icmp : protocols.icmpv6)) return dropped('malformed');
  const ports = readTransport(view, transportAt, protocol, isIpv6);
  const isTcp = protocol === protocols.tcp;
  const isSctpHeader = protocol === protocols.sctp;
  const packet: Packet = {
    protocol,
    source: isIpv6 ? readAddress(view, 22) : readIpv4(view, 26),
    destination: isIpv6 ? readAddress(view, 38) : readIpv4(view, 30),
    sourcePort: ports.source,
    destinationPort: ports.destination,
    destinationMac: readMac(view, 0),
    sourceMac: readMac(view, 6),
    tcpFlags: isTcp ? view.getUint8(transportAt + 13) : 0,
    chunk: isSctpHeader ? view.getUint8(transportAt + 12) : 0,
    sequence: isTcp ? view.getUint32(transportAt + 4) : isSctpHeader ? view.getUint32(transportAt + 16) : 0,
    acknowledgement: isTcp ? view.getUint32(transportAt + 8) : isSctpHeader ? view.getUint32(transportAt + 4) : 0,
    payloadBytes: frame.length - transportAt - transportBytes(protocol),
  };
  if (isTcp && !validTcpFlags(packet.tcpFlags)) return dropped('tcp_flags', packet);
  return { kind: 'packet', packet, bytes: frame.length, answers: ports.answers };
}

function readIpv4(view: DataView, at: number): string {
  return [0, 1, 2, 3].map((index) => view.getUint8(at + index)).join('.');
}

/** Flags that no real stack sends together. */
function validTcpFlags(flags: number): boolean {
  if ((flags & tcpFlag.syn) !== 0) return (flags & (tcpFlag.fin | tcpFlag.rst)) === 0;
  return (flags & (tcpFlag.ack | tcpFlag.rst)) !== 0;
}

function readTransport(
  view: DataView,
  at: number,
  protocol: number,
  isIpv6: boolean,
): { readonly source: number; readonly destination: number; readonly answers: boolean } {
  if (isIcmp(protocol)) {
    const types = isIpv6 ? echo.ipv6 : echo.ipv4;
    const type = view.getUint8(at);
    const code = view.getUint8(at + 1);
    const id = view.getUint16(at + 4);
    if (type === types.asks) return { source: id, destination: types.asks * 256 + code, answers: false };
    if (type === types.answers) return { source: types.asks * 256 + code, destination: id, answers: true };
    return { source: 0, destination: type * 256 + code, answers: false };
  }
  if (transportBytes(protocol) === 0) return { source: 0, destination: 0, answers: false };
  return { source: view.getUint16(at), destination: view.getUint16(at + 2), answers: false };
}
