import { builtin, isolationFalseIn, postureVerdict } from '../decide/decide.ts';
import { type Direction, type Labels, protocolNumber, type SideVerdict } from '../model.ts';
import type { Segment } from '../resolve/segment.ts';
import { type Countable, Interned } from './interned.ts';
import { type Layer, type NumberedVerdict, type PortTables, verdictKey } from './port-table.ts';

/** What stands below all tiers for one side of a subject. One object per content. */
export interface Floor extends Countable {
  readonly number: number;
  /** Nothing else counts: the subject's isolation does not suffice, or its labels are not known. */
  readonly blocked: NumberedVerdict | null;
  readonly posture: NumberedVerdict;
  /** Below the tiers towards the host: name queries are allowed, then the posture. */
  readonly resolver: NumberedVerdict | null;
}

/** The floors of one compiler. */
export class Floors {
  readonly #tables: PortTables;
  readonly #floors = new Interned<Floor>();
  #numbersGiven = 0;

  constructor(tables: PortTables) {
    this.#tables = tables;
  }

  /** The floor that such a subject stands on. It lives until the next sweep unless somebody holds it. */
  of(
    direction: Direction,
    subject: { readonly unknown: boolean; readonly labels: Labels; readonly segments: readonly Segment[] },
  ): Floor {
    const blocked = subject.unknown
      ? builtin('deny', 'unknown')
      : isolationFalseIn(subject.segments, subject.labels) === null
        ? null
        : builtin('deny', 'isolation');
    const posture = postureVerdict(subject.segments, direction);
    const resolver = direction === 'egress' ? builtin('allow', 'resolver') : null;
    const key = [blocked, posture, resolver].map((verdict) => (verdict === null ? '' : verdictKey(verdict))).join('|');
    return this.#floors.intern(key, () => this.#make(key, { blocked, posture, resolver }));
  }

  #make(key: string, verdicts: Record<'blocked' | 'resolver', SideVerdict | null> & { posture: SideVerdict }): Floor {
    const numbered = (verdict: SideVerdict | null) => (verdict === null ? null : this.#tables.holdVerdict(verdict));
    return {
      key,
      uses: 0,
      number: ++this.#numbersGiven,
      blocked: numbered(verdicts.blocked),
      posture: this.#tables.holdVerdict(verdicts.posture),
      resolver: numbered(verdicts.resolver),
    };
  }

  hold(floor: Floor): void {
    this.#floors.hold(floor);
  }

  release(floor: Floor): void {
    this.#floors.release(floor);
  }

  sweep(): void {
    this.#floors.sweep(({ blocked, posture, resolver }) => {
      for (const verdict of [blocked, posture, resolver]) if (verdict !== null) this.#tables.releaseVerdict(verdict);
    });
  }
}

const floorTier = 'floor';
const nameQueries = [
  { protocol: protocolNumber.tcp, from: 53, to: 53 },
  { protocol: protocolNumber.udp, from: 53, to: 53 },
];

/** The last layers of a port table. No tier can have their name's place: they come after all tiers. */
export function floorLayers(floor: Floor, towardsHost: boolean): readonly Layer[] {
  const posture: Layer = { tier: floorTier, ports: null, verdict: floor.posture };
  if (!towardsHost || floor.resolver === null) return [posture];
  return [{ tier: floorTier, ports: nameQueries, verdict: floor.resolver }, posture];
}
