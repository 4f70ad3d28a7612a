import {
  type CompiledSubject,
  type CidrPeer,
  type IdentityId,
  type Labels,
  type PeerId,
  reservedIdentity,
} from '../model.ts';
import { builtin } from '../decide/decide.ts';
import type { Tier } from '../resolve/precedence.ts';
import { emptyPolicySet, type PolicySet } from '../resolve/policy-set.ts';
import { type ResolvedRule, sameRule } from '../resolve/rule.ts';
import { changedPolicies, policyRules } from '../resolve/rules-in-order.ts';
import { Floors } from './floor.ts';
import { Networks } from './networks.ts';
import type { OwnEnd } from './own-end.ts';
import { peerSetHas, type PeerSet, type RuleEntry } from './peer-set.ts';
import { type CidrEntry, fixedPeer, type Group, joinGroup, type PeerEntry, unknownEntry } from './peer.ts';
import { PortTables } from './port-table.ts';
import { startRound } from './round.ts';
import { isSegmentGroup, RuleBook } from './rule-book.ts';
import { Selections } from './selections.ts';
import { Sides } from './sides.ts';
import { Subject } from './subject.ts';
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
  readonly #floors = new Floors(this.#tables);
  readonly #host = fixedPeer('host', reservedIdentity.host);
  readonly #world = fixedPeer('world', reservedIdentity.world);
  readonly #selections: Selections;
  readonly #networks: Networks;
  readonly #book: RuleBook;
  readonly #sides: Sides;
  readonly #unknownVerdict = this.#tables.holdVerdict(builtin('deny', 'unknown'));
  readonly #rulesByPolicy = new Map<string, readonly RuleEntry[]>();
  readonly #subjects = new Map<IdentityId, Subject>();
  /** Subjects that may have other sides than before. */
  readonly #unplaced = new Set<Subject>();
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
      onEnd: (end) => this.#endChanged(end),
    });
    this.#sides = new Sides({ tables: this.#tables, floors: this.#floors, book: this.#book });
  }

  subject(identity: IdentityId): CompiledSubject | undefined {
    return this.#subjects.get(identity);
  }

  cidrs(): readonly CidrPeer[] {
    return [...this.#networks.entries()].map(({ peer, prefix }) => ({ peer, cidr: prefix.cidr }));
  }

  sizes(): ReturnType<Compiler['sizes']> {
    let rules = 0;
    for (const entries of this.#rulesByPolicy.values()) rules += entries.length;
    const { size: identities } = this.#selections;
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

    this.#sides.place(this.#unplaced, this.#policySet);
    this.#sides.dropEmpty();
    this.#book.sweep();
    const networks = this.#networks.settle();
    const round = startRound({
      tables: this.#tables,
      tiers: this.#tiers,
      selections: this.#selections,
      fixed: { host: this.#host, world: this.#world, unknown: this.#unknownVerdict },
      prefixes: this.#networks.entries(),
      networks,
      identitiesAdded,
      identitiesRemoved,
    });
    const changes: SubjectChange[] = removed
      .filter((identity) => !this.#subjects.has(identity))
      .map((identity) => ({ kind: 'removed', identity }));
    for (const settled of this.#sides.settle(round, this.#unplaced)) changes.push(settled);
    this.#unplaced.clear();
    this.#floors.sweep();
    this.#tables.sweep();
    return { subjects: changes, cidrs: { added: cidrChanges(networks.added), removed: cidrChanges(networks.removed) } };
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
      if (isNew) {
        this.#markPeer(entry, [entry]);
        added.push(entry.peer);
      } else {
        // A segment's demand of isolation looks at labels that need not be in any selector.
        this.#unplace(entry);
      }
    }
    return added;
  }

  #addSubject(identity: IdentityId): void {
    if (this.#subjects.has(identity)) return;
    const unknown = identity === (reservedIdentity.unknown as number);
    const entry = unknown ? unknownEntry() : this.#selections.identity(identity);
    if (entry === undefined) throw new Error(`identity ${identity} was checked and is not known`);
    const subject = new Subject(entry, !unknown);
    this.#subjects.set(identity, subject);
    this.#unplaced.add(subject);
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
    if (entry.kind !== 'identity') return;
    const subject = this.#subjects.get(entry.peer as PeerId & IdentityId);
    if (subject !== undefined) this.#unplaced.add(subject);
  }

  #setPolicySet(after: PolicySet): void {
    const before = this.#policySet;
    this.#policySet = after;
    this.#setTiers(after);
    if (before.segments !== after.segments) {
      for (const [name, segment] of after.segments) {
        if (before.segments.get(name) === segment) continue;
        for (const member of this.#book.setSegment(segment).members) this.#unplace(member);
      }
    }
    for (const policy of changedPolicies(before, after)) this.#setRules(policy, policyRules(after, policy));
    if (before.segments === after.segments) return;
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
    this.#book.reorder();
    this.#sides.markAll();
  }

  /** Gives a policy other rules. Those that say the same as before at the same place stay. */
  #setRules(policy: string, rules: readonly ResolvedRule[]): void {
    const before = this.#rulesByPolicy.get(policy) ?? [];
    const byName = before.length === 0 ? null : new Map(before.map((entry) => [entry.rule.name, entry]));
    const after = rules.map((rule, index) => {
      const known = before[index];
      return known !== undefined && sameRule(known.rule, rule)
        ? known
        : this.#book.addRule(rule, byName?.get(rule.name));
    });
    for (const [index, entry] of before.entries()) if (after[index] !== entry) this.#book.removeRule(entry);
    if (after.length === 0) this.#rulesByPolicy.delete(policy);
    else this.#rulesByPolicy.set(policy, after);
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
      for (const subject of this.#subjects.values())
        if (subject.judged && peerSetHas(set, subject.entry)) yield subject;
      return;
    }
    for (const group of set.groups) {
      for (const member of group.members) {
        const subject = this.#subjects.get(member.peer as PeerId & IdentityId);
        if (subject !== undefined && subject.entry === member) yield subject;
      }
    }
  }

  #membershipChanged(entry: PeerEntry, group: Group): void {
    for (const { seenBy } of group.peerSets) {
      for (const { sides } of seenBy) for (const side of sides) side.markPeer(entry);
    }
    if (group.peerSets.size > 0 || isSegmentGroup(group)) this.#unplace(entry);
  }

  /** Marks the peer wherever one of these, or `others`, is in a far end: elsewhere it has no row, and its addresses never had one. */
  #markPeer(entry: PeerEntry, alike: readonly PeerEntry[]): void {
    for (const { groups } of [...alike, this.#selections.others]) {
      for (const { peerSets } of groups) {
        for (const { seenBy } of peerSets)
          for (const { sides } of seenBy) for (const side of sides) side.markPeer(entry);
      }
    }
  }
}

function cidrChanges(changes: ReadonlyMap<PeerEntry, PeerEntry>): CidrChange[] {
  return [...(changes as ReadonlyMap<CidrEntry, PeerEntry>)].map(([{ peer, prefix }, covering]) => ({
    cidr: prefix.cidr,
    peer,
    covering: covering.peer,
  }));
}
