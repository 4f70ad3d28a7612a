import type { Direction, PeerId, PortTable } from '../model.ts';
import { namespaceOf } from '../resolve/namespace.ts';
import type { PolicySet } from '../resolve/policy-set.ts';
import type { Floor, Floors, FloorSubject } from './floor.ts';
import { segmentNamesOf } from './groups.ts';
import type { PortTables } from './port-table.ts';
import { type Round, verdictChanged } from './round.ts';
import type { RuleBook } from './rule-book.ts';
import { Side, type SideChange, type SideParts } from './side.ts';
import { directions, type Subject } from './subject.ts';
import type { RowChange, SubjectChange } from './update.ts';

type FloorsByNamespace = Readonly<Record<Direction, Map<string | null, Floor>>>;

const noChange: SideChange = { rows: [], others: null, flip: false };

/** The sides of all subjects: equal ones are one. */
export class Sides {
  readonly #tables: PortTables;
  readonly #floors: Floors;
  readonly #book: RuleBook;
  readonly #byKey: Readonly<Record<Direction, Map<string, Side>>> = { egress: new Map(), ingress: new Map() };
  readonly #dirty = new Set<Side>();
  /** Sides that somebody left in this round. */
  readonly #left = new Set<Side>();

  constructor(parts: { tables: PortTables; floors: Floors; book: RuleBook }) {
    this.#tables = parts.tables;
    this.#floors = parts.floors;
    this.#book = parts.book;
  }

