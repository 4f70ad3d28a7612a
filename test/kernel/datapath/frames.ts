/** Ethernet frames written out by hand, and read back: the tests' own eyes, sharing nothing with the programs. */
import { canonicalAddress } from '@bulkhead/kernel';

export const tcpFlag = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16 } as const;
export const protocols = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58, sctp: 132 } as const;

export interface Ends {
  readonly sourceMac: string;
  readonly destinationMac: string;
  readonly source: string;
  readonly destination: string;
}

export function macBytes(mac: string): Buffer {
  return Buffer.from(mac.replaceAll(':', ''), 'hex');
}
function macText(bytes: Buffer): string {
  return bytes.toString('hex').replace(/(..)(?!$)/g, '$1:');
}

/** "10.0.0.1" gives 4 bytes, "fd00::1" 16. */
export function addressBytes(address: string): Buffer {
  if (!address.includes(':')) return Buffer.from(address.split('.').map(Number));
  const [head = '', tail] = address.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const gap = tail === undefined ? [] : Array.from({ length: 8 - left.length - right.length }, () => '0');
  const bytes = Buffer.alloc(16);
  [...left, ...gap, ...right].forEach((group, index) => bytes.writeUInt16BE(parseInt(group, 16), index * 2));
  return bytes;
}
function addressText(bytes: Buffer): string {
  if (bytes.length === 4) return [...bytes].join('.');
  return canonicalAddress(
    Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(index * 2).toString(16)).join(':'),
  );
}

