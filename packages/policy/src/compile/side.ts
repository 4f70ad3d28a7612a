import { type CompiledDirection, type Direction, type PeerId, type PortTable, reservedIdentity } from '../model.ts';
import { type Floor, floorLayers } from './floor.ts';
import { type PeerSet, peerSetHas, type RuleEntry } from './peer-set.ts';
import { type PeerEntry, signatureOf } from './peer.ts';
import type { NumberedVerdict, PortTables } from './port-table.ts';
import { SideRules } from './side-rules.ts';
import type { DirectionChange, RowChange } from './update.ts';

/** What every side needs to know of the rest, for one round of changes. */
export interface Round {
  readonly tables: PortTables;
  /** Which of two rules comes first. */
  readonly precedence: (a: RuleEntry, b: RuleEntry) => number;
  /** Port tables by the rules and the floor that made them; for this round only. */
  readonly made: Map<string, PortTable>;
  readonly unknown: NumberedVerdict;
  readonly others: PeerEntry;
  readonly host: PeerEntry;
  /** Every peer there is, `others` and `unknown` not among them. */
  readonly peers: () => Iterable<PeerEntry>;
  readonly exists: (entry: PeerEntry) => boolean;
  /** Identities that no packet was judged by before this round, and those that none will be judged by after it. */
  readonly identitiesAdded: ReadonlySet<PeerId>;
  readonly identitiesRemoved: ReadonlySet<PeerId>;
  /** For each new prefix the peer that its addresses had before, and for each old one the peer that they have now. */
  readonly coveringBefore: ReadonlyMap<PeerId, PeerId>;
  readonly coveringNow: ReadonlyMap<PeerId, PeerId>;
  /** Whether there are any of these. */
  readonly prefixesChanged: boolean;
}

export interface SideChange extends DirectionChange {
  /** See `SubjectChange.flip`. */
  readonly flip: boolean;
}

/** The tables of one subject in one direction. */
export class Side implements CompiledDirection {
  readonly direction: Direction;
  readonly rules: SideRules;
  readonly #rows = new Map<PeerId, PortTable>();
  readonly #dirtyPeers = new Set<PeerEntry>();
  readonly #dirtySets = new Set<PeerSet>();
  #dirtyAll = true;
  #others: PortTable | null = null;
  #floor: Floor;

  constructor(direction: Direction, floor: Floor) {
    this.direction = direction;
    this.rules = new SideRules(direction);
    this.#floor = floor;
  }

  get rows(): ReadonlyMap<PeerId, PortTable> {
    return this.#rows;
  }

  get others(): PortTable {
    if (this.#others === null) throw new Error('the tables are read before they were made');
    return this.#others;
  }

  get floor(): Floor {
    return this.#floor;
  }

  set floor(floor: Floor) {
    this.#floor = floor;
    this.#dirtyAll = true;
  }

  get dirty(): boolean {
    return this.#dirtyAll || this.#dirtyPeers.size > 0 || this.#dirtySets.size > 0;
  }

  markAll(): void {
    this.#dirtyAll = true;
  }

  markPeer(entry: PeerEntry): void {
    if (entry.kind === 'others') this.#dirtyAll = true;
    else this.#dirtyPeers.add(entry);
  }

  markSet(set: PeerSet): void {
    if (set.everybody) this.#dirtyAll = true;
    else this.#dirtySets.add(set);
  }

  release(tables: PortTables): void {
    for (const table of this.#rows.values()) tables.release(table);
    if (this.#others !== null) tables.release(this.#others);
  }

  /** Makes the tables anew where something changed, as little of them as that takes. */
  settle(round: Round): SideChange {
    const othersBefore = this.#others;
    if (othersBefore === null) return this.#makeFirst(round);
    const everything = this.#dirtyAll || [...this.#dirtySets].some((set) => peerSetHas(set, round.others));
    const changes = everything ? this.#rebuild(round) : this.#patch(round);
    const others = othersBefore === this.others ? null : { before: othersBefore, after: this.others };
    const flip = others !== null || this.#verdictChanged(round, changes, everything);
    this.#clean();
    return { rows: changes.filter(({ before, after }) => before !== after), others, flip };
  }

  /** As `#rebuild`, without the cost of comparing with nothing. */
  #makeFirst(round: Round): SideChange {
    const wanted = this.#wantedTables(round);
    const rows: RowChange[] = [];
    for (const [peer, after] of wanted) {
      if (after === this.others) continue;
      round.tables.hold(after);
      this.#rows.set(peer, after);
      rows.push({ peer, before: null, after });
    }
    this.#clean();
    return { rows, others: { before: null, after: this.others }, flip: true };
  }

  #clean(): void {
    this.#dirtyAll = false;
    this.#dirtyPeers.clear();
    this.#dirtySets.clear();
  }

  /** Only the peers that something happened to. */
  #patch(round: Round): RowChange[] {
    for (const set of this.#dirtySets) {
      for (const group of set.groups) for (const member of group.members) this.#dirtyPeers.add(member);
    }
    const changes: RowChange[] = [];
    const bySignature = new Map<string, PortTable>();
    for (const entry of this.#dirtyPeers) {
      const table = round.exists(entry) ? this.#tableAbout(round, entry, bySignature) : this.others;
      this.#setRow(round, entry.peer, table, changes);
    }
    return changes;
  }

