import { addressBits, type PrefixBits, prefixContains, prefixFromBits } from '../select/prefix.ts';

/**
 * The addresses as networks: halves of one network become it, which takes in nothing else; then, while they are more than `most`, the
 * two that have most bits in common become the smallest network around both. Networks of the two families are never joined.
 */
export function joinedNetworks(addresses: Iterable<string>, most: number): readonly string[] {
  let sorted = [...new Set([...addresses].map((address) => addressBits(address) ?? ''))].filter(Boolean).sort();
  sorted = joinedHalves(sorted);
  while (sorted.length > most) {
    const at = closestPair(sorted);
    if (at === null) break;
    const shared = sharedStart(sorted[at]!, sorted[at + 1]!);
    // Whatever else the new network takes in stands beside the two.
    sorted = joinedHalves([...sorted.filter((bits) => !prefixContains(shared, bits)), shared].sort());
  }
  return sorted.map((bits) => prefixFromBits(bits).cidr);
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

/** Neighbours with the longest shared start; sorting puts the closest two side by side. */
function closestPair(sorted: readonly PrefixBits[]): number | null {
  let best: number | null = null;
  let bestLength = 0;
  for (let index = 0; index + 1 < sorted.length; index++) {
    const { length } = sharedStart(sorted[index]!, sorted[index + 1]!);
    if (length > bestLength) [best, bestLength] = [index, length];
  }
  return best;
}

function sharedStart(a: PrefixBits, b: PrefixBits): PrefixBits {
  let length = 0;
  while (length < a.length && a[length] === b[length]) length++;
  return a.slice(0, length);
}
