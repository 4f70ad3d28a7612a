import {
  type CompiledSubject,
  type CidrPeer,
  type IdentityId,
  type Labels,
  type PeerId,
  reservedIdentity,
} from '../model.ts';
import { FewSet } from './few-set.ts';
import { Floors } from './floor.ts';
import { Groups, isSegmentGroup } from './groups.ts';
import { type Answer, type Learnt, LearntPeers } from './learnt.ts';
import { cidrChanges, Networks } from './networks.ts';
import type { OwnEnd } from './own-end.ts';
import { peerSetHas, type PeerSet } from './peer-set.ts';
import {
  type CidrEntry,
  type Group,
  hostEntry,
  type IdentityEntry,
  joinGroup,
  type PeerEntry,
  unknownEntry,
  worldEntry,
} from './peer.ts';
import { Policies } from './policies.ts';
import { PortTables } from './port-table.ts';
import { startRound } from './round.ts';
import { RuleBook } from './rule-book.ts';
import { Selections } from './selections.ts';
import { Sides } from './sides.ts';
import { Subject } from './subject.ts';
import { checkedChange, type CompilerChange, type CompilerUpdate, type SubjectChange } from './update.ts';

/** Tables for the subjects of one host, kept up to date. What it gives out stays readable; maps in it show the latest update. */
export interface Compiler {
  update(change: CompilerChange): CompilerUpdate;
  /**
   * Keeps in mind what workloads learnt by name, until `forget`. The update has at most new rows: an address may be that peer for who
   * learnt it as soon as they are written. Names that no rule asks for make no peer, and may do so later.
   */
  learn(answers: readonly Answer[]): { readonly learnt: readonly Learnt[]; readonly update: CompilerUpdate };
  /** For what `learn` gave, once for each time. The addresses are taken out of the kernel before, then the rows. */
  forget(learnt: readonly Learnt[]): CompilerUpdate;
  /** Some rule knows addresses by one of these names; by any name, where none are given. */
  asksFor(names?: readonly string[]): boolean;
  subject(identity: IdentityId): CompiledSubject | undefined;
  /** The prefixes in use, each as a peer. */
  cidrs(): readonly CidrPeer[];
  sizes(): {
    readonly identities: number;
    readonly rules: number;
    readonly subjects: number;
    readonly portTables: number;
  };
}

export function createCompiler(): Compiler {
  return new IncrementalCompiler();
}

class IncrementalCompiler implements Compiler {
  readonly #tables = new PortTables();
  readonly #floors = new Floors(this.#tables);
  readonly #host = hostEntry();
  readonly #world = worldEntry();
  readonly #selections: Selections;
  readonly #networks: Networks;
  readonly #learnt: LearntPeers;
  readonly #book: RuleBook;
  readonly #policies: Policies;
  readonly #sides: Sides;
  readonly #subjects = new Map<IdentityId, Subject>();
  /** Subjects that may have other sides than before. */
  readonly #unplaced = new Set<Subject>();
  #groupsMade = 0;