  #tableAbout(round: Round, entry: PeerEntry, bySignature: Map<string, PortTable>): PortTable {
    const signature = signatureOf(entry);
    let table = bySignature.get(signature);
    if (table === undefined) {
      table = this.#table(round, this.rules.about(entry), entry.kind === 'host');
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
    const { named, rest } = this.rules.byPeer<PortTable>();
    const make = (rules: RuleEntry[]): PortTable => this.#table(round, rules, false);
    const others = (named.get(round.others) ?? rest).made(make);
    round.tables.hold(others);
    if (this.#others !== null) round.tables.release(this.#others);
    this.#others = others;

    const wanted = new Map<PeerId, PortTable>();
    // Peers that no rule names have the table of `rest`; where that is not `others`, each of them needs a row that says so.
    const peers = rest.made(make) === others ? named.keys() : round.peers();
    for (const entry of peers) wanted.set(entry.peer, (named.get(entry) ?? rest).made(make));
    wanted.delete(round.others.peer);
    const aboutHost = (named.get(round.host) ?? rest).rules();
    wanted.set(round.host.peer, this.#table(round, aboutHost, true));
    wanted.set(unknownPeer, round.tables.table([{ tier: '', ports: null, verdict: round.unknown }]));
    return wanted;
  }

  /**
   * Keeps a row only where it says something else than `others`. Where prefixes came or went, unchanged peers are noted too: the
   * addresses behind them may have been another's.
   */
  #setRow(round: Round, peer: PeerId, table: PortTable, changes: RowChange[]): void {
    const before = this.#rows.get(peer) ?? null;
    const after = table === this.others ? null : table;
    if (before !== after || round.prefixesChanged) changes.push({ peer, before, after });
    if (before === after) return;
    if (after === null) {
      this.#rows.delete(peer);
    } else {
      round.tables.hold(after);
      this.#rows.set(peer, after);
    }
    if (before !== null) round.tables.release(before);
  }

  #table(round: Round, rules: readonly RuleEntry[], towardsHost: boolean): PortTable {
    const { blocked, posture } = this.#floor;
    if (blocked !== null) return round.tables.table([{ tier: '', ports: null, verdict: blocked }]);
    const numbers = rules.map(({ number }) => number).sort((a, b) => a - b);
    const key = `${posture.number}${towardsHost ? this.direction : ''}:${numbers.join(',')}`;
    let table = round.made.get(key);
    if (table === undefined) {
      const layers = rules
        .toSorted(round.precedence)
        .map(({ rule, verdict }) => ({ tier: rule.tier, ports: rule.ports, verdict }));
      table = round.tables.table([...layers, ...floorLayers(this.#floor, towardsHost)]);
      round.made.set(key, table);
    }
    return table;
  }

  /** Whether a packet that could be judged before this round, by a peer without change of its own, is judged otherwise now. */
  #verdictChanged(round: Round, changes: readonly RowChange[], everything: boolean): boolean {
    const { coveringBefore, coveringNow, identitiesAdded, identitiesRemoved } = round;
    const lasting = (peer: PeerId): boolean => !identitiesAdded.has(peer) && !identitiesRemoved.has(peer);
    if (!round.prefixesChanged) return changes.some(({ peer }) => lasting(peer));

    const before = new Map(changes.map((change) => [change.peer, change.before]));
    const old = (peer: PeerId): PortTable =>
      (before.has(peer) ? before.get(peer) : this.#rows.get(peer)) ?? this.others;
    const now = (peer: PeerId): PortTable => this.#rows.get(peer) ?? this.others;
    const changed = (peer: PeerId): boolean =>
      lasting(peer) && old(coveringBefore.get(peer) ?? peer) !== now(coveringNow.get(peer) ?? peer);
    if (before.keys().some(changed)) return true;
    // A patch has looked at every prefix that matters here; making all anew only at those that have rows.
    return everything && (coveringBefore.keys().some(changed) || coveringNow.keys().some(changed));
  }
}

const unknownPeer = reservedIdentity.unknown as number as PeerId;
