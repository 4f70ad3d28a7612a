import { protocolNumber, type PortTable, type SideVerdict } from '../model.ts';
import type { PortSpan } from '../resolve/ports.ts';

/**
 * A set of protocols and ports. `spans` are sorted by (protocol, from), disjoint, and never adjacent. With `otherProtocols` every
 * protocol that is not in that list belongs to the set as a whole; those in it are described by `spans` alone.
 */
export interface PortSet {
  readonly spans: readonly PortSpan[];
  readonly otherProtocols: readonly number[] | null;
}

const portMax = 65_535;
export const everyPort: PortSet = { spans: [], otherProtocols: [] };
export const noPort: PortSet = { spans: [], otherProtocols: null };

export function isNoPort({ spans, otherProtocols }: PortSet): boolean {
  return spans.length === 0 && otherProtocols === null;
}

export function portSetHas({ spans, otherProtocols }: PortSet, protocol: number, port: number): boolean {
  if (otherProtocols !== null && !otherProtocols.includes(protocol)) return true;
  return spans.some((span) => span.protocol === protocol && span.from <= port && port <= span.to);
}

/** What a rule's ports say; `null` is everything. */
export function portSetOfSpans(spans: readonly PortSpan[] | null): PortSet {
  return spans === null ? everyPort : canonicalPortSet(spans, null);
}

/** The set in its one form. The spans may overlap; with `listed` all protocols but the listed belong to it wholly. */
export function canonicalPortSet(spans: readonly PortSpan[], listed: readonly number[] | null): PortSet {
  const merged: PortSpan[] = [];
  for (const span of spans.toSorted((a, b) => a.protocol - b.protocol || a.from - b.from)) {
    const last = merged.at(-1);
    if (last !== undefined && last.protocol === span.protocol && span.from <= last.to + 1) {
      if (span.to > last.to) merged[merged.length - 1] = { ...last, to: span.to };
    } else {
      merged.push({ protocol: span.protocol, from: span.from, to: span.to });
    }
  }
  if (listed === null) return { spans: merged, otherProtocols: null };
  const whole = new Set(merged.filter(({ from, to }) => from === 0 && to === portMax).map(({ protocol }) => protocol));
  return {
    spans: merged.filter(({ protocol }) => listed.includes(protocol) && !whole.has(protocol)),
    otherProtocols: [...new Set(listed)].filter((protocol) => !whole.has(protocol)).sort((a, b) => a - b),
  };
}

/** Ports of the listed protocols and of all others on which every table has one verdict. */
export interface Piece extends PortSpan {
  /** Of each table, in their order. */
  readonly verdicts: readonly SideVerdict[];
}

/** Port space cut so that no table changes its verdict inside a piece: whole protocols in `pieces`, and all others in `rest`. */
export interface Pieces {
  readonly protocols: readonly number[];
  readonly pieces: readonly Piece[];
  readonly rest: readonly SideVerdict[];
}

/** `also` cuts at the ends of these spans too. */
export function piecesOf(tables: readonly PortTable[], also: readonly PortSpan[] = []): Pieces {
  const spans = [...tables.flatMap(({ ranges }) => ranges), ...also];
  const protocols = [...new Set(spans.map(({ protocol }) => protocol))].sort((a, b) => a - b);
  const pieces: Piece[] = [];
  for (const protocol of protocols) {
    const starts = new Set([0]);
    for (const span of spans) {
      if (span.protocol !== protocol) continue;
      starts.add(span.from);
      if (span.to < portMax) starts.add(span.to + 1);
    }
    const sorted = [...starts].sort((a, b) => a - b);
    for (const [index, from] of sorted.entries()) {
      const to = (sorted[index + 1] ?? portMax + 1) - 1;
      pieces.push({ protocol, from, to, verdicts: tables.map((table) => verdictIn(table, protocol, from)) });
    }
  }
  return { protocols, pieces, rest: tables.map(({ otherwise }) => otherwise) };
}

/** What the table says about a protocol and port; ranges are sorted, so half of them is looked at once. */
export function verdictIn({ ranges, otherwise }: PortTable, protocol: number, port: number): SideVerdict {
  let [low, high] = [0, ranges.length - 1];
  while (low <= high) {
    const middle = (low + high) >> 1;
    const range = ranges[middle]!;
    if (range.protocol < protocol || (range.protocol === protocol && range.to < port)) low = middle + 1;
    else if (range.protocol > protocol || range.from > port) high = middle - 1;
    else return range.verdict;
  }
  return otherwise;
}

/** Where the verdicts satisfy the predicate. */
export function portsWhere(
  { protocols, pieces, rest }: Pieces,
  holds: (verdicts: readonly SideVerdict[]) => boolean,
): PortSet {
  const spans = pieces.filter(({ verdicts }) => holds(verdicts));
  return canonicalPortSet(spans, holds(rest) ? protocols : null);
}

