/** IP and MAC addresses between their canonical text and the bytes that the kernel's tables hold. Pure. */
import { KernelError } from './port.ts';

/** IPv4 addresses are IPv4-mapped (::ffff:a.b.c.d): one key space for both. */
export const addressBytes = 16;
const mappedPrefixBits = 96;

function invalid(what: string, text: string): KernelError {
  return new KernelError(`read ${what} "${text}"`, 'EINVAL');
}

function writeIpv4(text: string, to: DataView, at: number): void {
  const parts = text.split('.');
  if (parts.length !== 4) throw invalid('address', text);
  for (let index = 0; index < 4; index++) {
    const part = parts[index] ?? '';
    const value = Number(part);
    if (!/^(0|[1-9]\d{0,2})$/.test(part) || value > 255) throw invalid('address', text);
    to.setUint8(at + index, value);
  }
}

function ipv6Groups(text: string, whole: string): number[] {
  if (text === '') return [];
  return text.split(':').map((group) => {
    if (!/^[0-9a-f]{1,4}$/i.test(group)) throw invalid('address', whole);
    return Number.parseInt(group, 16);
  });
}

/** Writes the 16 bytes of an address at the offset. Throws KernelError EINVAL for anything that is not one. */
export function writeAddress(text: string, to: DataView, at: number): void {
  if (!text.includes(':')) {
    to.setBigUint64(at, 0n);
    to.setUint32(at + 8, 0xffff);
    writeIpv4(text, to, at + 12);
    return;
  }
  let groupsText = text;
  const lastColon = text.lastIndexOf(':');
  if (text.includes('.')) {
    const tail = new DataView(new ArrayBuffer(4));
    writeIpv4(text.slice(lastColon + 1), tail, 0);
    groupsText = `${text.slice(0, lastColon + 1)}${tail.getUint16(0).toString(16)}:${tail.getUint16(2).toString(16)}`;
  }
  const halves = groupsText.split('::');
  if (halves.length > 2) throw invalid('address', text);
  const head = ipv6Groups(halves[0] ?? '', text);
  const tail = ipv6Groups(halves[1] ?? '', text);
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) throw invalid('address', text);
  const groups = [...head, ...Array<number>(missing).fill(0), ...tail];
  groups.forEach((group, index) => to.setUint16(at + index * 2, group));
}

/** Canonical text: dotted for IPv4-mapped addresses, RFC 5952 for all others. */
export function readAddress(from: DataView, at: number): string {
  if (from.getUint32(at) === 0 && from.getUint32(at + 4) === 0 && from.getUint32(at + 8) === 0xffff) {
    return `${from.getUint8(at + 12)}.${from.getUint8(at + 13)}.${from.getUint8(at + 14)}.${from.getUint8(at + 15)}`;
  }
  const groups = Array.from({ length: 8 }, (_, index) => from.getUint16(at + index * 2));
  let best = { from: -1, length: 1 };
  for (let start = 0; start < 8; start++) {
    let length = 0;
    while (start + length < 8 && groups[start + length] === 0) length++;
    if (length > best.length) best = { from: start, length };
  }
  const text = groups.map((group) => group.toString(16));
  if (best.from < 0) return text.join(':');
  return `${text.slice(0, best.from).join(':')}::${text.slice(best.from + best.length).join(':')}`;
}

const scratch = new DataView(new ArrayBuffer(addressBytes));
export function canonicalAddress(text: string): string {
  writeAddress(text, scratch, 0);
  return readAddress(scratch, 0);
}

export interface Cidr {
  /** Length in the common key space: an IPv4 prefix is 96 longer than its text says. */
  readonly prefixBits: number;
  readonly address: string;
}

/** Parses `address/bits`; host bits must be zero, so that one network has one text. */
export function parseCidr(text: string): Cidr {
  const slash = text.lastIndexOf('/');
  const address = text.slice(0, slash);
  const bitsText = text.slice(slash + 1);
  const bitsMax = address.includes(':') ? 128 : 32;
  const bits = Number(bitsText);
  if (slash < 1 || !/^(0|[1-9]\d{0,2})$/.test(bitsText) || bits > bitsMax) throw invalid('network', text);
  const prefixBits = address.includes(':') ? bits : bits + mappedPrefixBits;
  writeAddress(address, scratch, 0);
  for (let bit = prefixBits; bit < 128; bit++) {
    if ((scratch.getUint8(bit >> 3) >> (7 - (bit & 7))) & 1) throw invalid('network with host bits', text);
  }
  return { prefixBits, address: readAddress(scratch, 0) };
}

export function cidrText(cidr: Cidr): string {
  const bits = cidr.address.includes(':') ? cidr.prefixBits : cidr.prefixBits - mappedPrefixBits;
  return `${cidr.address}/${bits}`;
}

export function writeMac(text: string, to: DataView, at: number): void {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/.test(text)) throw invalid('MAC address', text);
  for (let index = 0; index < 6; index++)
    to.setUint8(at + index, Number.parseInt(text.slice(index * 3, index * 3 + 2), 16));
}

export function readMac(from: DataView, at: number): string {
  return Array.from({ length: 6 }, (_, index) =>
    from
      .getUint8(at + index)
      .toString(16)
      .padStart(2, '0'),
  ).join(':');
}
