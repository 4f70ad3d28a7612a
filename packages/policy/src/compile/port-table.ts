import type { PortRange, PortTable, SideVerdict } from '../model.ts';
import type { PortSpan } from '../resolve/ports.ts';
import { reasonText } from '../resolve/reason.ts';
import { Counted, type Countable, Interned, type Keyed } from './interned.ts';

/** A verdict with the number that stands for it in the keys of port tables. */
export interface NumberedVerdict {
  readonly number: number;
  readonly verdict: SideVerdict;
  /** The table that says this about everything, while there is one. */
  everywhere: PortTable | null;
}

/** What one rule says about ports, in the order of precedence. `verdict: null` passes to the next tier. */
export interface Layer {
  /** Layers of one tier stand together. */
  readonly tier: string;
  readonly ports: readonly PortSpan[] | null;
  readonly verdict: NumberedVerdict | null;
}

const noRanges: readonly PortRange[] = [];

interface CountedVerdict extends NumberedVerdict, Keyed {}
/** A table that says something else about some ports. */
interface CountedRanges extends PortTable, Keyed {}
/** A table that says the same about everything: found by its verdict. */
interface CountedSingle extends PortTable, Countable {
  readonly only: NumberedVerdict;
}

/** The verdicts and port tables of one compiler, one object per content. */
export class PortTables {
  readonly #verdicts = new Interned<CountedVerdict>();
  readonly #ranges = new Interned<CountedRanges>();
  readonly #singles = new Counted<CountedSingle>();
  #verdictsMade = 0;

  get size(): number {
    return this.#ranges.size + this.#singles.size;
  }

  /** A verdict that only its maker keeps: a number of its own, without looking for an equal one. */
  newVerdict(verdict: SideVerdict): NumberedVerdict {
    return { number: ++this.#verdictsMade, verdict, everywhere: null };
  }

  /** The one object for this verdict among those held here. Holds it until `releaseVerdict`. */
  holdVerdict(verdict: SideVerdict): NumberedVerdict {
    const key = verdictKey(verdict);
    const counted = this.#verdicts.intern(key, () => ({ ...this.newVerdict(verdict), key, uses: 0 }));
    this.#verdicts.hold(counted);
    return counted;
  }

  /** For what `holdVerdict` gave, and nothing else. */
  releaseVerdict(verdict: NumberedVerdict): void {
    this.#verdicts.release(verdict as CountedVerdict);
  }

  /** The table of the layers, of which the last speaks about everything. It lives until the next sweep unless somebody holds it. */
  table(layers: readonly Layer[]): PortTable {
    const [first] = layers;
    if (first !== undefined && first.ports === null && first.verdict !== null) return this.single(first.verdict);
    const { ranges, otherwise } = portFunction(layers);
    const parts = ranges.map(({ protocol, from, to, verdict }) => `${protocol}:${from}-${to}=${verdict.number}`);
    if (parts.length === 0) return this.single(otherwise);
    const key = [otherwise.number, ...parts].join(';');
    return this.#ranges.intern(key, () => ({
      key,
      uses: 0,
      ranges: ranges.map((range): PortRange => ({ ...range, verdict: range.verdict.verdict })),
      otherwise: otherwise.verdict,
    }));
  }

  /** The table that says the same about everything. */
  single(verdict: NumberedVerdict): PortTable {
    if (verdict.everywhere !== null) return verdict.everywhere;
    const key = String(verdict.number);
    const table: CountedSingle = { key, uses: 0, ranges: noRanges, otherwise: verdict.verdict, only: verdict };
    this.#singles.add(table);
    verdict.everywhere = table;
    return table;
  }

  hold(table: PortTable): void {
    if ('only' in table) this.#singles.hold(table as CountedSingle);
    else this.#ranges.hold(table as CountedRanges);
  }

  release(table: PortTable): void {
    if ('only' in table) this.#singles.release(table as CountedSingle);
    else this.#ranges.release(table as CountedRanges);
  }

  sweep(): void {
    this.#singles.sweep(({ only }) => {
      only.everywhere = null;
    });
    this.#ranges.sweep();
    this.#verdicts.sweep();
  }
}

/** Equal exactly for verdicts that say the same. */
export function verdictKey({ action, reason, terms, live }: SideVerdict): string {
  return `${action} ${reasonText(reason)} ${terms ?? ''} ${live ?? ''}`;
}

