import { addressBits, type PrefixBits, prefixFromBits } from '../select/prefix.ts';

/**
 * The addresses as networks: halves of one network become it, which takes in nothing else; then, while they are more than `most`, the
 * two that have most bits in common become the smallest network around both. Networks of the two families are never joined.
 */
export function joinedNetworks(addresses: Iterable<string>, most: number): readonly string[] {
  const bits = [...new Set(addresses)].map((address) => addressBits(address) ?? '').filter(Boolean);
  const exact = joinedHalves([...new Set(bits)].sort());
  const networks = exact.length <= most ? exact : joinedHalves(joinedClosest(exact, exact.length - most));
  return networks.map((network) => prefixFromBits(network).cidr);
}

/**
 * As many joins of two as asked for, those that share most first. Sorted, the closest stand side by side, and two that share a start
 * are the only two left below it once those that share more are joined: so each join is between neighbours, and none overlaps another.
 */
function joinedClosest(sorted: readonly PrefixBits[], joins: number): PrefixBits[] {
  const shared = sorted.slice(1).map((bits, index) => ({ index, length: sharedStart(sorted[index]!, bits).length }));
  const closest = shared
    .filter(({ length }) => length > 0)
    .sort((a, b) => b.length - a.length)
    .slice(0, joins);
  const joined = new Set(closest.map(({ index }) => index));
  const networks: PrefixBits[] = [];
  for (let first = 0, last = 0; first < sorted.length; first = ++last) {
    while (joined.has(last)) last++;
    networks.push(sharedStart(sorted[first]!, sorted[last]!));
  }
  return networks;
}

/** Sorted prefixes, none inside another, with pairs of halves replaced by the whole until there are none. */
function joinedHalves(sorted: readonly PrefixBits[]): PrefixBits[] {
  const joined: PrefixBits[] = [];
  for (const bits of sorted) {
    let current = bits;
    for (let last = joined.at(-1); last !== undefined && areHalves(last, current); last = joined.at(-1)) {
      joined.pop();
      current = current.slice(0, -1);
    }
    joined.push(current);
  }
  return joined;
}

function areHalves(a: PrefixBits, b: PrefixBits): boolean {
  return a.length === b.length && a.length > 1 && a !== b && a.slice(0, -1) === b.slice(0, -1);
}

function sharedStart(a: PrefixBits, b: PrefixBits): PrefixBits {
  let length = 0;
  while (length < a.length && a[length] === b[length]) length++;
  return a.slice(0, length);
}
