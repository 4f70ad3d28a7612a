import { type CompiledDirection, type Direction, type PeerId, type PortTable, reservedIdentity } from '../model.ts';
import { type Floor, resolvesNames, withFloor } from './floor.ts';
import type { OwnEnd } from './own-end.ts';
import { membersOf, type PeerSet, peerSetHas } from './peer-set.ts';
import { type PeerEntry, portLabelsOf, signatureOf } from './peer.ts';
import type { PortTables } from './port-table.ts';
import { type Round, verdictChanged } from './round.ts';
import type { RuleEntry } from './rule-entry.ts';
import type { RuleList } from './rule-list.ts';
import type { RuleOrder } from './rule-order.ts';
import { type About, pathsByPeer, rulesAbout, type RulePath } from './rule-path.ts';
import type { Subject } from './subject.ts';
import type { DirectionChange, RowChange } from './update.ts';

export interface SideChange extends DirectionChange {
  /** See `SubjectChange.flip`. */
  readonly flip: boolean;
}

/** What makes a side: subjects with equal parts share one, and its tables. */
export interface SideParts {
  readonly key: string;
  readonly floor: Floor;
  /** The rules that speak for the subjects. */
  readonly ends: readonly OwnEnd[];
  /** What the subjects say about their named ports; empty for egress, where that of the peer counts. */
  readonly ports: string;
}

/** The tables of all subjects on the same floor for whom the same rules speak, in one direction. */
export class Side implements CompiledDirection {
  readonly direction: Direction;
  subjects: Subject[] = [];
  /** What this round did to the tables. */
  change: SideChange | null = null;
  #parts: SideParts;
  #rows = noRows;
  /** Of the compiler: the sides that have something to do. */
  readonly #dirtySides: Set<Side>;
  #dirtyPeers: Set<PeerEntry> | null = null;
  #dirtySets: Set<PeerSet> | null = null;
  #dirtyAll = true;
  #others: PortTable | null = null;
  #learns = false;

  constructor(direction: Direction, parts: SideParts, dirtySides: Set<Side>) {
    this.direction = direction;
    this.#parts = parts;
    this.#dirtySides = dirtySides;
    dirtySides.add(this);
  }

  get parts(): SideParts {
    return this.#parts;
  }

