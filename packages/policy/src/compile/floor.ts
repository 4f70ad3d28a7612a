import { builtin, isGuarded, isolationFalseIn, postureVerdict } from '../decide/decide.ts';
import { guardSpans } from '../decide/lock-out-guard.ts';
import { type Direction, type Labels, protocolNumber, type SideVerdict } from '../model.ts';
import { namespaceOf } from '../resolve/namespace.ts';
import type { PolicySet } from '../resolve/policy-set.ts';
import { type PortSpan, portsKey } from '../resolve/ports.ts';
import type { Segment } from '../resolve/segment.ts';
import { Interned, type Keyed } from './interned.ts';
import type { LabelledEntry, PeerEntry } from './peer.ts';
import { type Layer, type NumberedVerdict, type PortTables, verdictKey } from './port-table.ts';

/** What stands above and below all tiers for one side of a subject. One object per content. */
export interface Floor extends Keyed {
  readonly number: number;
  /** Nothing else counts towards whom it is known who he is: the subject's isolation does not suffice. */
  readonly blocked: NumberedVerdict | null;
  /** The verdict about a peer that is not known. */
  readonly unknown: NumberedVerdict;
  /** Above all tiers: what keeps a host within reach. */
  readonly guard: { readonly spans: readonly PortSpan[]; readonly verdict: NumberedVerdict } | null;
  readonly posture: NumberedVerdict;
  /** Below the tiers between a workload and the resolver on its host: name queries are allowed, then the posture. */
  readonly resolver: NumberedVerdict | null;
}

interface FloorVerdicts {
  readonly blocked: SideVerdict | null;
  readonly unknown: SideVerdict;
  readonly guard: readonly PortSpan[];
  readonly posture: SideVerdict;
}

/** A subject as its floor depends on it. */
export interface FloorSubject {
  readonly entry: LabelledEntry;
  /** False where its labels are not known. */
  readonly known: boolean;
  readonly segments: readonly Segment[];
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
  of(direction: Direction, subject: FloorSubject, policySet: PolicySet): Floor {
    const verdicts = floorVerdicts(direction, subject, policySet);
    const { blocked, unknown, guard, posture } = verdicts;
    const resolves = (direction === 'egress') === (subject.entry.kind === 'identity');
    const ports = guard.length === 0 ? '' : portsKey({ ports: guard, namedPorts: [] });
    const block = blocked === null ? '' : verdictKey(blocked);
    const below = `${unknown === unknownDenied ? '' : verdictKey(unknown)}|${verdictKey(posture)}`;
    const key = `${resolves ? 'r' : ''}|${ports}|${block}|${below}`;
    return this.#floors.intern(key, () => this.#make(key, verdicts, resolves));
  }

  #make(key: string, { blocked, unknown, guard, posture }: FloorVerdicts, resolves: boolean): Floor {
    const hold = (verdict: SideVerdict): NumberedVerdict => this.#tables.holdVerdict(verdict);
    return {
      key,
      uses: 0,
      number: ++this.#numbersGiven,
      blocked: blocked === null ? null : hold(blocked),
      unknown: hold(unknown),
      guard: guard.length === 0 ? null : { spans: guard, verdict: hold(builtin('allow', 'lock-out-guard')) },
      posture: hold(posture),
      resolver: resolves ? hold(builtin('allow', 'resolver')) : null,
    };
  }

  hold(floor: Floor): void {
    this.#floors.hold(floor);
  }

  release(floor: Floor): void {
    this.#floors.release(floor);
  }

  sweep(): void {
    this.#floors.sweep(({ blocked, unknown, guard, posture, resolver }) => {
      for (const verdict of [blocked, unknown, guard?.verdict, posture, resolver])
        if (verdict != null) this.#tables.releaseVerdict(verdict);
    });
  }
}

const unknownDenied = builtin('deny', 'unknown');

function floorVerdicts(
  direction: Direction,
  { entry, known, segments }: FloorSubject,
  policySet: PolicySet,
): FloorVerdicts {
  const plain = { blocked: null, unknown: unknownDenied, guard: [], posture: unknownDenied };
  if (!known) return { ...plain, blocked: unknownDenied };
  if (entry.kind === 'host') {
    const open = builtin('allow', 'not-a-subject');
    if (segments.length === 0) return { ...plain, blocked: open, unknown: open };
    const guard = isGuarded(segments) ? guardSpans(direction, entry.labels) : [];
    return { ...plain, guard, posture: postureVerdict(segments, direction, null) };
  }
  if (isolationFalseIn(segments, entry.labels) !== null) return { ...plain, blocked: builtin('deny', 'isolation') };
  return { ...plain, posture: postureVerdict(segments, direction, openNamespaceOf(entry.labels, policySet)) };
}

function openNamespaceOf(labels: Labels, { namespaces }: PolicySet): string | null {
  const name = namespaceOf(labels);
  return name !== null && namespaces.has(name) ? name : null;
}

/** Whether such a peer is at the other end of name queries: the host for a workload, workloads for the host. */
export function resolvesNames(direction: Direction, kind: PeerEntry['kind']): boolean {
  return direction === 'egress' ? kind === 'host' : kind === 'identity' || kind === 'others';
}

const [guardTier, floorTier] = ['guard', 'floor'];
const nameQueries = [
  { protocol: protocolNumber.tcp, from: 53, to: 53 },
  { protocol: protocolNumber.udp, from: 53, to: 53 },
];

/** All layers of a port table: what the tiers say, between what stands above and below them. */
export function withFloor(floor: Floor, tiers: readonly Layer[], resolves: boolean): readonly Layer[] {
  const { guard, resolver, posture } = floor;
  return [
    ...(guard === null ? [] : [{ tier: guardTier, ports: guard.spans, verdict: guard.verdict }]),
    ...tiers,
    ...(resolves && resolver !== null ? [{ tier: floorTier, ports: nameQueries, verdict: resolver }] : []),
    { tier: floorTier, ports: null, verdict: posture },
  ];
}
