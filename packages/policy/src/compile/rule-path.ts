import type { OwnEnd } from './own-end.ts';
import { membersOf, type PeerSet, peerSetHas } from './peer-set.ts';
import { type PeerEntry, portsOf } from './peer.ts';
import type { RuleList } from './rule-list.ts';

/** What decides the table of a peer, but for its kind: the rules about it, and its named ports where these matter. */
export interface About {
  readonly lists: readonly RuleList[];
  readonly ports: string;
}

/**
 * The rules that are about one peer, as a path: peers that are in the same far ends share one. The table of a path is made once.
 */
export class RulePath<Made> {
  readonly #parent: RulePath<Made> | null;
  readonly #about: About;
  /** Most paths are never followed, so that the map is made late. */
  #following: Map<RuleList | string, RulePath<Made>> | undefined;
  readonly #made: [plain?: Made, variant?: Made] = [];

  constructor(parent: RulePath<Made> | null, about: About) {
    this.#parent = parent;
    this.#about = about;
  }

  followedBy(step: RuleList | string): RulePath<Made> {
    this.#following ??= new Map();
    let path = this.#following.get(step);
    if (path === undefined) {
      path = new RulePath(this, typeof step === 'string' ? { lists: [], ports: step } : { lists: [step], ports: '' });
      this.#following.set(step, path);
    }
    return path;
  }

  lists(): readonly RuleList[] {
    return this.#parent === null ? this.#about.lists : [...this.#parent.lists(), ...this.#about.lists];
  }

  about(): About {
    return { lists: this.lists(), ports: this.#about.ports };
  }

  /** Each of both variants is made once. */
  made(make: (about: About) => Made, variant: boolean): Made {
    return (this.#made[variant ? 1 : 0] ??= make(this.about()));
  }
}

/** The rules about every peer that some far end names, or whose named ports some rule asks for, and `rest`, those about all others. */
export function pathsByPeer<Made>(
  ends: readonly OwnEnd[],
  withPorts: Iterable<PeerEntry>,
): { named: ReadonlyMap<PeerEntry, RulePath<Made>>; rest: RulePath<Made> } {
  const rest = new RulePath<Made>(null, { lists: commonLists(ends), ports: '' });
  const named = new Map<PeerEntry, RulePath<Made>>();
  let namesPorts = false;
  for (const { lists } of ends) {
    for (const list of lists) {
      namesPorts ||= list.namesPorts;
      if (list.far.everybody) continue;
      for (const entry of membersOf(list.far)) named.set(entry, (named.get(entry) ?? rest).followedBy(list));
    }
  }
  if (!namesPorts) return { named, rest };
  for (const entry of withPorts) {
    const path = named.get(entry) ?? rest;
    if (path.lists().some((list) => list.namesPorts)) named.set(entry, path.followedBy(portsOf(entry)));
  }
  return { named, rest };
}

function commonLists(ends: readonly OwnEnd[]): RuleList[] {
  const common: RuleList[] = [];
  for (const { lists } of ends) for (const list of lists) if (list.far.everybody) common.push(list);
  return common;
}

/** The rules about one peer, and its named ports where it is the destination and they matter. */
export function rulesAbout(ends: readonly OwnEnd[], entry: PeerEntry, isDestination: boolean): About {
  const lists = listsAbout(ends, entry);
  return { lists, ports: isDestination && lists.some((list) => list.namesPorts) ? portsOf(entry) : '' };
}

/** Found from whichever side has fewer candidates. */
function listsAbout(ends: readonly OwnEnd[], entry: PeerEntry): readonly RuleList[] {
  let candidates = 0;
  for (const group of entry.groups) candidates += group.peerSets.size;
  let farEnds = 0;
  for (const { lists } of ends) farEnds += lists.size;
  const found: RuleList[] = [];
  if (farEnds <= candidates * ends.length) {
    for (const { lists } of ends) for (const list of lists) if (peerSetHas(list.far, entry)) found.push(list);
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
