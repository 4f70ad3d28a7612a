import type { Direction } from '../model.ts';
import { endsOf, type PeerSet, peerSetHas, type RuleEntry } from './peer-set.ts';
import type { PeerEntry } from './peer.ts';

/**
 * The rules that are about one peer, as a path: peers that are in the same far ends share one. The table of a path is made once.
 */
export class RulePath<Made> {
  readonly #parent: RulePath<Made> | null;
  readonly #rules: ReadonlySet<RuleEntry>;
  /** Most paths are never followed, so that the map is made late. */
  #following: Map<PeerSet, RulePath<Made>> | undefined;
  #made: Made | undefined;

  constructor(parent: RulePath<Made> | null, rules: ReadonlySet<RuleEntry>) {
    this.#parent = parent;
    this.#rules = rules;
  }

  followedBy(set: PeerSet, rules: ReadonlySet<RuleEntry>): RulePath<Made> {
    this.#following ??= new Map();
    let path = this.#following.get(set);
    if (path === undefined) {
      path = new RulePath(this, rules);
      this.#following.set(set, path);
    }
    return path;
  }

  rules(): RuleEntry[] {
    return [...(this.#parent?.rules() ?? []), ...this.#rules];
  }

  made(make: (rules: RuleEntry[]) => Made): Made {
    this.#made ??= make(this.rules());
    return this.#made;
  }
}

/** The rules that speak for a subject in one direction, by their far end. */
export class SideRules {
  readonly #direction: Direction;
  readonly #common = new Set<RuleEntry>();
  readonly #byFarEnd = new Map<PeerSet, Set<RuleEntry>>();

  constructor(direction: Direction) {
    this.#direction = direction;
  }

  *all(): Generator<RuleEntry> {
    yield* this.#common;
    for (const rules of this.#byFarEnd.values()) yield* rules;
  }

  has(rule: RuleEntry): boolean {
    const { far } = endsOf(rule, this.#direction);
    return far.everybody ? this.#common.has(rule) : this.#byFarEnd.get(far)?.has(rule) === true;
  }

  farEnds(): IterableIterator<PeerSet> {
    return this.#byFarEnd.keys();
  }

  /** The far end, where it is new here; null where there was a rule of it already, or it is everybody. */
  add(rule: RuleEntry): PeerSet | null {
    const { far } = endsOf(rule, this.#direction);
    if (far.everybody) {
      this.#common.add(rule);
      return null;
    }
    const rules = this.#byFarEnd.get(far);
    if (rules !== undefined) {
      rules.add(rule);
      return null;
    }
    this.#byFarEnd.set(far, new Set([rule]));
    return far;
  }

  /** The far end, where that was its last rule here. */
  remove(rule: RuleEntry): PeerSet | null {
    const { far } = endsOf(rule, this.#direction);
    this.#common.delete(rule);
    const rules = this.#byFarEnd.get(far);
    rules?.delete(rule);
    if (rules?.size !== 0) return null;
    this.#byFarEnd.delete(far);
    return far;
  }

  /** The rules about one peer, found from whichever side has fewer candidates. */
  about(entry: PeerEntry): RuleEntry[] {
    const found = [...this.#common];
    let candidates = 0;
    for (const group of entry.groups) candidates += group.peerSets.size;
    if (this.#byFarEnd.size <= candidates) {
      for (const [set, rules] of this.#byFarEnd) if (peerSetHas(set, entry)) found.push(...rules);
      return found;
    }
    const sets = new Set<PeerSet>();
    for (const group of entry.groups) for (const set of group.peerSets) sets.add(set);
    for (const set of sets) for (const rule of this.#byFarEnd.get(set) ?? []) found.push(rule);
    return found;
  }

  /** The rules about every peer that some far end names, and `rest`, those about all others. */
  byPeer<Made>(): { named: ReadonlyMap<PeerEntry, RulePath<Made>>; rest: RulePath<Made> } {
    const rest = new RulePath<Made>(null, this.#common);
    const named = new Map<PeerEntry, RulePath<Made>>();
    for (const [set, rules] of this.#byFarEnd) {
      for (const entry of membersOf(set)) named.set(entry, (named.get(entry) ?? rest).followedBy(set, rules));
    }
    return { named, rest };
  }
}

/** Each member once, though it be in several groups of the set. */
function membersOf(set: PeerSet): Iterable<PeerEntry> {
  const [first, ...others] = set.groups;
  if (first === undefined) return [];
  if (others.length === 0) return first.members;
  const members = new Set(first.members);
  for (const group of others) for (const member of group.members) members.add(member);
  return members;
}