export function sameVerdict(a: SideVerdict, b: SideVerdict): boolean {
  return (
    a.action === b.action && a.terms === b.terms && a.live === b.live && reasonText(a.reason) === reasonText(b.reason)
  );
}

interface NumberedRange extends PortSpan {
  readonly verdict: NumberedVerdict;
}

function portFunction(layers: readonly Layer[]): { ranges: NumberedRange[]; otherwise: NumberedVerdict } {
  const reachable = reachableLayers(layers);
  const otherwise = reachable.find(({ ports, verdict }) => ports === null && verdict !== null)?.verdict;
  if (otherwise == null) throw new Error('the last layer of a port table must speak about everything');
  const protocols = new Set(reachable.flatMap(({ ports }) => (ports ?? []).map(({ protocol }) => protocol)));
  const ranges = [...protocols]
    .sort((a, b) => a - b)
    .flatMap((protocol) => protocolRanges(protocol, reachable, otherwise));
  return { ranges, otherwise };
}

/**
 * Without what cannot be reached: what stands in its tier behind a layer about everything, and all that stands behind one with a
 * verdict, unless its tier passed on some ports before.
 */
function reachableLayers(layers: readonly Layer[]): Layer[] {
  const reachable: Layer[] = [];
  let closedTier: string | null = null;
  let passingTier: string | null = null;
  for (const layer of layers) {
    if (layer.tier === closedTier) continue;
    reachable.push(layer);
    if (layer.verdict === null) passingTier = layer.tier;
    if (layer.ports !== null) continue;
    if (layer.tier !== passingTier) break;
    closedTier = layer.tier;
  }
  return reachable;
}

const portMax = 65_535;

/**
 * Paints the layers over the protocol's ports, the first layer first and each only where nothing is painted yet. The ports are cut
 * at the ends of all spans into pieces; `next` skips over painted ones (union-find), so that every piece is painted once.
 */
function protocolRanges(protocol: number, layers: readonly Layer[], otherwise: NumberedVerdict): NumberedRange[] {
  const starts = pieceStarts(protocol, layers);
  const pieceOf = new Map(starts.map((start, piece) => [start, piece]));
  const painted: (NumberedVerdict | undefined)[] = Array.from({ length: starts.length });
  const passedIn: (string | undefined)[] = Array.from({ length: starts.length });
  const next = Array.from({ length: starts.length + 1 }, (_, piece) => piece);

  for (const { tier, ports, verdict } of layers) {
    for (const span of ports ?? [{ protocol, from: 0, to: portMax }]) {
      if (span.protocol !== protocol) continue;
      const end = pieceOf.get(span.to + 1) ?? starts.length;
      for (let piece = unpainted(next, pieceOf.get(span.from)!); piece < end; piece = unpainted(next, piece + 1)) {
        if (passedIn[piece] === tier) continue;
        if (verdict === null) {
          passedIn[piece] = tier;
        } else {
          painted[piece] = verdict;
          next[piece] = piece + 1;
        }
      }
    }
  }
  return joinedRanges(protocol, starts, painted, otherwise);
}

function pieceStarts(protocol: number, layers: readonly Layer[]): number[] {
  const starts = new Set([0]);
  for (const { ports } of layers) {
    for (const span of ports ?? []) {
      if (span.protocol !== protocol) continue;
      starts.add(span.from);
      if (span.to < portMax) starts.add(span.to + 1);
    }
  }
  return [...starts].sort((a, b) => a - b);
}

/** The first unpainted piece from here on; paths are halved on the way. */
function unpainted(next: number[], from: number): number {
  let piece = from;
  while (next[piece]! !== piece) {
    next[piece] = next[next[piece]!]!;
    piece = next[piece]!;
  }
  return piece;
}

/** Neighbours with one verdict become one range; what is as `otherwise` says is left out. */
function joinedRanges(
  protocol: number,
  starts: readonly number[],
  painted: readonly (NumberedVerdict | undefined)[],
  otherwise: NumberedVerdict,
): NumberedRange[] {
  const ranges: NumberedRange[] = [];
  for (const [piece, from] of starts.entries()) {
    const verdict = painted[piece];
    if (verdict === undefined) throw new Error('a piece of the port space was left without a verdict');
    if (verdict === otherwise) continue;
    const to = (starts[piece + 1] ?? portMax + 1) - 1;
    const last = ranges.at(-1);
    if (last !== undefined && last.verdict === verdict && last.to + 1 === from)
      ranges[ranges.length - 1] = { ...last, to };
    else ranges.push({ protocol, from, to, verdict });
  }
  return ranges;
}
