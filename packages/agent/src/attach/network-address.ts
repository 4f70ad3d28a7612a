/** Addresses and networks as numbers, for choosing and comparing them. Pure. Text is canonical (RFC 5952) in both directions. */
import { isIPv4, isIPv6 } from 'node:net';

export interface NumericAddress {
  readonly family: 4 | 6;
  readonly value: bigint;
}

export interface Network {
  readonly family: 4 | 6;
  /** First address; bits beyond the prefix are zero. */
  readonly first: bigint;
  readonly prefix: number;
}

const bitsOf = (family: 4 | 6): number => (family === 4 ? 32 : 128);

/** Null for anything that is not one address in text (zone identifiers included). */
export function parseAddress(text: string): NumericAddress | null {
  if (isIPv4(text)) return { family: 4, value: ipv4Value(text) };
  if (!isIPv6(text) || text.includes('%')) return null;
  let groups = text;
  const dotted = /[\d.]+$/.exec(text)?.[0];
  if (dotted?.includes('.') === true) {
    const tail = ipv4Value(dotted);
    groups = `${text.slice(0, -dotted.length)}${(tail >> 16n).toString(16)}:${(tail & 0xffffn).toString(16)}`;
  }
  const [head = '', tail] = groups.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const all = [...left, ...Array<string>(8 - left.length - right.length).fill('0'), ...right];
  return { family: 6, value: all.reduce((value, group) => (value << 16n) | BigInt(`0x${group}`), 0n) };
}

function ipv4Value(text: string): bigint {
  return text.split('.').reduce((value, part) => (value << 8n) | BigInt(part), 0n);
}

export function formatAddress(address: NumericAddress): string {
  const { family, value } = address;
  if (family === 4) return [24n, 16n, 8n, 0n].map((shift) => ((value >> shift) & 0xffn).toString()).join('.');
  const groups = Array.from({ length: 8 }, (_, index) => Number((value >> BigInt(112 - index * 16)) & 0xffffn));
  let bestAt = -1;
  let bestLength = 1;
  for (let at = 0; at < 8; at++) {
    let length = 0;
    while (at + length < 8 && groups[at + length] === 0) length++;
    if (length > bestLength) [bestAt, bestLength] = [at, length];
  }
  return bestAt < 0
    ? groupsText(groups)
    : `${groupsText(groups.slice(0, bestAt))}::${groupsText(groups.slice(bestAt + bestLength))}`;
}

function groupsText(groups: readonly number[]): string {
  return groups.map((group) => group.toString(16)).join(':');
}

/** Canonical text of an address, null where it is none. */
export function canonicalAddress(text: string): string | null {
  const address = parseAddress(text);
  return address === null ? null : formatAddress(address);
}

/** Host bits are dropped, as engines and people write them (`10.0.0.1/24`). Null for anything that is not a network. */
export function parseNetwork(text: string): Network | null {
  const slash = text.indexOf('/');
  const address = parseAddress(slash < 0 ? '' : text.slice(0, slash));
  const digits = text.slice(slash + 1);
  if (address === null || !/^\d{1,3}$/.test(digits)) return null;
  const prefix = Number(digits);
  if (prefix > bitsOf(address.family)) return null;
  const hostBits = BigInt(bitsOf(address.family) - prefix);
  return { family: address.family, first: (address.value >> hostBits) << hostBits, prefix };
}

export function formatNetwork(network: Network): string {
  return `${formatAddress({ family: network.family, value: network.first })}/${network.prefix}`;
}

export function networkSize(network: Network): bigint {
  return 1n << BigInt(bitsOf(network.family) - network.prefix);
}

export function contains(network: Network, address: NumericAddress): boolean {
  return (
    network.family === address.family &&
    address.value >= network.first &&
    address.value < network.first + networkSize(network)
  );
}

export function overlap(one: Network, other: Network): boolean {
  if (one.family !== other.family) return false;
  return one.first < other.first + networkSize(other) && other.first < one.first + networkSize(one);
}

/** `10.0.0.5/16` → `10.0.0.5`; text without a prefix length stays. */
export function withoutPrefix(text: string): string {
  const slash = text.indexOf('/');
  return slash < 0 ? text : text.slice(0, slash);
}

/** The address alone as a network: /32 or /128. */
export function hostNetwork(address: string): string {
  return `${address}/${address.includes(':') ? 128 : 32}`;
}