export function portSetShared(a: PortSet, b: PortSet): PortSet {
  const listed = [...new Set([...listedIn(a), ...listedIn(b)])];
  const spans: PortSpan[] = [];
  for (const protocol of listed) {
    const other = spansOf(b, protocol);
    for (const one of spansOf(a, protocol)) {
      for (const two of other) {
        const [from, to] = [Math.max(one.from, two.from), Math.min(one.to, two.to)];
        if (from <= to) spans.push({ protocol, from, to });
      }
    }
  }
  return canonicalPortSet(spans, a.otherProtocols === null || b.otherProtocols === null ? null : listed);
}

export function portSetWithout(a: PortSet, b: PortSet): PortSet {
  return portSetShared(a, complementOf(b));
}

/** The protocols that the set says something of its own about. */
function listedIn({ spans, otherProtocols }: PortSet): readonly number[] {
  return [...new Set([...spans.map(({ protocol }) => protocol), ...(otherProtocols ?? [])])];
}

function spansOf({ spans, otherProtocols }: PortSet, protocol: number): readonly PortSpan[] {
  if (otherProtocols !== null && !otherProtocols.includes(protocol)) return [{ protocol, from: 0, to: portMax }];
  return spans.filter((span) => span.protocol === protocol);
}

function complementOf(set: PortSet): PortSet {
  const listed = listedIn(set);
  const spans = listed.flatMap((protocol) => {
    const holes: PortSpan[] = [];
    let from = 0;
    for (const span of spansOf(set, protocol)) {
      if (span.from > from) holes.push({ protocol, from, to: span.from - 1 });
      from = span.to + 1;
    }
    return from > portMax ? holes : [...holes, { protocol, from, to: portMax }];
  });
  return canonicalPortSet(spans, set.otherProtocols === null ? listed : null);
}

const protocolNames = new Map<number, string>(Object.entries(protocolNumber).map(([name, number]) => [number, name]));
/** Most pieces that a text lists. */
const piecesListedMax = 20;

/** e.g. `tcp 80, 8000-8010; udp` or `everything but tcp 22`. */
export function portSetText(set: PortSet): string {
  if (isNoPort(set)) return 'nothing';
  if (set.otherProtocols === null) return spansText(set.spans);
  const { spans } = complementOf(set);
  return spans.length === 0 ? 'everything' : `everything but ${spansText(spans)}`;
}

function spansText(spans: readonly PortSpan[]): string {
  const listed = Map.groupBy(spans.slice(0, piecesListedMax), ({ protocol }) => protocol);
  const texts = [...listed].map(([protocol, own]) => {
    const name = protocolNames.get(protocol) ?? `protocol ${protocol}`;
    const ports = own.map((span) => spanText(span)).filter((text) => text !== '');
    return ports.length === 0 ? name : `${name} ${ports.join(', ')}`;
  });
  const more = spans.length - piecesListedMax;
  return texts.join('; ') + (more > 0 ? ` and ${more} more ranges` : '');
}

/** A span without its protocol; empty where it is all of it. */
function spanText({ protocol, from, to }: PortSpan): string {
  if ((from === 0 && to === portMax) || !protocolNames.has(protocol)) return '';
  if (protocol !== protocolNumber.icmp && protocol !== protocolNumber.icmpv6) return rangeText(from, to);
  const wholeTypes = (from & 255) === 0 && (to & 255) === 255;
  if (wholeTypes) return `type ${rangeText(from >> 8, to >> 8)}`;
  const sameType = from >> 8 === to >> 8;
  const end = sameType ? rangeText(from & 255, to & 255) : `${from & 255} to type ${to >> 8} code ${to & 255}`;
  return `type ${from >> 8} code ${end}`;
}

function rangeText(from: number, to: number): string {
  return from === to ? `${from}` : `${from}-${to}`;
}

/** One protocol and port, e.g. `tcp 5432` or `icmp type 8 code 0`. */
export function serviceText(protocol: number, port: number): string {
  return spansText([{ protocol, from: port, to: port }]);
}

/** Protocols from which one is named where a set has nearly all of them. */
const wellKnownProtocols = [6, 17, 1, 58, 132];

/** Some protocol and port of a set that is not empty; port 0 is taken only where it stands alone. */
export function onePort({ spans, otherProtocols }: PortSet): { readonly protocol: number; readonly port: number } {
  const [first] = spans;
  if (first !== undefined) return { protocol: first.protocol, port: Math.min(first.to, Math.max(first.from, 1)) };
  if (otherProtocols === null) throw new Error('a port is taken of a set that has none');
  const every = [...wellKnownProtocols, ...Array.from({ length: 256 }, (_, protocol) => protocol)];
  const protocol = every.find((candidate) => !otherProtocols.includes(candidate));
  if (protocol === undefined) throw new Error('all protocols are listed, and some other is asked for');
  return { protocol, port: protocolNames.has(protocol) ? 1 : 0 };
}
