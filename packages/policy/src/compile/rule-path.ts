import { type PeerSet, membersOf, peerSetHas } from './peer-set.ts';
import type { OwnEnd } from './own-end.ts';
import type { PeerEntry } from './peer.ts';
import type { RuleList } from './rule-list.ts';

/**
 * The rules that are about one peer, as a path: peers that are in the same far ends share one. The table of a path is made once.
 */
export class RulePath<Made> {
  readonly #parent: RulePath<Made> | null;
  readonly #lists: readonly RuleList[];
  /** Most paths are never followed, so that the map is made late. */
  #following: Map<RuleList, RulePath<Made>> | undefined;
  #made: Made | undefined;

  constructor(parent: RulePath<Made> | null, lists: readonly RuleList[]) {
    this.#parent = parent;
    this.#lists = lists;
  }

  followedBy(list: RuleList): RulePath<Made> {
    this.#following ??= new Map();
    let path = this.#following.get(list);
    if (path === undefined) {
      path = new RulePath(this, [list]);
      this.#following.set(list, path);
    }
    return path;
  }

  lists(): readonly RuleList[] {
    return this.#parent === null ? this.#lists : [...this.#parent.lists(), ...this.#lists];
  }

  made(make: (lists: readonly RuleList[]) => Made): Made {
    this.#made ??= make(this.lists());
    return this.#made;
  }
}

/** The lists about every peer that some far end names, and `rest`, those about all others. */
export function pathsByPeer<Made>(ends: readonly OwnEnd[]): {
  named: ReadonlyMap<PeerEntry, RulePath<Made>>;
  rest: RulePath<Made>;
} {
  const rest = new RulePath<Made>(null, commonLists(ends));
  const named = new Map<PeerEntry, RulePath<Made>>();
  for (const { lists } of ends) {
    for (const [set, list] of lists) {
      if (set.everybody) continue;
      for (const entry of membersOf(set)) named.set(entry, (named.get(entry) ?? rest).followedBy(list));
    }
  }
  return { named, rest };
}

function commonLists(ends: readonly OwnEnd[]): RuleList[] {
  const common: RuleList[] = [];
  for (const { lists } of ends) for (const [set, list] of lists) if (set.everybody) common.push(list);
  return common;
}

/** The lists about one peer, found from whichever side has fewer candidates. */
export function listsAbout(ends: readonly OwnEnd[], entry: PeerEntry): readonly RuleList[] {
  let candidates = 0;
  for (const group of entry.groups) candidates += group.peerSets.size;
  let farEnds = 0;
  for (const { lists } of ends) farEnds += lists.size;
  const found: RuleList[] = [];
  if (farEnds <= candidates * ends.length) {
    for (const { lists } of ends) for (const [set, list] of lists) if (peerSetHas(set, entry)) found.push(list);
    return found;
  }
  const sets = new Set<PeerSet>();
  for (const group of entry.groups) for (const set of group.peerSets) sets.add(set);
  for (const { lists } of ends) {
    for (const set of sets) {
      const list = lists.get(set);
      if (list !== undefined) found.push(list);
    }
  }
  return [...commonLists(ends), ...found];
}
