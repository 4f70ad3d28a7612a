import { type IdentityId, type Labels, namespaceLabel, type PeerId, reservedIdentity } from '../model.ts';
import { namespaceOf, type Namespaces } from '../resolve/namespace.ts';
import type { Selector } from '../select/selector.ts';
import { FewSet } from './few-set.ts';
import { NamespaceScopes, type Scope } from './namespaces.ts';
import type { PeerSet } from './peer-set.ts';
import {
  type Group,
  type HostEntry,
  type IdentityEntry,
  joinGroup,
  leaveGroup,
  type MembershipListener,
  type PeerEntry,
  portLabels,
} from './peer.ts';
import { fewestPairs, labelTerms, type Term, TermIndex } from './term-index.ts';

/** Whom a group selects by labels. */
export interface Selection {
  /** Null where it selects no workloads. */
  readonly workloads: WorkloadSelection | null;
  /** Whether it selects this machine, by the machine's labels; null where it selects none. */
  readonly host: ((labels: Labels) => boolean) | null;
}

export interface WorkloadSelection {
  /** Those in the namespaces that this selects; null where the namespace has no say, or is among `terms`. */
  readonly namespaces: Selector | null;
  /** For each label that is demanded: the terms that would satisfy it. */
  terms(): readonly (readonly Term[])[];
  /** Everything but `namespaces`. */
  matches(labels: Labels): boolean;
}

export interface SelectionGroup extends Group {
  selection: Selection;
  /** Where it stands in the index of groups: that of `scope`, else the one for all. */
  scope: Scope<SelectionGroup> | null;
  terms: readonly Term[] | null;
}

/**
 * Identities and the groups that select them, both ways round and kept up to date. A label that a selector demands leads from an
 * identity to the few selectors that may match it, and from a selector to the few identities, so that neither side scans the other.
 */
export class Selections {
  readonly #identities = new Map<number, IdentityEntry>();
  readonly #entries = new TermIndex<IdentityEntry>();
  readonly #groups = new Map<string, SelectionGroup>();
  readonly #groupsByTerm = new TermIndex<SelectionGroup>();
  readonly #hostGroups = new Set<SelectionGroup>();
  readonly #scopes = new NamespaceScopes<SelectionGroup>((scope, name) => this.#scopeChanged(scope, name));
  readonly #host: HostEntry;
  readonly #listener: MembershipListener;
  readonly #nextNumber: () => number;
  /** Stands for every workload that no selector names by a label: a workload without labels. Its table is `others`. */
  readonly others: IdentityEntry;
  /** The workloads that say what some port of theirs is named. */
  readonly withPorts = new Set<IdentityEntry>();

  constructor(parts: { host: HostEntry; listener: MembershipListener; nextNumber: () => number }) {
    this.#host = parts.host;
    this.#listener = parts.listener;
    this.#nextNumber = parts.nextNumber;
    const peer = reservedIdentity.any as PeerId & IdentityId;
    this.others = { peer, kind: 'others', labels: {}, ports: '', groups: new FewSet(), signature: null };
  }

  get size(): number {
    return this.#identities.size;
  }

  identities(): IterableIterator<IdentityEntry> {
    return this.#identities.values();
  }

  identity(id: number): IdentityEntry | undefined {
    return this.#identities.get(id);
  }

  /** The workloads of a Kubernetes namespace. */
  inNamespace(name: string): Iterable<IdentityEntry> {
    return this.#entries.under(`${namespaceLabel}=${name}`);
  }

