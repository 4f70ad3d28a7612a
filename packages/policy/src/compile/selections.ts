import { type IdentityId, type Labels, type PeerId, reservedIdentity } from '../model.ts';
import { labelOf, type Selector } from '../select/selector.ts';
import {
  type Group,
  type IdentityEntry,
  joinGroup,
  leaveGroup,
  type MembershipListener,
  type PeerEntry,
} from './peer.ts';

/** Which labels a group selects: the selector, and what else must hold (a segment's bind). */
export interface Selection {
  readonly selector: Selector;
  readonly matches: (labels: Labels) => boolean;
}

export interface SelectionGroup extends Group {
  selection: Selection | null;
}

/**
 * Identities and the groups that select them, both ways round and kept up to date. A label that a selector demands leads from an
 * identity to the few selectors that may match it, and from a selector to the few identities, so that neither side scans the other.
 */
export class Selections {
  readonly #identities = new Map<number, IdentityEntry>();
  readonly #groups = new Map<string, SelectionGroup>();
  readonly #entriesByTerm = new Map<string, Set<PeerEntry>>();
  readonly #groupsByTerm = new Map<string, Set<SelectionGroup>>();
  readonly #groupsWithoutTerm = new Set<SelectionGroup>();
  readonly #listener: MembershipListener;
  #groupsMade = 0;
  /** Stands for every workload that no selector names by a label: a workload without labels. Its table is `others`. */
  readonly others: IdentityEntry;

