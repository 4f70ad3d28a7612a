/** Longest-prefix match over a set of networks, as the kernel's LPM trie does it. Addresses and networks in canonical text. */
import { isIPv4, isIPv6 } from 'node:net';

interface Prefix {
  readonly family: 4 | 6;
  readonly value: bigint;
  readonly length: number;
}

export class PrefixTable {
  readonly #byLength = new Map<string, number>();
  readonly #lengths: { readonly 4: number[]; readonly 6: number[] } = { 4: [], 6: [] };

  constructor(cidrs: ReadonlyMap<string, number>) {
    const lengths = { 4: new Set<number>(), 6: new Set<number>() };
    for (const [cidr, peer] of cidrs) {
      const prefix = parsePrefix(cidr);
      lengths[prefix.family].add(prefix.length);
      this.#byLength.set(keyOf(prefix, prefix.length), peer);
    }
    for (const family of [4, 6] as const) this.#lengths[family].push(...[...lengths[family]].sort((a, b) => b - a));
  }

  /** The peer of an address or of a whole network: the longest prefix that contains it; undefined where none does. */
  match(text: string): number | undefined {
    const prefix = parsePrefix(text);
    for (const length of this.#lengths[prefix.family]) {
      if (length > prefix.length) continue;
      const peer = this.#byLength.get(keyOf(prefix, length));
      if (peer !== undefined) return peer;
    }
    return undefined;
  }
}

/** Prefix length of a network in text. */
export function prefixLength(cidr: string): number {
  return parsePrefix(cidr).length;
}

function keyOf(prefix: Prefix, length: number): string {
  const width = prefix.family === 4 ? 32 : 128;
  return `${prefix.family}/${length}/${prefix.value >> BigInt(width - length)}`;
}

/** Throws RangeError: text that comes here was made canonical by the policy package or by the kernel. */
export function parsePrefix(text: string): Prefix {
  const [address = '', lengthText] = text.split('/');
  const family = isIPv4(address) ? 4 : isIPv6(address) ? 6 : undefined;
  if (family === undefined) throw new RangeError(`not an address: ${text}`);
  const width = family === 4 ? 32 : 128;
  const length = lengthText === undefined ? width : Number(lengthText);
  if (!Number.isInteger(length) || length < 0 || length > width) throw new RangeError(`not a network: ${text}`);
  return { family, value: family === 4 ? parseIpv4(address) : parseIpv6(address), length };
}

function parseIpv4(address: string): bigint {
  return address.split('.').reduce((value, octet) => (value << 8n) | BigInt(octet), 0n);
}

function parseIpv6(address: string): bigint {
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(address);
  let text = address;
  if (dotted !== null) {
    const low = parseIpv4(dotted[2]!);
    text = `${dotted[1]}${(low >> 16n).toString(16)}:${(low & 0xffffn).toString(16)}`;
  }
  const [head = '', tail] = text.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? [] : Array.from({ length: 8 - left.length - right.length }, () => '0');
  return [...left, ...zeros, ...right].reduce((value, group) => (value << 16n) | BigInt(`0x${group}`), 0n);
}
