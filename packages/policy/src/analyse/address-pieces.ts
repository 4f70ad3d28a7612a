import { prefixContains, type PrefixBits, prefixFromBits } from '../select/prefix.ts';

/** Addresses that no list of networks tells apart: those of a network and of none inside it; `network: null` is in none at all. */
export interface AddressPiece {
  readonly network: { readonly cidr: string; readonly except: readonly string[] } | null;
  /** One address of the piece. */
  readonly example: string;
}

const families = ['4', '6'] as const;

/** Cuts all of IPv4 and IPv6 at the prefixes. A prefix that those inside it fill has no piece. */
export function addressPieces(prefixes: Iterable<PrefixBits>): readonly AddressPiece[] {
  const sorted = [...new Set(prefixes)].sort();
  const children = childrenOf(sorted);
  const pieces: AddressPiece[] = [];
  for (const bits of sorted) {
    const inside = children.get(bits) ?? [];
    const example = addressOutside(bits, inside);
    if (example === null) continue;
    const except = inside.map((child) => prefixFromBits(child).cidr);
    pieces.push({ network: { cidr: prefixFromBits(bits).cidr, except }, example });
  }
  for (const family of families) {
    if (sorted.includes(family)) continue;
    const example = addressOutside(
      family,
      (children.get('') ?? []).filter((child) => child.startsWith(family)),
    );
    if (example !== null) pieces.push({ network: null, example });
  }
  return pieces;
}

/** The prefixes directly inside each; those in none are under ''. Sorted texts put a prefix before all that it contains. */
function childrenOf(sorted: readonly PrefixBits[]): Map<PrefixBits, PrefixBits[]> {
  const children = new Map<PrefixBits, PrefixBits[]>();
  const open: PrefixBits[] = [];
  for (const bits of sorted) {
    while (open.length > 0 && !prefixContains(open.at(-1)!, bits)) open.pop();
    const parent = open.at(-1) ?? '';
    const siblings = children.get(parent);
    if (siblings === undefined) children.set(parent, [bits]);
    else siblings.push(bits);
    open.push(bits);
  }
  return children;
}

/** An address of the prefix that is in none of these prefixes, all inside it; null where they fill it. */
function addressOutside(bits: PrefixBits, inside: readonly PrefixBits[]): string | null {
  if (inside.some((child) => child === bits)) return null;
  if (inside.length === 0) return prefixFromBits(bits).cidr.split('/')[0]!;
  const half = (bit: string): string | null =>
    addressOutside(
      bits + bit,
      inside.filter((child) => child.startsWith(bits + bit)),
    );
  return half('0') ?? half('1');
}