export function checksum(...parts: readonly Uint8Array[]): number {
  const bytes = Buffer.concat(parts);
  let sum = 0;
  for (let index = 0; index < bytes.length; index += 2) sum += (bytes[index]! << 8) | (bytes[index + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

function pseudoHeader(source: Buffer, destination: Buffer, protocol: number, bytes: number): Buffer {
  const rest = Buffer.alloc(8);
  rest.writeUInt32BE(bytes, 0);
  rest.writeUInt32BE(protocol, 4);
  return Buffer.concat([source, destination, rest]);
}

export interface IpOptions {
  readonly ttl?: number;
  readonly id?: number;
  readonly offset?: number;
  readonly more?: boolean;
  readonly dontFragment?: boolean;
  /** IPv4 options, a multiple of 4 bytes. */
  readonly options?: Uint8Array;
  /** IPv6 extension headers: type and whole bytes, whose first byte is set here. */
  readonly extensions?: readonly { readonly type: number; readonly bytes: Uint8Array }[];
}

export function ethernet(destination: string, source: string, type: number, payload: Uint8Array): Buffer {
  const header = Buffer.concat([macBytes(destination), macBytes(source), Buffer.from([type >> 8, type & 255])]);
  return Buffer.concat([header, payload]);
}

function ipv4Header(ends: Ends, protocol: number, payloadBytes: number, options: IpOptions): Buffer {
  const extra = options.options ?? new Uint8Array(0);
  const header = Buffer.alloc(20 + extra.length);
  header[0] = 0x40 | (header.length / 4);
  header.writeUInt16BE(header.length + payloadBytes, 2);
  header.writeUInt16BE(options.id ?? 0, 4);
  const flags = (options.dontFragment === true ? 0x4000 : 0) | (options.more === true ? 0x2000 : 0);
  header.writeUInt16BE(flags | ((options.offset ?? 0) / 8), 6);
  header[8] = options.ttl ?? 64;
  header[9] = protocol;
  addressBytes(ends.source).copy(header, 12);
  addressBytes(ends.destination).copy(header, 16);
  header.set(extra, 20);
  header.writeUInt16BE(checksum(header), 10);
  return header;
}

function ipv6Headers(ends: Ends, protocol: number, payloadBytes: number, options: IpOptions): Buffer {
  const extensions = (options.extensions ?? []).map((extension, index, all) => {
    const bytes = Buffer.from(extension.bytes);
    bytes[0] = all[index + 1]?.type ?? protocol;
    return bytes;
  });
  const extra = Buffer.concat(extensions);
  const header = Buffer.alloc(40);
  header[0] = 0x60;
  header.writeUInt16BE(extra.length + payloadBytes, 4);
  header[6] = options.extensions?.[0]?.type ?? protocol;
  header[7] = options.ttl ?? 64;
  addressBytes(ends.source).copy(header, 8);
  addressBytes(ends.destination).copy(header, 24);
  return Buffer.concat([header, extra]);
}

export function ip(ends: Ends, protocol: number, payload: Uint8Array, options: IpOptions = {}): Buffer {
  const six = ends.source.includes(':');
  const header = six
    ? ipv6Headers(ends, protocol, payload.length, options)
    : ipv4Header(ends, protocol, payload.length, options);
  return ethernet(ends.destinationMac, ends.sourceMac, six ? 0x86dd : 0x0800, Buffer.concat([header, payload]));
}

function withChecksum(ends: Ends, protocol: number, message: Buffer, at: number): Buffer {
  const pseudo = pseudoHeader(addressBytes(ends.source), addressBytes(ends.destination), protocol, message.length);
  const plain = protocol === protocols.icmp ? checksum(message) : checksum(pseudo, message);
  message.writeUInt16BE(plain, at);
  return message;
}

export interface TcpOptions extends IpOptions {
  readonly flags?: number;
  readonly sequence?: number;
  readonly acknowledgement?: number;
  readonly payload?: Uint8Array;
}

export function tcpSegment(ends: Ends, sourcePort: number, destinationPort: number, options: TcpOptions = {}): Buffer {
  const message = Buffer.concat([Buffer.alloc(20), options.payload ?? new Uint8Array(0)]);
  message.writeUInt16BE(sourcePort, 0);
  message.writeUInt16BE(destinationPort, 2);
  message.writeUInt32BE(options.sequence ?? 1000, 4);
  message.writeUInt32BE(options.acknowledgement ?? 0, 8);
  message[12] = 5 << 4;
  message[13] = options.flags ?? tcpFlag.syn;
  message.writeUInt16BE(64_000, 14);
  return withChecksum(ends, protocols.tcp, message, 16);
}
export function tcp(ends: Ends, sourcePort: number, destinationPort: number, options: TcpOptions = {}): Buffer {
  return ip(ends, protocols.tcp, tcpSegment(ends, sourcePort, destinationPort, options), options);
}

export function udpDatagram(ends: Ends, sourcePort: number, destinationPort: number, payload: Uint8Array): Buffer {
  const message = Buffer.concat([Buffer.alloc(8), payload]);
  message.writeUInt16BE(sourcePort, 0);
  message.writeUInt16BE(destinationPort, 2);
  message.writeUInt16BE(message.length, 4);
  return withChecksum(ends, protocols.udp, message, 6);
}
export function udp(
  ends: Ends,
  sourcePort: number,
  destinationPort: number,
  options: IpOptions & { readonly payload?: Uint8Array } = {},
): Buffer {
  return ip(
    ends,
    protocols.udp,
    udpDatagram(ends, sourcePort, destinationPort, options.payload ?? Buffer.from('hello')),
    options,
  );
}

/** Types of SCTP's chunks. */
export const chunk = {
  data: 0,
  init: 1,
  initAck: 2,
  sack: 3,
  abort: 6,
  shutdown: 7,
  shutdownAck: 8,
  cookieEcho: 10,
  cookieAck: 11,
  shutdownComplete: 14,
} as const;

/** CRC32c as RFC 9260 has it in a packet: least byte first. */
function sctpChecksum(message: Uint8Array): number {
  let crc = 0xffffffff;
  for (const [index, byte] of message.entries()) {
    crc ^= index >= 8 && index < 12 ? 0 : byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ ((crc & 1) === 0 ? 0 : 0x82f63b78);
  }
  return ~crc >>> 0;
}

export interface SctpOptions extends IpOptions {
  readonly tag?: number;
  /** What follows the chunk's header: of an INIT, its own tag first. */
  readonly body?: Uint8Array;
}

export function sctpMessage(
  sourcePort: number,
  destinationPort: number,
  type: number,
  options: SctpOptions = {},
): Buffer {
  const body = options.body ?? Buffer.from([0, 0, 0x12, 0x34, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 9]);
  const message = Buffer.concat([Buffer.alloc(16), body]);
  message.writeUInt16BE(sourcePort, 0);
  message.writeUInt16BE(destinationPort, 2);
  message.writeUInt32BE(options.tag ?? (type === chunk.init ? 0 : 0x5678), 4);
  message[12] = type;
  message.writeUInt16BE(4 + body.length, 14);
  message.writeUInt32LE(sctpChecksum(message), 8);
  return message;
}
export function sctp(
  ends: Ends,
  sourcePort: number,
  destinationPort: number,
  type: number,
  options: SctpOptions = {},
): Buffer {
  return ip(ends, protocols.sctp, sctpMessage(sourcePort, destinationPort, type, options), options);
}

/** `rest`: the four bytes after the checksum (identifier and sequence of an echo), then the body. */
export function icmp(ends: Ends, type: number, code: number, rest: Uint8Array, options: IpOptions = {}): Buffer {
  const protocol = ends.source.includes(':') ? protocols.icmpv6 : protocols.icmp;
  const message = Buffer.concat([Buffer.from([type, code, 0, 0]), rest]);
  return ip(ends, protocol, withChecksum(ends, protocol, message, 2), options);
}
export function echo(ends: Ends, kind: 'request' | 'reply', id: number, options: IpOptions = {}): Buffer {
  const six = ends.source.includes(':');
  const type = kind === 'request' ? (six ? 128 : 8) : six ? 129 : 0;
  return icmp(ends, type, 0, Buffer.from([id >> 8, id & 255, 0, 1, 1, 2, 3, 4]), options);
}

export interface Arp {
  readonly operation: 1 | 2;
  readonly senderMac: string;
  readonly sender: string;
  readonly targetMac: string;
  readonly target: string;
}
export function arp(destinationMac: string, sourceMac: string, message: Arp): Buffer {
  const payload = Buffer.concat([
    Buffer.from([0, 1, 8, 0, 6, 4, 0, message.operation]),
    macBytes(message.senderMac),
    addressBytes(message.sender),
    macBytes(message.targetMac),
    addressBytes(message.target),
  ]);
  return ethernet(destinationMac, sourceMac, 0x0806, payload);
}

/** A neighbour message (135 or 136) with or without its link-layer address option. */
export function neighbour(
  ends: Ends,
  type: 135 | 136,
  target: string,
  optionMac: string | null,
  hopLimit = 255,
): Buffer {
  const option =
    optionMac === null ? Buffer.alloc(0) : Buffer.concat([Buffer.from([type === 135 ? 1 : 2, 1]), macBytes(optionMac)]);
  return icmp(ends, type, 0, Buffer.concat([Buffer.alloc(4), addressBytes(target), option]), { ttl: hopLimit });
}

/** A frame as a reader sees it. Ports are null where the frame has none; `checksumValid` covers header and transport. */
export interface Seen {
  readonly sourceMac: string;
  readonly destinationMac: string;
  readonly type: number;
  readonly source: string;
  readonly destination: string;
  readonly protocol: number;
  readonly ttl: number;
  readonly sourcePort: number | null;
  readonly destinationPort: number | null;
  readonly tcpFlags: number;
  readonly sequence: number;
  readonly acknowledgement: number;
  readonly icmpType: number;
  readonly icmpCode: number;
  /** Type of SCTP's first chunk, its flags, and the packet's tag; -1 for other protocols. */
  readonly chunk: number;
  readonly chunkFlags: number;
  readonly tag: number;
  readonly checksumValid: boolean;
  readonly payload: Buffer;
  readonly frame: Buffer;
}

export function see(frame: Buffer): Seen {
  const type = frame.readUInt16BE(12);
  const six = type === 0x86dd;
  const none = {
    source: '',
    destination: '',
    protocol: 0,
    ttl: 0,
    sourcePort: null,
    destinationPort: null,
    tcpFlags: 0,
    sequence: 0,
    acknowledgement: 0,
    icmpType: -1,
    icmpCode: -1,
    chunk: -1,
    chunkFlags: -1,
    tag: -1,
    checksumValid: true,
    payload: frame.subarray(14),
  };
  const macs = {
    destinationMac: macText(frame.subarray(0, 6)),
    sourceMac: macText(frame.subarray(6, 12)),
    type,
    frame,
  };
  if (type === 0x0806)
    return {
      ...none,
      ...macs,
      source: addressText(frame.subarray(28, 32)),
      destination: addressText(frame.subarray(38, 42)),
    };
  if (type !== 0x0800 && !six) return { ...none, ...macs };
  const headerBytes = six ? 40 : (frame[14]! & 15) * 4;
  const totalBytes = six ? 40 + frame.readUInt16BE(18) : frame.readUInt16BE(16);
  const protocol = frame[six ? 20 : 23]!;
  const sourceBytes = frame.subarray(six ? 22 : 26, six ? 38 : 30);
  const destinationBytes = frame.subarray(six ? 38 : 30, six ? 54 : 34);
  const transport = frame.subarray(14 + headerBytes, 14 + totalBytes);
  const isFragment = !six && (frame.readUInt16BE(20) & 0x3fff) !== 0;
  const hasPorts = (protocol === 6 || protocol === 17 || protocol === 132) && transport.length >= 8;
  const isIcmp = (protocol === 1 || protocol === 58) && transport.length >= 4;
  const pseudo = pseudoHeader(sourceBytes, destinationBytes, protocol, transport.length);
  const isSctp = protocol === protocols.sctp && transport.length >= 16;
  const transportValid =
    isFragment ||
    !(hasPorts || isIcmp) ||
    (isSctp
      ? sctpChecksum(transport) === transport.readUInt32LE(8)
      : checksum(...(protocol === 1 ? [transport] : [pseudo, transport])) === 0);
  return {
    ...macs,
    source: addressText(sourceBytes),
    destination: addressText(destinationBytes),
    protocol,
    ttl: frame[six ? 21 : 22]!,
    sourcePort: hasPorts ? transport.readUInt16BE(0) : null,
    destinationPort: hasPorts ? transport.readUInt16BE(2) : null,
    tcpFlags: protocol === 6 && transport.length >= 20 ? transport[13]! : 0,
    sequence: protocol === 6 && transport.length >= 20 ? transport.readUInt32BE(4) : 0,
    acknowledgement: protocol === 6 && transport.length >= 20 ? transport.readUInt32BE(8) : 0,
    icmpType: isIcmp ? transport[0]! : -1,
    icmpCode: isIcmp ? transport[1]! : -1,
    chunk: isSctp ? transport[12]! : -1,
    chunkFlags: isSctp ? transport[13]! : -1,
    tag: isSctp ? transport.readUInt32BE(4) : -1,
    checksumValid: (six || checksum(frame.subarray(14, 14 + headerBytes)) === 0) && transportValid,
    payload: transport,
    frame,
  };
}
