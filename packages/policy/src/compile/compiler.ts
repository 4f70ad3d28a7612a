import {
  type CompiledSubject,
  type CidrPeer,
  type IdentityId,
  type Labels,
  type PeerId,
  reservedIdentity,
} from '../model.ts';
import { builtin } from '../decide/decide.ts';
import { compareRules, type Tier } from '../resolve/precedence.ts';
import { changedPolicies, emptyPolicySet, type PolicySet } from '../resolve/policy-set.ts';
import { type ResolvedRule, rulesOf, sameRule } from '../resolve/rule.ts';
import { type NetworkChanges, Networks } from './networks.ts';
import { endsOf, peerSetHas, type RuleEntry } from './peer-set.ts';
import { type CidrEntry, fixedPeer, type Group, joinGroup, type PeerEntry, unknownEntry } from './peer.ts';
import { PortTables } from './port-table.ts';
import { isSegmentGroup, RuleBook } from './rule-book.ts';
import { Selections } from './selections.ts';
import type { Round } from './side.ts';
import { directions, Subject } from './subject.ts';
import {
  checkedChange,
  type CidrChange,
  type CompilerChange,
  type CompilerUpdate,
  type SubjectChange,
} from './update.ts';

/** Tables for the subjects of one host, kept up to date. What it gives out stays readable; maps in it show the latest update. */
export interface Compiler {
  update(change: CompilerChange): CompilerUpdate;
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
  readonly #host = fixedPeer('host', reservedIdentity.host);
  readonly #world = fixedPeer('world', reservedIdentity.world);
  readonly #selections: Selections;
  readonly #networks: Networks;
  readonly #book: RuleBook;
  readonly #unknownVerdict = this.#tables.holdVerdict(builtin('deny', 'unknown'));
  readonly #rulesByPolicy = new Map<string, readonly RuleEntry[]>();
  readonly #subjects = new Map<IdentityId, Subject>();
  readonly #subjectOf = new Map<PeerEntry, Subject>();
  #tiers: ReadonlyMap<string, Tier> = new Map();
  #policySet: PolicySet = emptyPolicySet;