  markAll(): void {
    for (const direction of directions) for (const side of this.#byKey[direction].values()) side.markAll();
  }

  /** Gives the subjects the sides that are theirs by the memberships of now. */
  place(subjects: Iterable<Subject>, policySet: PolicySet): void {
    const moves = new Map<Side, Map<string, { parts: SideParts; subjects: Subject[] }>>();
    const floors: FloorsByNamespace = { egress: new Map(), ingress: new Map() };
    for (const subject of subjects) {
      const { entry, known } = subject;
      const names = policySet.segments.size === 0 ? [] : segmentNamesOf(entry);
      const segments = names.flatMap((name) => policySet.segments.get(name) ?? []);
      const floorSubject = { entry, known, segments };
      for (const direction of directions) {
        const parts = this.#partsOf(floorSubject, direction, this.#floorOf(floorSubject, direction, policySet, floors));
        const current = subject.sides[direction];
        if (current === null) {
          subject.enter(this.#sideOf(direction, parts));
        } else if (current.parts.key !== parts.key) {
          let targets = moves.get(current);
          if (targets === undefined) moves.set(current, (targets = new Map()));
          const target = targets.get(parts.key);
          if (target === undefined) targets.set(parts.key, { parts, subjects: [subject] });
          else target.subjects.push(subject);
        }
      }
    }
    for (const [side, targets] of moves) {
      for (const { parts, subjects: movers } of targets.values()) this.#move(side, parts, movers);
    }
  }

  /** Workloads in no segment stand where all of their namespace do. */
  #floorOf(subject: FloorSubject, direction: Direction, policySet: PolicySet, made: FloorsByNamespace): Floor {
    const { entry, known, segments } = subject;
    if (!known || segments.length > 0 || entry.kind !== 'identity')
      return this.#floors.of(direction, subject, policySet);
    const namespace = namespaceOf(entry.labels);
    let floor = made[direction].get(namespace);
    if (floor === undefined) made[direction].set(namespace, (floor = this.#floors.of(direction, subject, policySet)));
    return floor;
  }

  #partsOf({ entry, known, segments }: FloorSubject, direction: Direction, floor: Floor): SideParts {
    const isJudged = known && (entry.kind !== 'host' || segments.length > 0);
    const ends = isJudged ? this.#book.endsAbout(entry, direction) : [];
    const ports = direction === 'ingress' ? entry.ports : '';
    return { key: `${floor.number}:${ends.map(({ number }) => number).join()}:${ports}`, floor, ends, ports };
  }

  /** Where everybody moves to a side that is not there, the side itself is changed: most of its tables may stay. */
  #move(side: Side, parts: SideParts, subjects: readonly Subject[]): void {
    const { direction } = side;
    if (side.subjects.length === subjects.length && !this.#byKey[direction].has(parts.key)) {
      this.#change(side, parts);
      return;
    }
    for (const subject of subjects) {
      subject.leave(direction);
      subject.before ??= {};
      subject.before[direction] ??= side;
      subject.enter(this.#sideOf(direction, parts));
    }
    this.#left.add(side);
  }

  #change(side: Side, parts: SideParts): void {
    const before = side.parts;
    this.#byKey[side.direction].delete(before.key);
    this.#byKey[side.direction].set(parts.key, side);
    this.#floors.hold(parts.floor);
    side.parts = parts;
    this.#floors.release(before.floor);
    const [old, now] = [new Set(before.ends), new Set(parts.ends)];
    for (const end of before.ends) {
      if (now.has(end)) continue;
      for (const { far } of end.lists) side.markMembers(far);
      this.#book.detach(end, side);
    }
    for (const end of parts.ends) {
      if (old.has(end)) continue;
      for (const { far } of end.lists) side.markSet(far);
      this.#book.attach(end, side);
    }
  }

  #sideOf(direction: Direction, parts: SideParts): Side {
    let side = this.#byKey[direction].get(parts.key);
    if (side === undefined) {
      side = new Side(direction, parts, this.#dirty);
      this.#byKey[direction].set(parts.key, side);
      this.#floors.hold(parts.floor);
      for (const end of parts.ends) this.#book.attach(end, side);
    }
    return side;
  }

  /** The subject is one no more. */
  remove(subject: Subject): void {
    for (const direction of directions) {
      const side = subject.sides[direction];
      if (side === null) continue;
      subject.leave(direction);
      this.#left.add(side);
    }
  }

  /** Takes sides without subjects out of use. Their tables stay readable until `settle` is over. */
  dropEmpty(): void {
    for (const side of this.#left) {
      if (side.subjects.length > 0) {
        this.#left.delete(side);
        continue;
      }
      this.#byKey[side.direction].delete(side.parts.key);
      this.#dirty.delete(side);
      for (const end of side.parts.ends) this.#book.detach(end, side);
    }
  }

  /** Makes anew what is marked. The changes of the subjects that were placed, or whose sides changed. */
  settle(round: Round, placed: Iterable<Subject>): SubjectChange[] {
    for (const side of this.#dirty) side.settle(round);
    const touched = new Set<Subject>();
    for (const subject of placed) if (subject.isNew || subject.before !== null) touched.add(subject);
    for (const side of this.#dirty) if (side.change !== null) for (const subject of side.subjects) touched.add(subject);
    const differences = new Differences(round);
    const changes: SubjectChange[] = [];
    for (const subject of touched) {
      const change = subjectChange(subject, differences);
      if (change !== null) changes.push(change);
    }
    for (const subject of touched) {
      subject.isNew = false;
      subject.before = null;
    }
    for (const side of this.#dirty) side.change = null;
    this.#dirty.clear();
    for (const side of this.#left) {
      side.release(this.#tables);
      this.#floors.release(side.parts.floor);
    }
    this.#left.clear();
    return changes;
  }
}

function subjectChange(subject: Subject, differences: Differences): SubjectChange | null {
  const { isNew, before } = subject;
  const [egress, ingress] = directions.map((direction) => {
    const side = subject.side(direction);
    if (isNew) return differences.first(side);
    const former = before?.[direction];
    return former === undefined || former === side ? (side.change ?? noChange) : differences.between(former, side);
  }) as [SideChange, SideChange];
  const flip = isNew || egress.flip || ingress.flip;
  if (!flip && egress.rows.length === 0 && ingress.rows.length === 0) return null;
  return { kind: isNew ? 'added' : 'changed', identity: subject.identity, compiled: subject, flip, egress, ingress };
}

/** The tables of a side as changes from nothing. The rows are listed for who asks: most take the tables themselves. */
class FirstTables implements SideChange {
  readonly flip = true;
  readonly #side: Side;

  constructor(side: Side) {
    this.#side = side;
  }

  get rows(): readonly RowChange[] {
    return Array.from(this.#side.rows, ([peer, after]) => ({ peer, before: null, after }));
  }

  get others(): SideChange['others'] {
    return { before: null, after: this.#side.others };
  }
}

/** What subjects see change that go from one side to another in one round, each pair compared once. */
class Differences {
  readonly #round: Round;
  readonly #first = new Map<Side, SideChange>();
  readonly #between = new Map<Side, Map<Side, SideChange>>();

  constructor(round: Round) {
    this.#round = round;
  }

  first(side: Side): SideChange {
    let change = this.#first.get(side);
    if (change === undefined) {
      change = new FirstTables(side);
      this.#first.set(side, change);
    }
    return change;
  }

  between(former: Side, side: Side): SideChange {
    let changes = this.#between.get(former);
    if (changes === undefined) this.#between.set(former, (changes = new Map()));
    let change = changes.get(side);
    if (change === undefined) changes.set(side, (change = this.#compare(former, side)));
    return change;
  }

  #compare(former: Side, side: Side): SideChange {
    const round = this.#round;
    const changed = new Map(former.change?.rows.map(({ peer, before }) => [peer, before]));
    const othersBefore = former.change?.others?.before ?? former.others;
    const rowBefore = (peer: PeerId): PortTable | null =>
      (changed.has(peer) ? changed.get(peer) : former.rows.get(peer)) ?? null;
    const peers = new Set([...former.rows.keys(), ...changed.keys(), ...side.rows.keys()]);
    const rows: RowChange[] = [];
    for (const peer of peers) {
      const [before, after] = [rowBefore(peer), side.rows.get(peer) ?? null];
      if (before !== after) rows.push({ peer, before, after });
    }
    const others = othersBefore === side.others ? null : { before: othersBefore, after: side.others };
    const old = (peer: PeerId): PortTable => rowBefore(peer) ?? othersBefore;
    const now = (peer: PeerId): PortTable => side.rows.get(peer) ?? side.others;
    const candidates = round.addressesMoved
      ? [...peers, ...round.before.keys(), ...round.now.keys()]
      : rows.map(({ peer }) => peer);
    return { rows, others, flip: others !== null || verdictChanged(round, old, now, candidates) };
  }
}
