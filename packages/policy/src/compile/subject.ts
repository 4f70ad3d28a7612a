import type { CompiledSubject, Direction, IdentityId } from '../model.ts';
import type { PolicySet } from '../resolve/policy-set.ts';
import { type Floor, holdFloor, releaseFloor, sameFloor } from './floor.ts';
import { endsOf, type PeerSet, type RuleEntry } from './peer-set.ts';
import type { IdentityEntry } from './peer.ts';
import type { PortTables } from './port-table.ts';
import { type RuleBook, segmentsOfEntry } from './rule-book.ts';
import { type Round, Side } from './side.ts';
import type { SubjectChange } from './update.ts';

export const directions: readonly Direction[] = ['egress', 'ingress'];

/** An identity with tables: its two sides, and which of the rules speak for it. */
export class Subject {
  readonly entry: IdentityEntry;
  readonly sides: Readonly<Record<Direction, Side>>;
  readonly #unknown: boolean;
  readonly #tables: PortTables;
  readonly #book: RuleBook;
  #isNew = true;
  /** Its memberships changed: which rules speak for it must be found anew. */
  rulesDirty = true;
  /** Its segments or what they say changed. */
  floorDirty = false;

  constructor(
    entry: IdentityEntry,
    parts: { unknown: boolean; tables: PortTables; book: RuleBook; policySet: PolicySet },
  ) {
    this.entry = entry;
    this.#unknown = parts.unknown;
    this.#tables = parts.tables;
    this.#book = parts.book;
    const side = (direction: Direction) => new Side(direction, this.#holdFloor(direction, parts.policySet));
    this.sides = { egress: side('egress'), ingress: side('ingress') };
  }

  get identity(): IdentityId {
    return this.entry.peer;
  }

  /** False where its labels are not known: no rule speaks for it. */
  get judged(): boolean {
    return !this.#unknown;
  }

  get compiled(): CompiledSubject {
    return { identity: this.identity, ...this.sides };
  }

  #holdFloor(direction: Direction, policySet: PolicySet): Floor {
    const segments = segmentsOfEntry(this.entry, policySet);
    return holdFloor(this.#tables, direction, { unknown: this.#unknown, labels: this.entry.labels, segments });
  }

  addRule(rule: RuleEntry, direction: Direction): void {
    const side = this.sides[direction];
    const far = side.rules.add(rule);
    if (far !== null) {
      far.users.add(side);
      this.#book.activate(far);
    }
    side.markSet(endsOf(rule, direction).far);
  }

  removeRule(rule: RuleEntry, direction: Direction): void {
    const side = this.sides[direction];
    if (!side.rules.has(rule)) return;
    side.markSet(endsOf(rule, direction).far);
    const far = side.rules.remove(rule);
    if (far === null) return;
    // The set may lose its members before the round ends, so each is noted now.
    for (const group of far.groups) for (const member of group.members) side.markPeer(member);
    far.users.delete(side);
    this.#book.noteUnused(far);
  }

  /** Brings rules and floor in line with the memberships of now. */
  refresh(policySet: PolicySet): void {
    if (this.floorDirty) this.#refreshFloors(policySet);
    if (this.rulesDirty && !this.#unknown) for (const direction of directions) this.#refreshRules(direction);
    this.floorDirty = false;
    this.rulesDirty = false;
  }

  #refreshFloors(policySet: PolicySet): void {
    for (const direction of directions) {
      const side = this.sides[direction];
      const before = side.floor;
      const after = this.#holdFloor(direction, policySet);
      if (!sameFloor(before, after)) side.floor = after;
      releaseFloor(this.#tables, sameFloor(before, after) ? after : before);
    }
  }

  #refreshRules(direction: Direction): void {
    const wanted = new Set<RuleEntry>();
    for (const set of this.#ownSets()) for (const rule of set.rules[direction]) wanted.add(rule);
    for (const rule of this.sides[direction].rules.all()) if (!wanted.has(rule)) this.removeRule(rule, direction);
    for (const rule of wanted) if (!this.sides[direction].rules.has(rule)) this.addRule(rule, direction);
  }

  #ownSets(): Set<PeerSet> {
    const sets = new Set<PeerSet>();
    const everybody = this.#book.everybody();
    if (everybody !== undefined) sets.add(everybody);
    for (const group of this.entry.groups) for (const set of group.peerSets) sets.add(set);
    return sets;
  }

  /** What this round changed, null where nothing. */
  settle(round: Round): SubjectChange | null {
    const kind = this.#isNew ? 'added' : 'changed';
    const unchanged = { rows: [], others: null, flip: false };
    const [egress, ingress] = [this.sides.egress, this.sides.ingress].map((side) =>
      side.dirty ? side.settle(round) : unchanged,
    ) as [ReturnType<Side['settle']>, ReturnType<Side['settle']>];
    const flip = this.#isNew || egress.flip || ingress.flip;
    const changed = flip || egress.rows.length > 0 || ingress.rows.length > 0;
    this.#isNew = false;
    if (!changed) return null;
    return {
      kind,
      identity: this.identity,
      compiled: this.compiled,
      flip,
      egress: { rows: egress.rows, others: egress.others },
      ingress: { rows: ingress.rows, others: ingress.others },
    };
  }

  release(): void {
    for (const direction of directions) {
      const side = this.sides[direction];
      for (const far of side.rules.farEnds()) {
        far.users.delete(side);
        this.#book.noteUnused(far);
      }
      side.release(this.#tables);
      releaseFloor(this.#tables, side.floor);
    }
  }
}