  constructor() {
    const listener = (entry: PeerEntry, group: Group): void => this.#membershipChanged(entry, group);
    const onPrefix = (entry: CidrEntry, covering: PeerEntry): void => this.#prefixChanged(entry, covering);
    const nextNumber = (): number => ++this.#groupsMade;
    const hostGroup: Group = { key: 'host', number: nextNumber(), members: new FewSet(), peerSets: new FewSet() };
    joinGroup(this.#host, hostGroup);
    const selections = new Selections({ host: this.#host, listener, nextNumber });
    const networks = new Networks(listener, onPrefix, this.#world);
    const groups = new Groups({ selections, networks, hostGroup, nextNumber });
    const book = new RuleBook({ groups, onEnd: (end) => this.#endChanged(end) });
    this.#selections = selections;
    this.#networks = networks;
    // Where names are looked at, a learnt peer has a row whatever its names are.
    const onPeer = (entry: PeerEntry): void => {
      for (const { peerSets } of groups.names()) this.#mark(entry, peerSets);
    };
    this.#learnt = new LearntPeers({ groups, networks, listener, onPeer });
    this.#book = book;
    this.#sides = new Sides({ tables: this.#tables, floors: this.#floors, book });
    const onPosture = (entry: PeerEntry): void => this.#unplace(entry);
    this.#policies = new Policies({ selections, groups, book, onPosture, onOrder: () => this.#sides.markAll() });
  }

  subject(identity: IdentityId): CompiledSubject | undefined {
    return this.#subjects.get(identity);
  }

  cidrs(): readonly CidrPeer[] {
    return [...this.#networks.entries()].map(({ peer, prefix }) => ({ peer, cidr: prefix.cidr }));
  }

  sizes(): ReturnType<Compiler['sizes']> {
    const { size: identities } = this.#selections;
    const { ruleCount: rules } = this.#policies;
    return { identities, rules, subjects: this.#subjects.size, portTables: this.#tables.size };
  }

  learn(answers: readonly Answer[]): { readonly learnt: readonly Learnt[]; readonly update: CompilerUpdate } {
    const learnt = answers.map((answer) => this.#learnt.hold(answer));
    return { learnt, update: this.#settle({ added: [], removed: [], subjectsRemoved: [] }) };
  }

  asksFor(names?: readonly string[]): boolean {
    return this.#learnt.isAsked(names);
  }

  forget(learnt: readonly Learnt[]): CompilerUpdate {
    for (const one of learnt) this.#learnt.release(one);
    return this.#settle({ added: [], removed: [], subjectsRemoved: [] });
  }

  /** First everything is told what changed and marks what that may touch; then what is marked is made anew. */
  update(change: CompilerChange): CompilerUpdate {
    const checked = checkedChange(change, (identity) => this.#selections.identity(identity) !== undefined);
    const removed = this.#removeIdentities(checked.identitiesRemoved);
    const added = this.#setIdentities(checked.identitiesSet);
    const subjectsRemoved = [...removed, ...checked.subjectsRemoved].filter((identity) =>
      this.#removeSubject(identity),
    );
    if (checked.host !== null) {
      this.#selections.relabelHost(checked.host);
      this.#unplace(this.#host);
    }
    const { policySet } = checked;
    if (policySet !== null && policySet !== this.#policies.policySet) this.#policies.follow(policySet);
    for (const identity of checked.subjectsAdded) this.#addSubject(identity);
    return this.#settle({ added, removed, subjectsRemoved });
  }

  #settle(identities: {
    readonly added: readonly PeerId[];
    readonly removed: readonly PeerId[];
    readonly subjectsRemoved: readonly IdentityId[];
  }): CompilerUpdate {
    this.#sides.place(this.#unplaced, this.#policies.policySet);
    this.#sides.dropEmpty();
    this.#book.sweep();
    const networkChanges = this.#networks.settle();
    const learntChanges = this.#learnt.settle();
    const round = startRound({
      tables: this.#tables,
      order: this.#policies.order,
      selections: this.#selections,
      host: this.#host,
      world: this.#world,
      prefixes: this.#networks.entries(),
      learnt: this.#learnt,
      networkChanges,
      learntChanges,
      identitiesAdded: identities.added,
      identitiesRemoved: identities.removed,
    });
    const subjects: SubjectChange[] = identities.subjectsRemoved
      .filter((identity) => !this.#subjects.has(identity))
      .map((identity) => ({ kind: 'removed', identity }));
    for (const settled of this.#sides.settle(round, this.#unplaced)) subjects.push(settled);
    this.#unplaced.clear();
    this.#floors.sweep();
    this.#tables.sweep();
    return { subjects, cidrs: cidrChanges(networkChanges), learnt: learntChanges.moves };
  }

  #removeIdentities(identities: readonly IdentityId[]): (PeerId & IdentityId)[] {
    const removed: (PeerId & IdentityId)[] = [];
    for (const identity of identities) {
      const entry = this.#selections.identity(identity);
      if (entry === undefined) continue;
      this.#markIdentity(entry, entry.ports);
      this.#selections.removeIdentity(entry);
      removed.push(entry.peer);
    }
    return removed;
  }

  #setIdentities(set: ReadonlyMap<IdentityId, Labels>): (PeerId & IdentityId)[] {
    const added: (PeerId & IdentityId)[] = [];
    for (const [identity, labels] of set) {
      const known = this.#selections.identity(identity);
      if (known === undefined) {
        const entry = this.#selections.addIdentity(identity, labels);
        this.#markIdentity(entry, entry.ports);
        added.push(entry.peer);
      } else {
        const { ports } = known;
        this.#selections.relabel(known, labels);
        if (known.ports !== ports) this.#markIdentity(known, ports || known.ports);
        // A segment's demand of isolation looks at labels that need not be in any selector.
        this.#unplace(known);
      }
    }
    return added;
  }

  #addSubject(identity: IdentityId): void {
    if (this.#subjects.has(identity)) return;
    const entry = this.#subjectEntry(identity);
    if (entry === undefined) throw new Error(`identity ${identity} was checked and is not known`);
    const subject = new Subject(entry, identity !== (reservedIdentity.unknown as number));
    this.#subjects.set(identity, subject);
    this.#unplaced.add(subject);
  }

  #subjectEntry(identity: IdentityId): Subject['entry'] | undefined {
    switch (identity as number) {
      case reservedIdentity.unknown:
        return unknownEntry();
      case reservedIdentity.host:
        return this.#host;
      default:
        return this.#selections.identity(identity);
    }
  }

  #removeSubject(identity: IdentityId): boolean {
    const subject = this.#subjects.get(identity);
    if (subject === undefined) return false;
    this.#sides.remove(subject);
    this.#subjects.delete(identity);
    this.#unplaced.delete(subject);
    return true;
  }

  #unplace(entry: PeerEntry): void {
    const subject = this.#subjectOf(entry);
    if (subject !== undefined) this.#unplaced.add(subject);
  }

  #subjectOf(entry: PeerEntry): Subject | undefined {
    const subject = this.#subjects.get((entry as IdentityEntry).peer);
    return subject?.entry === entry ? subject : undefined;
  }

  /** Rules speak for the members of a set where none did, or none do where some did. */
  #endChanged({ set, sides }: OwnEnd): void {
    for (const subject of this.#subjectsIn(set)) this.#unplaced.add(subject);
    // Whoever left the set in this round is still found here.
    for (const { subjects } of sides) for (const subject of subjects) this.#unplaced.add(subject);
  }

  *#subjectsIn(set: PeerSet): Generator<Subject> {
    let members = 0;
    for (const group of set.groups) members += group.members.size;
    if (set.everybody || this.#subjects.size <= members) {
      for (const subject of this.#subjects.values()) if (peerSetHas(set, subject.entry)) yield subject;
      return;
    }
    for (const group of set.groups) {
      for (const member of group.members) {
        const subject = this.#subjectOf(member);
        if (subject !== undefined) yield subject;
      }
    }
  }

  #membershipChanged(entry: PeerEntry, group: Group): void {
    if (entry.kind === 'cidr') this.#learnt.isStale = true;
    this.#mark(entry, group.peerSets);
    if (group.peerSets.size > 0 || isSegmentGroup(group)) this.#unplace(entry);
  }

  #prefixChanged(entry: CidrEntry, covering: PeerEntry): void {
    this.#learnt.isStale = true;
    this.#markAlike(entry, [entry, covering]);
    // For the host `others` stands for workloads alone: an address has a row whatever it is in.
    this.#subjects.get(hostIdentity)?.sides.ingress?.markPeer(entry);
  }

  #markIdentity(entry: IdentityEntry, ports: string): void {
    this.#markAlike(entry, [entry]);
    // Rules about everybody may ask for its named ports.
    const { everybody } = this.#book;
    if (ports !== '' && everybody !== null) this.#mark(entry, [everybody]);
  }

  /** Marks the peer wherever one of these, or `others`, is in a far end: elsewhere it has no row, and its addresses never had one. */
  #markAlike(entry: PeerEntry, alike: readonly PeerEntry[]): void {
    for (const { groups } of [...alike, this.#selections.others])
      for (const { peerSets } of groups) this.#mark(entry, peerSets);
  }

  #mark(entry: PeerEntry, farEnds: Iterable<PeerSet>): void {
    for (const { seenBy } of farEnds) for (const { own } of seenBy) for (const side of own.sides) side.markPeer(entry);
  }
}

const hostIdentity = reservedIdentity.host as number as IdentityId;