  constructor(listener: MembershipListener) {
    this.#listener = listener;
    this.others = {
      peer: reservedIdentity.any as PeerId & IdentityId,
      kind: 'others',
      labels: {},
      groups: new Set(),
      signature: null,
    };
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

  /** Adds the identity or gives it new labels. Says which entry it is and whether it was known before. */
  setIdentity(id: IdentityId, labels: Labels): { entry: IdentityEntry; isNew: boolean } {
    const known = this.#identities.get(id);
    if (known !== undefined) {
      this.#relabel(known, labels);
      return { entry: known, isNew: false };
    }
    const entry: IdentityEntry = {
      peer: id as PeerId & IdentityId,
      kind: 'identity',
      labels,
      groups: new Set(),
      signature: null,
    };
    this.#identities.set(id, entry);
    for (const term of labelTerms(labels)) setOf(this.#entriesByTerm, term).add(entry);
    for (const group of this.#groupsSelecting(labels)) joinGroup(entry, group);
    return { entry, isNew: true };
  }

  removeIdentity(id: number): IdentityEntry | undefined {
    const entry = this.#identities.get(id);
    if (entry === undefined) return undefined;
    this.#identities.delete(id);
    for (const term of labelTerms(entry.labels)) dropFrom(this.#entriesByTerm, term, entry);
    for (const group of entry.groups) leaveGroup(entry, group);
    return entry;
  }

  #relabel(entry: IdentityEntry, labels: Labels): void {
    for (const term of labelTerms(entry.labels)) dropFrom(this.#entriesByTerm, term, entry);
    entry.labels = labels;
    for (const term of labelTerms(labels)) setOf(this.#entriesByTerm, term).add(entry);
    const after = new Set<Group>(this.#groupsSelecting(labels));
    for (const group of entry.groups) if (!after.has(group)) this.#leave(entry, group);
    for (const group of after) if (!entry.groups.has(group)) this.#join(entry, group);
  }

  group(key: string): SelectionGroup | undefined {
    return this.#groups.get(key);
  }

  /** The group of that key with this selection; a known group is changed to it. A null selection selects nobody. */
  setGroup(key: string, selection: Selection | null): SelectionGroup {
    let group = this.#groups.get(key);
    if (group === undefined) {
      group = { key, number: ++this.#groupsMade, selection: null, members: new Set(), peerSets: new Set() };
      this.#groups.set(key, group);
    } else {
      this.#unindex(group);
    }
    group.selection = selection;
    this.#index(group);
    const after = new Set<PeerEntry>(selection === null ? [] : this.#entriesSelected(selection));
    for (const entry of group.members) if (!after.has(entry)) this.#leave(entry, group);
    for (const entry of after) if (!group.members.has(entry)) this.#join(entry, group);
    return group;
  }

  /** Forgets a group that no peer set has. */
  removeGroup(group: SelectionGroup): void {
    this.#unindex(group);
    this.#groups.delete(group.key);
    for (const entry of group.members) this.#leave(entry, group);
  }

  #join(entry: PeerEntry, group: Group): void {
    joinGroup(entry, group);
    this.#listener(entry, group);
  }

  #leave(entry: PeerEntry, group: Group): void {
    leaveGroup(entry, group);
    this.#listener(entry, group);
  }

  *#groupsSelecting(labels: Labels): Generator<SelectionGroup> {
    for (const group of this.#groupsWithoutTerm) if (group.selection?.matches(labels) === true) yield group;
    for (const term of labelTerms(labels)) {
      for (const group of this.#groupsByTerm.get(term) ?? [])
        if (group.selection?.matches(labels) === true) yield group;
    }
  }

  *#entriesSelected(selection: Selection): Generator<IdentityEntry> {
    const terms = this.#demandedTerms(selection.selector);
    if (terms === null) {
      for (const entry of this.#identities.values()) if (selection.matches(entry.labels)) yield entry;
    } else {
      for (const term of terms) {
        for (const entry of this.#entriesByTerm.get(term) ?? []) {
          if (selection.matches((entry as IdentityEntry).labels)) yield entry as IdentityEntry;
        }
      }
    }
    if (selection.matches(this.others.labels)) yield this.others;
  }

  #index(group: SelectionGroup): void {
    if (group.selection === null) return;
    const terms = this.#demandedTerms(group.selection.selector);
    if (terms === null) this.#groupsWithoutTerm.add(group);
    else for (const term of terms) setOf(this.#groupsByTerm, term).add(group);
  }

  #unindex(group: SelectionGroup): void {
    this.#groupsWithoutTerm.delete(group);
    // Which of its terms the group stands under depended on the identities of that moment.
    for (const term of group.selection === null ? [] : allTerms(group.selection.selector).flat()) {
      dropFrom(this.#groupsByTerm, term, group);
    }
  }

  /** Terms of which a selected identity has at least one, as few identities as possible; null where none is demanded. */
  #demandedTerms(selector: Selector): readonly string[] | null {
    let best: readonly string[] | null = null;
    let bestCount = Number.POSITIVE_INFINITY;
    for (const terms of allTerms(selector)) {
      const count = terms.reduce((sum, term) => sum + (this.#entriesByTerm.get(term)?.size ?? 0), 0);
      if (count < bestCount) {
        best = terms;
        bestCount = count;
      }
    }
    return best;
  }
}

/** For each part of the selector that demands a label: the terms that would satisfy it. */
function allTerms(selector: Selector): readonly (readonly string[])[] {
  const terms: (readonly string[])[] = Object.entries(selector.matchLabels ?? {}).map(([key, value]) => [
    `${key}=${value}`,
  ]);
  for (const { key, operator, values } of selector.matchExpressions ?? []) {
    if (operator === 'In') terms.push([...new Set(values)].map((value) => `${key}=${value}`));
    else if (operator === 'Exists') terms.push([key]);
  }
  return terms;
}

function* labelTerms(labels: Labels): Generator<string> {
  for (const key of Object.keys(labels)) {
    yield key;
    yield `${key}=${labelOf(labels, key)}`;
  }
}

function setOf<Item>(map: Map<string, Set<Item>>, key: string): Set<Item> {
  let set = map.get(key);
  if (set === undefined) {
    set = new Set();
    map.set(key, set);
  }
  return set;
}

function dropFrom<Item>(map: Map<string, Set<Item>>, key: string, item: Item): void {
  const set = map.get(key);
  set?.delete(item);
  if (set?.size === 0) map.delete(key);
}