  set parts(parts: SideParts) {
    if (parts.floor !== this.#parts.floor || parts.ports !== this.#parts.ports) this.markAll();
    this.#parts = parts;
  }

  get rows(): ReadonlyMap<PeerId, PortTable> {
    return this.#rows;
  }

  get others(): PortTable {
    if (this.#others === null) throw new Error('the tables are read before they were made');
    return this.#others;
  }

  /** Whether some rule is about addresses that were learnt by name. Others have no rows for learnt peers. */
  get learns(): boolean {
    return this.#learns;
  }

  markAll(): void {
    this.#dirtyAll = true;
    this.#dirtySides.add(this);
  }

  markPeer(entry: PeerEntry): void {
    if (this.#dirtyAll) return;
    if (entry.kind === 'others') this.#dirtyAll = true;
    else (this.#dirtyPeers ??= new Set()).add(entry);
    this.#dirtySides.add(this);
  }

  markSet(set: PeerSet): void {
    if (this.#dirtyAll) return;
    if (set.everybody) this.#dirtyAll = true;
    else (this.#dirtySets ??= new Set()).add(set);
    this.#dirtySides.add(this);
  }

  /** Marks those who are members now, whatever becomes of the set. */
  markMembers(set: PeerSet): void {
    this.#dirtySides.add(this);
    if (set.everybody) this.markAll();
    else for (const member of membersOf(set)) this.markPeer(member);
  }

  release(tables: PortTables): void {
    for (const table of this.#rows.values()) tables.release(table);
    if (this.#others !== null) tables.release(this.#others);
  }

  /** Makes the tables anew where something changed, as little of them as that takes. */
  settle(round: Round): void {
    const othersBefore = this.#others;
    const learns = this.#parts.ends.some(({ looksAtNames }) => looksAtNames);
    const learnsChanged = learns !== this.#learns;
    this.#learns = learns;
    if (othersBefore === null) {
      this.#makeFirst(round);
    } else {
      const everything =
        this.#dirtyAll || learnsChanged || [...(this.#dirtySets ?? [])].some((set) => peerSetHas(set, round.others));
      const changes = everything ? this.#rebuild(round) : this.#patch(round);
      const others = othersBefore === this.others ? null : { before: othersBefore, after: this.others };
      const rows = changes.filter(({ before, after }) => before !== after);
      const flip = others !== null || learnsChanged || this.#flips(round, changes, everything);
      if (flip || rows.length > 0) this.change = { rows, others, flip };
    }
    this.#dirtyAll = false;
    this.#dirtyPeers = null;
    this.#dirtySets = null;
  }

  /** As `#rebuild`, without the cost of comparing with nothing. */
  #makeFirst(round: Round): void {
    const wanted = this.#wantedTables(round);
    for (const [peer, table] of wanted) {
      if (table === this.others) wanted.delete(peer);
      else round.tables.hold(table);
    }
    this.#rows = wanted;
  }

  /** Only the peers that something happened to. */
  #patch(round: Round): RowChange[] {
    const dirty = this.#dirtyPeers ?? new Set<PeerEntry>();
    for (const set of this.#dirtySets ?? []) for (const member of membersOf(set)) dirty.add(member);
    const changes: RowChange[] = [];
    const bySignature = new Map<string, PortTable>();
    for (const entry of dirty) {
      const table =
        this.#mayHaveRow(entry) && round.exists(entry) ? this.#tableAbout(round, entry, bySignature) : this.others;
      this.#setRow(round, entry.peer, table, changes);
    }
    return changes;
  }

  #mayHaveRow({ kind }: PeerEntry): boolean {
    return kind !== 'learnt' || this.#learns;
  }

  #tableAbout(round: Round, entry: PeerEntry, bySignature: Map<string, PortTable>): PortTable {
    const signature = signatureOf(entry);
    let table = bySignature.get(signature);
    if (table === undefined) {
      const about = rulesAbout(this.#parts.ends, entry, this.direction === 'egress');
      table = this.#table(round, about, resolvesNames(this.direction, entry.kind));
      bySignature.set(signature, table);
    }
    return table;
  }

  #rebuild(round: Round): RowChange[] {
    const wanted = this.#wantedTables(round);
    const changes: RowChange[] = [];
    for (const peer of this.#rows.keys()) if (!wanted.has(peer)) this.#setRow(round, peer, this.others, changes);
    for (const [peer, table] of wanted) this.#setRow(round, peer, table, changes);
    return changes;
  }

  /** Makes `others`, and the table of every peer that may need a row. */
  #wantedTables(round: Round): Map<PeerId, PortTable> {
    const { direction } = this;
    const withPorts = direction === 'egress' ? round.withPorts : [];
    const { named, rest } = pathsByPeer<PortTable>(this.#parts.ends, withPorts);
    const made = (path: RulePath<PortTable>, kind: PeerEntry['kind']): PortTable => {
      const resolves = resolvesNames(direction, kind);
      return path.made((about) => this.#table(round, about, resolves), resolves);
    };
    const others = made(named.get(round.others) ?? rest, 'others');
    round.tables.hold(others);
    if (this.#others !== null) round.tables.release(this.#others);
    this.#others = others;

    const wanted = new Map<PeerId, PortTable>();
    const want = (entries: Iterable<PeerEntry>): void => {
      for (const entry of entries)
        if (this.#mayHaveRow(entry)) wanted.set(entry.peer, made(named.get(entry) ?? rest, entry.kind));
    };
    want(named.keys());
    // Peers that no rule names have the table of `rest`; where that is not `others`, each of them needs a row that says so.
    if (made(rest, 'identity') !== others) want(round.identities());
    if (made(rest, 'world') !== others) want(round.outside());
    wanted.delete(round.others.peer);
    wanted.set(round.host.peer, made(named.get(round.host) ?? rest, 'host'));
    wanted.set(unknownPeer, round.tables.single(this.#parts.floor.unknown));
    return wanted;
  }

  /**
   * Keeps a row only where it says something else than `others`. Where prefixes came or went, unchanged peers are noted too: the
   * addresses behind them may have been another's.
   */
  #setRow(round: Round, peer: PeerId, table: PortTable, changes: RowChange[]): void {
    const before = this.#rows.get(peer) ?? null;
    const after = table === this.others ? null : table;
    if (before !== after || round.addressesMoved) changes.push({ peer, before, after });
    if (before === after) return;
    if (after === null) {
      this.#rows.delete(peer);
    } else {
      round.tables.hold(after);
      this.#rows.set(peer, after);
    }
    if (before !== null) round.tables.release(before);
  }

  #table(round: Round, { lists, ports }: About, resolves: boolean): PortTable {
    const { floor, ports: ownPorts } = this.#parts;
    if (floor.blocked !== null) return round.tables.single(floor.blocked);
    const first = floor.guard === null ? firstEffective(lists, round.order) : null;
    // What stands before all else and is about everything needs no painting.
    const all = first?.rule.ports === null ? first.verdict(round.tables) : null;
    if (all !== null) return round.tables.single(all);
    const numbers =
      lists.length < 2
        ? (lists[0]?.number ?? '')
        : lists
            .map(({ number }) => number)
            .sort(ascending)
            .join();
    const key = `${floor.number}${resolves ? 'r' : ''}:${numbers}:${ports}${ownPorts}`;
    let table = round.made.get(key);
    if (table === undefined) {
      const rules = lists.flatMap((list) => list.effective(round.order));
      if (lists.length > 1) rules.sort(round.order.compare);
      const layers = round.order.layers(rules, portLabelsOf(ports || ownPorts), round.tables);
      table = round.tables.table(withFloor(floor, layers, resolves));
      round.made.set(key, table);
    }
    return table;
  }

  #flips(round: Round, changes: readonly RowChange[], everything: boolean): boolean {
    const before = new Map(changes.map((change) => [change.peer, change.before]));
    const old = (peer: PeerId): PortTable =>
      (before.has(peer) ? before.get(peer) : this.#rows.get(peer)) ?? this.others;
    const now = (peer: PeerId): PortTable => this.#rows.get(peer) ?? this.others;
    if (verdictChanged(round, old, now, before.keys())) return true;
    // A patch has looked at every prefix that matters here; making all anew only at those that have rows.
    return (
      everything &&
      (verdictChanged(round, old, now, round.before.keys()) || verdictChanged(round, old, now, round.now.keys()))
    );
  }
}

/** The rule before all others; null where there are too many lists for a look at each to be worth it, or none. */
function firstEffective(lists: readonly RuleList[], order: RuleOrder): RuleEntry | null {
  if (lists.length > fewLists) return null;
  let first: RuleEntry | null = null;
  for (const list of lists) {
    const candidate = list.first(order);
    if (candidate !== undefined && (first === null || order.compare(candidate, first) < 0)) first = candidate;
  }
  return first === null || order.isOutranked(first.rule) ? null : first;
}

/** Of a side whose tables are not made yet. */
const noRows = new Map<PeerId, PortTable>();
const fewLists = 4;
const unknownPeer = reservedIdentity.unknown as number as PeerId;
const ascending = (a: number, b: number): number => a - b;