  /** Adds an identity that is not known. */
  addIdentity(id: IdentityId, labels: Labels): IdentityEntry {
    const ports = portLabels(labels);
    const peer = id as PeerId & IdentityId;
    const entry: IdentityEntry = { peer, kind: 'identity', labels, ports, groups: new FewSet(), signature: null };
    this.#identities.set(id, entry);
    this.#enter(entry);
    for (const group of this.#groupsSelecting(labels)) joinGroup(entry, group);
    return entry;
  }

  removeIdentity(entry: IdentityEntry): void {
    this.#identities.delete(entry.peer);
    this.#withdraw(entry);
    for (const group of entry.groups) leaveGroup(entry, group);
  }

  relabel(entry: IdentityEntry, labels: Labels): void {
    this.#withdraw(entry);
    entry.labels = labels;
    entry.ports = portLabels(labels);
    entry.signature = null;
    this.#enter(entry);
    this.#regroup(entry, new Set<Group>(this.#groupsSelecting(labels)));
  }

  relabelHost(labels: Labels): void {
    this.#host.labels = labels;
    for (const group of this.#hostGroups) {
      const selected = group.selection.host?.(labels) === true;
      if (selected !== group.members.has(this.#host)) this.#change(this.#host, group, selected);
    }
  }

  /** Other labels of namespaces. */
  setNamespaces(namespaces: Namespaces, changed: Iterable<string>): void {
    this.#scopes.redefine(namespaces, changed);
  }

  #enter(entry: IdentityEntry): void {
    this.#entries.add(entry, labelTerms(entry.labels));
    if (entry.ports !== '') this.withPorts.add(entry);
    const namespace = namespaceOf(entry.labels);
    if (namespace !== null) this.#scopes.enter(namespace);
  }

  #withdraw(entry: IdentityEntry): void {
    this.#entries.delete(entry, labelTerms(entry.labels));
    this.withPorts.delete(entry);
    const namespace = namespaceOf(entry.labels);
    if (namespace !== null) this.#scopes.leave(namespace);
  }

  group(key: string): SelectionGroup | undefined {
    return this.#groups.get(key);
  }

  /** The group of that key with this selection; a known group is changed to it. */
  setGroup(key: string, selection: Selection): SelectionGroup {
    let group = this.#groups.get(key);
    if (group === undefined) {
      const [members, peerSets] = [new FewSet<PeerEntry>(), new FewSet<PeerSet>()];
      group = { key, number: this.#nextNumber(), selection, scope: null, terms: null, members, peerSets };
      this.#groups.set(key, group);
    } else {
      this.#unindex(group);
    }
    group.selection = selection;
    this.#index(group);
    if (group.members.size === 0) {
      for (const entry of this.#entriesSelected(group)) if (!group.members.has(entry)) this.#change(entry, group, true);
      return group;
    }
    const after = new Set<PeerEntry>(this.#entriesSelected(group));
    for (const entry of group.members) if (!after.has(entry)) this.#change(entry, group, false);
    for (const entry of after) if (!group.members.has(entry)) this.#change(entry, group, true);
    return group;
  }

  /** Forgets a group that no peer set has. */
  removeGroup(group: SelectionGroup): void {
    this.#unindex(group);
    this.#groups.delete(group.key);
    for (const entry of group.members) this.#change(entry, group, false);
  }

  #scopeChanged(scope: Scope<SelectionGroup>, namespace: string): void {
    for (const entry of this.inNamespace(namespace)) {
      // Only groups of this scope can differ.
      const candidates = new Set(scope.groups.underAny(labelTerms(entry.labels)));
      for (const group of candidates) {
        const selected = scope.names.has(namespace) && group.selection.workloads?.matches(entry.labels) === true;
        if (selected !== group.members.has(entry)) this.#change(entry, group, selected);
      }
    }
  }

  #regroup(entry: PeerEntry, after: ReadonlySet<Group>): void {
    for (const group of entry.groups) if (!after.has(group)) this.#change(entry, group, false);
    for (const group of after) if (!entry.groups.has(group)) this.#change(entry, group, true);
  }

  #change(entry: PeerEntry, group: Group, joins: boolean): void {
    if (joins) joinGroup(entry, group);
    else leaveGroup(entry, group);
    this.#listener(entry, group);
  }

  *#groupsSelecting(labels: Labels): Generator<SelectionGroup> {
    if (this.#groups.size === 0) return;
    const terms = [...labelTerms(labels)];
    for (const group of this.#groupsByTerm.underAny(terms))
      if (group.selection.workloads?.matches(labels) === true) yield group;
    const namespace = namespaceOf(labels);
    if (namespace === null) return;
    for (const scope of this.#scopes.scopesOf(namespace)) {
      for (const group of scope.groups.underAny(terms))
        if (group.selection.workloads?.matches(labels) === true) yield group;
    }
  }

  *#entriesSelected({ selection, scope, terms }: SelectionGroup): Generator<PeerEntry> {
    if (selection.host?.(this.#host.labels) === true) yield this.#host;
    const { workloads } = selection;
    if (workloads === null) return;
    for (const entry of this.#candidates(scope, terms)) {
      const inScope = scope === null || scope.names.has(namespaceOf(entry.labels) ?? '');
      if (inScope && workloads.matches(entry.labels)) yield entry;
    }
    if (scope === null && workloads.matches(this.others.labels)) yield this.others;
  }

  /** The workloads among which those are that the terms and the scope demand: whichever of both are fewer. */
  *#candidates(scope: Scope<SelectionGroup> | null, terms: readonly Term[] | null): Generator<IdentityEntry> {
    let byTerms = this.#identities.size;
    if (terms !== null) byTerms = terms.reduce((sum, term) => sum + this.#entries.count(term), 0);
    let byScope = Number.POSITIVE_INFINITY;
    if (scope !== null) {
      byScope = scope.names.size;
      for (const name of scope.names) byScope += this.#entries.count(`${namespaceLabel}=${name}`);
    }
    if (scope !== null && byScope < byTerms) for (const name of scope.names) yield* this.inNamespace(name);
    else if (terms === null) yield* this.#identities.values();
    else for (const term of terms) yield* this.#entries.under(term);
  }

  #index(group: SelectionGroup): void {
    const { workloads, host } = group.selection;
    if (host !== null) this.#hostGroups.add(group);
    group.scope = workloads?.namespaces == null ? null : this.#scopes.scope(workloads.namespaces);
    if (workloads === null) return;
    const index = group.scope?.groups ?? this.#groupsByTerm;
    group.terms = fewestPairs(workloads.terms(), this.#entries, index);
    index.add(group, group.terms);
  }

  #unindex(group: SelectionGroup): void {
    this.#hostGroups.delete(group);
    if (group.selection.workloads === null) return;
    (group.scope?.groups ?? this.#groupsByTerm).delete(group, group.terms);
    if (group.scope !== null) this.#scopes.release(group.scope);
  }
}