  constructor() {
    const onMembership = (entry: PeerEntry, group: Group): void => this.#membershipChanged(entry, group);
    const onPrefix = (entry: CidrEntry, covering: PeerEntry): void => this.#markPeer(entry, [entry, covering]);
    const hostGroup: Group = { key: 'host', number: 0, members: new Set(), peerSets: new Set() };
    joinGroup(this.#host, hostGroup);
    this.#selections = new Selections(onMembership);
    this.#networks = new Networks(onMembership, onPrefix, this.#world);
    this.#book = new RuleBook({
      selections: this.#selections,
      networks: this.#networks,
      tables: this.#tables,
      hostGroup,
    });
  }

  subject(identity: IdentityId): CompiledSubject | undefined {
    return this.#subjects.get(identity)?.compiled;
  }

  cidrs(): readonly CidrPeer[] {
    return [...this.#networks.entries()].map(({ peer, prefix }) => ({ peer, cidr: prefix.cidr }));
  }

  sizes(): ReturnType<Compiler['sizes']> {
    let rules = 0;
    for (const entries of this.#rulesByPolicy.values()) rules += entries.length;
    const identities = [...this.#selections.identities()].length;
    return { identities, rules, subjects: this.#subjects.size, portTables: this.#tables.size };
  }

  /** First everything is told what changed and marks what that may touch; then what is marked is made anew. */
  update(change: CompilerChange): CompilerUpdate {
    const checked = checkedChange(change, (identity) => this.#selections.identity(identity) !== undefined);
    const identitiesRemoved = this.#removeIdentities(checked.identitiesRemoved);
    const identitiesAdded = this.#setIdentities(checked.identitiesSet);
    const removed = [...identitiesRemoved, ...checked.subjectsRemoved].filter((identity) =>
      this.#removeSubject(identity),
    );
    if (checked.policySet !== null && checked.policySet !== this.#policySet) this.#setPolicySet(checked.policySet);
    for (const identity of checked.subjectsAdded) this.#addSubject(identity);
    for (const subject of this.#subjects.values()) subject.refresh(this.#policySet);
    this.#book.sweep();
    const networks = this.#networks.settle();

    const round = this.#round(networks, new Set<PeerId>(identitiesAdded), new Set<PeerId>(identitiesRemoved));
    const changes: SubjectChange[] = removed
      .filter((identity) => !this.#subjects.has(identity))
      .map((identity) => ({ kind: 'removed', identity }));
    for (const subject of this.#subjects.values()) {
      const settled = subject.settle(round);
      if (settled !== null) changes.push(settled);
    }
    this.#tables.sweep();
    return { subjects: changes, cidrs: { added: cidrChanges(networks.added), removed: cidrChanges(networks.removed) } };
  }

  #round(
    networks: NetworkChanges,
    identitiesAdded: ReadonlySet<PeerId>,
    identitiesRemoved: ReadonlySet<PeerId>,
  ): Round {
    const tiers = this.#tiers;
    const selections = this.#selections;
    const [host, world, prefixes] = [this.#host, this.#world, this.#networks.entries()];
    return {
      tables: this.#tables,
      precedence: (a, b) => compareRules(tiers, a.rule, b.rule),
      made: new Map(),
      unknown: this.#unknownVerdict,
      others: selections.others,
      host,
      *peers() {
        yield world;
        yield* selections.identities();
        yield* prefixes;
      },
      exists: (entry) =>
        entry === host ||
        entry === world ||
        prefixes.has(entry as CidrEntry) ||
        selections.identity(entry.peer) === entry,
      identitiesAdded,
      identitiesRemoved,
      coveringBefore: peerNumbers(networks.added),
      coveringNow: peerNumbers(networks.removed),
      prefixesChanged: networks.added.size + networks.removed.size > 0,
    };
  }

  #removeIdentities(identities: readonly IdentityId[]): (PeerId & IdentityId)[] {
    const removed: (PeerId & IdentityId)[] = [];
    for (const identity of identities) {
      const entry = this.#selections.identity(identity);
      if (entry === undefined) continue;
      this.#markPeer(entry, [entry]);
      this.#selections.removeIdentity(identity);
      removed.push(entry.peer);
    }
    return removed;
  }

  #setIdentities(set: ReadonlyMap<IdentityId, Labels>): (PeerId & IdentityId)[] {
    const added: (PeerId & IdentityId)[] = [];
    for (const [identity, labels] of set) {
      const { entry, isNew } = this.#selections.setIdentity(identity, labels);
      const subject = this.#subjectOf.get(entry);
      // A segment's demand of isolation looks at labels that need not be in any selector.
      if (subject !== undefined) subject.floorDirty = true;
      if (!isNew) continue;
      this.#markPeer(entry, [entry]);
      added.push(entry.peer);
    }
    return added;
  }

  #addSubject(identity: IdentityId): void {
    if (this.#subjects.has(identity)) return;
    const unknown = identity === (reservedIdentity.unknown as number);
    const entry = unknown ? unknownEntry() : this.#selections.identity(identity);
    if (entry === undefined) throw new Error(`identity ${identity} was checked and is not known`);
    const subject = new Subject(entry, { unknown, tables: this.#tables, book: this.#book, policySet: this.#policySet });
    this.#subjects.set(identity, subject);
    this.#subjectOf.set(entry, subject);
  }

  #removeSubject(identity: IdentityId): boolean {
    const subject = this.#subjects.get(identity);
    if (subject === undefined) return false;
    subject.release();
    this.#subjects.delete(identity);
    this.#subjectOf.delete(subject.entry);
    return true;
  }

  #setPolicySet(after: PolicySet): void {
    const before = this.#policySet;
    this.#policySet = after;
    this.#setTiers(after);
    for (const [name, segment] of after.segments) {
      if (before.segments.get(name) === segment) continue;
      this.#book.setSegment(segment);
      for (const subject of this.#subjects.values()) subject.floorDirty = true;
    }
    for (const name of changedPolicies(before, after)) {
      const document = after.documents.Policy.get(name);
      this.#setRules(name, document === undefined ? [] : rulesOf(document));
    }
    // Peer sets of rules that are gone still hold the segments' groups: first they go.
    this.#book.sweep();
    for (const name of before.segments.keys()) if (!after.segments.has(name)) this.#book.removeSegment(name);
  }

  #setTiers(set: PolicySet): void {
    const before = this.#tiers;
    this.#tiers = new Map(set.tiers.map((tier) => [tier.name, tier]));
    const same =
      before.size === this.#tiers.size &&
      set.tiers.every(({ name, position, order }) => {
        const tier = before.get(name);
        return tier?.position === position && tier.order === order;
      });
    if (same) return;
    for (const subject of this.#subjects.values())
      for (const direction of directions) subject.sides[direction].markAll();
  }

  /** Gives a policy other rules. Those that say the same as before at the same place stay. */
  #setRules(policy: string, rules: readonly ResolvedRule[]): void {
    const before = this.#rulesByPolicy.get(policy) ?? [];
    const byName = before.length === 0 ? null : new Map(before.map((entry) => [entry.rule.name, entry]));
    const after = rules.map((rule, index) => {
      const known = before[index];
      return known !== undefined && sameRule(known.rule, rule) ? known : this.#addRule(rule, byName?.get(rule.name));
    });
    for (const [index, entry] of before.entries()) if (after[index] !== entry) this.#removeRule(entry);
    if (after.length === 0) this.#rulesByPolicy.delete(policy);
    else this.#rulesByPolicy.set(policy, after);
  }

  #addRule(rule: ResolvedRule, former: RuleEntry | undefined): RuleEntry {
    const entry = this.#book.addRule(rule, former);
    for (const direction of directions) {
      if (rule[direction])
        for (const subject of this.#subjectsIn(endsOf(entry, direction).own)) subject.addRule(entry, direction);
    }
    return entry;
  }

  #removeRule(entry: RuleEntry): void {
    // A subject that left the rule's end in this very round is not found here, but refreshed later.
    for (const direction of directions) {
      for (const subject of this.#subjectsIn(endsOf(entry, direction).own)) subject.removeRule(entry, direction);
    }
    this.#book.removeRule(entry);
  }

  *#subjectsIn(set: RuleEntry['from']): Generator<Subject> {
    let members = 0;
    for (const group of set.groups) members += group.members.size;
    if (set.everybody || this.#subjects.size <= members) {
      for (const subject of this.#subjects.values())
        if (subject.judged && peerSetHas(set, subject.entry)) yield subject;
      return;
    }
    for (const group of set.groups) {
      for (const member of group.members) {
        const subject = this.#subjectOf.get(member);
        if (subject !== undefined) yield subject;
      }
    }
  }

  #membershipChanged(entry: PeerEntry, group: Group): void {
    for (const { users } of group.peerSets) for (const side of users) side.markPeer(entry);
    const subject = this.#subjectOf.get(entry);
    if (subject === undefined) return;
    if (group.peerSets.size > 0) subject.rulesDirty = true;
    if (isSegmentGroup(group)) subject.floorDirty = true;
  }

  /** Marks the peer wherever one of these, or `others`, is in a far end: elsewhere it has no row, and its addresses never had one. */
  #markPeer(entry: PeerEntry, alike: readonly PeerEntry[]): void {
    for (const { groups } of [...alike, this.#selections.others]) {
      for (const { peerSets } of groups)
        for (const { users } of peerSets) for (const side of users) side.markPeer(entry);
    }
  }
}

function peerNumbers(entries: ReadonlyMap<PeerEntry, PeerEntry>): Map<PeerId, PeerId> {
  return new Map([...entries].map(([{ peer }, covering]) => [peer, covering.peer]));
}

function cidrChanges(changes: ReadonlyMap<PeerEntry, PeerEntry>): CidrChange[] {
  return [...(changes as ReadonlyMap<CidrEntry, PeerEntry>)].map(([{ peer, prefix }, covering]) => ({
    cidr: prefix.cidr,
    peer,
    covering: covering.peer,
  }));
}
