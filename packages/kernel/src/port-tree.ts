/**
 * Port tables as trees of fixed nodes: a function over (protocol, port) is a sorted partition of 24-bit keys, and a node holds up to
 * sixteen parts by their upper bounds. A lookup reads one node per level, and three levels hold 4,096 parts. Pure.
 */
import { KernelError, type KernelPortTable, type KernelVerdict } from './port.ts';

export const nodeWidth = 16;
/** Keys are `protocol << 16 | port`. */
export const keyMax = 0xffffff;
/** Levels that the kernel programs follow: 16^5 parts. */
export const treeDepthMax = 5;
const partsMax = nodeWidth ** treeDepthMax;
/** Stands in the places of a node that are not used. */
const unusedBound = 0xffffffff;

/**
 * A node: fifteen ascending `bounds`; the sixteenth child has the rest. `next` is a child's index or an encoded verdict, and unused
 * places repeat the last one.
 */
export interface PortNode {
  readonly bounds: readonly number[];
  readonly next: readonly number[];
}

export interface Part {
  /** Inclusive upper bound; the lower one is behind the part before. */
  readonly upper: number;
  readonly verdict: KernelVerdict;
}

export function sameVerdict(a: KernelVerdict, b: KernelVerdict): boolean {
  return a.action === b.action && a.rule === b.rule && a.live === b.live;
}

/** The table as a partition of all keys, neighbours with equal verdicts merged. Throws RangeError where ranges overlap or are unsorted. */
export function partsOf(table: KernelPortTable): readonly Part[] {
  const parts: Part[] = [];
  const add = (upper: number, verdict: KernelVerdict): void => {
    const last = parts.at(-1);
    if (last !== undefined && sameVerdict(last.verdict, verdict))
      parts[parts.length - 1] = { upper, verdict: last.verdict };
    else parts.push({ upper, verdict });
  };
  let next = 0;
  for (const range of table.ranges) {
    const from = range.protocol * 0x10000 + range.from;
    const to = range.protocol * 0x10000 + range.to;
    const valid =
      range.protocol >= 0 && range.protocol <= 0xff && range.from >= 0 && range.to <= 0xffff && range.from <= range.to;
    if (!valid || from < next)
      throw new RangeError(`port range ${range.protocol}/${range.from}-${range.to} is invalid or out of order`);
    if (from > next) add(from - 1, table.otherwise);
    add(to, range.verdict);
    next = to + 1;
  }
  if (next <= keyMax) add(keyMax, table.otherwise);
  return parts;
}

/**
 * The table of a partition. `otherwise` is what the last key has: protocol 255 is reserved, so no range ever names it.
 */
export function tableOf(parts: readonly Part[]): KernelPortTable {
  const otherwise = parts.at(-1)!.verdict;
  const ranges: KernelPortTable['ranges'][number][] = [];
  let from = 0;
  for (const part of parts) {
    // A part may span protocols; a range may not.
    for (let at = from; !sameVerdict(part.verdict, otherwise) && at <= part.upper;) {
      const protocol = at >>> 16;
      const to = Math.min(part.upper, protocol * 0x10000 + 0xffff);
      ranges.push({ protocol, from: at & 0xffff, to: to & 0xffff, verdict: part.verdict });
      at = to + 1;
    }
    from = part.upper + 1;
  }
  return { ranges, otherwise };
}

/** What a table comes back as: neighbours merged, ranges that say the same as `otherwise` left out. */
export function normalPortTable(table: KernelPortTable): KernelPortTable {
  return tableOf(partsOf(table));
}

/** The reference: what the table says about one key. */
export function verdictAt(table: KernelPortTable, protocol: number, port: number): KernelVerdict {
  const range = table.ranges.find(
    (candidate) => candidate.protocol === protocol && candidate.from <= port && port <= candidate.to,
  );
  return range?.verdict ?? table.otherwise;
}

/**
 * Builds the tree bottom up: `store` is given each node, children first, and returns its index, already as an encoded reference.
 * Returns the reference of the root, or the encoded verdict where the function is constant.
 */
export function buildTree(
  parts: readonly Part[],
  encodeVerdict: (verdict: KernelVerdict) => number,
  store: (node: PortNode) => number,
): number {
  if (parts.length > partsMax) throw new KernelError('add a port table', 'full', { detail: `${parts.length} parts` });
  let level = parts.map((part) => ({ upper: part.upper, reference: encodeVerdict(part.verdict) }));
  while (level.length > 1) {
    const above: typeof level = [];
    for (let at = 0; at < level.length; at += nodeWidth) {
      const group = level.slice(at, at + nodeWidth);
      const last = group.at(-1)!;
      // A single child needs no node: its own bound is the group's.
      const reference = group.length === 1 ? last.reference : store(padded(group));
      above.push({ upper: last.upper, reference });
    }
    level = above;
  }
  return level[0]!.reference;
}

function padded(group: readonly { readonly upper: number; readonly reference: number }[]): PortNode {
  const last = group.at(-1)!;
  const bounds = Array.from({ length: nodeWidth - 1 }, (_, index) => group[index]?.upper ?? unusedBound);
  const next = Array.from({ length: nodeWidth }, (_, index) => (group[index] ?? last).reference);
  return { bounds, next };
}

/** Follows the tree as the kernel programs do. `node` gives a reference's node, or null where it is a verdict. */
export function lookUp(root: number, key: number, node: (reference: number) => PortNode | null): number {
  let reference = root;
  for (let depth = 0; depth <= treeDepthMax; depth++) {
    const found = node(reference);
    if (found === null) return reference;
    let place = 0;
    while (place < nodeWidth - 1 && key > found.bounds[place]!) place++;
    reference = found.next[place]!;
  }
  throw new RangeError(`port tree at ${root} is deeper than ${treeDepthMax}`);
}
