import { builtin, isolationFalseIn, postureVerdict } from '../decide/decide.ts';
import { type Direction, type Labels, protocolNumber } from '../model.ts';
import type { Segment } from '../resolve/segment.ts';
import type { Layer, NumberedVerdict, PortTables } from './port-table.ts';

/** What stands below all tiers for one side of one subject. */
export interface Floor {
  /** Nothing else counts: the subject's isolation does not suffice, or its labels are not known. */
  readonly blocked: NumberedVerdict | null;
  readonly posture: NumberedVerdict;
  /** Below the tiers towards the host: name queries are allowed, then the posture. */
  readonly resolver: NumberedVerdict | null;
}

export function holdFloor(
  tables: PortTables,
  direction: Direction,
  subject: { readonly unknown: boolean; readonly labels: Labels; readonly segments: readonly Segment[] },
): Floor {
  const blocked = subject.unknown
    ? builtin('deny', 'unknown')
    : isolationFalseIn(subject.segments, subject.labels) === null
      ? null
      : builtin('deny', 'isolation');
  return {
    blocked: blocked === null ? null : tables.holdVerdict(blocked),
    posture: tables.holdVerdict(postureVerdict(subject.segments, direction)),
    resolver: direction === 'egress' ? tables.holdVerdict(builtin('allow', 'resolver')) : null,
  };
}

export function releaseFloor(tables: PortTables, floor: Floor): void {
  for (const verdict of [floor.blocked, floor.posture, floor.resolver])
    if (verdict !== null) tables.releaseVerdict(verdict);
}

export function sameFloor(a: Floor, b: Floor): boolean {
  return a.blocked === b.blocked && a.posture === b.posture && a.resolver === b.resolver;
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
