import type { Direction } from '../model.ts';
import type { Peers } from '../resolve/peers.ts';
import type { ResolvedRule } from '../resolve/rule.ts';
import type { Groups } from './groups.ts';
import { OwnEnd } from './own-end.ts';
import { endsOf, type PeerSet } from './peer-set.ts';
import type { PeerEntry } from './peer.ts';
import { RuleEntry } from './rule-entry.ts';
import { Seen } from './seen.ts';
import type { Side } from './side.ts';
import { directions } from './subject.ts';

/** The rules in force, and their ends as shared peer sets. */
export class RuleBook {
  readonly #groups: Groups;
  readonly #peerSets = new Map<string, PeerSet>();
  readonly #idle = new Set<PeerSet>();
  readonly #onEnd: (end: OwnEnd) => void;
  #everybody: PeerSet | null = null;
  #endsMade = 0;
  #listsMade = 0;

  /** `onEnd` is told of each end that gets its first rule, or has lost its last one. */
  constructor(parts: { groups: Groups; onEnd: (end: OwnEnd) => void }) {
    this.#groups = parts.groups;
    this.#onEnd = parts.onEnd;
  }

  /** `former` is the rule of that name before. */
  addRule(rule: ResolvedRule, former: RuleEntry | undefined): RuleEntry {
    const from = this.#peerSet(rule.from);
    const to = this.#peerSet(rule.to);
    const entry = new RuleEntry(rule, { from, to }, former);
    from.uses++;
    to.uses++;
    for (const direction of directions) if (rule[direction]) this.#addToEnd(entry, direction);
    return entry;
  }

  #addToEnd(entry: RuleEntry, direction: Direction): void {
    const { own } = endsOf(entry, direction);
    let end = own.own[direction];
    if (end === null) {
      end = new OwnEnd(own, direction, ++this.#endsMade);
      own.own[direction] = end;
      this.#onEnd(end);
    }
    const far = end.add(entry, ++this.#listsMade);
    if (far !== null && end.sides.size > 0) this.#watch(far);
  }

  removeRule(entry: RuleEntry): void {
    for (const direction of directions) {
      const { own } = endsOf(entry, direction);
      const end = own.own[direction];
      if (end === null || !entry.rule[direction]) continue;
      const far = end.remove(entry);
      if (far !== null && end.sides.size > 0) this.#unwatch(far);
      if (end.lists.size > 0) continue;
      own.own[direction] = null;
      this.#onEnd(end);
    }
    for (const set of [entry.from, entry.to]) {
      set.uses--;
      this.#idle.add(set);
    }
  }

  /** The order of rules is another one now. */
  reorder(): void {
    for (const { own } of this.#peerSets.values()) {
      for (const direction of directions) for (const list of own[direction]?.lists ?? []) list.reorder();
    }
  }

  /** The rules that speak for the workload of the entry. */
  endsAbout(entry: PeerEntry, direction: Direction): OwnEnd[] {
    const ends: OwnEnd[] = [];
    const everybody = this.#everybody?.own[direction];
    if (everybody != null) ends.push(everybody);
    for (const { peerSets } of entry.groups) {
      for (const { own } of peerSets) {
        const end = own[direction];
        if (end !== null && !ends.includes(end)) ends.push(end);
      }
    }
    ends.sort((a, b) => a.number - b.number);
    // Without the room that pushing made.
    return ends.slice();
  }

  /** From now on the end's rules speak for the side. */
  attach(end: OwnEnd, side: Side): void {
    end.sides.add(side);
    if (end.sides.size === 1) for (const { far } of end.lists) this.#watch(far);
  }

  detach(end: OwnEnd, side: Side): void {
    end.sides.delete(side);
    if (end.sides.size === 0) for (const { far } of end.lists) this.#unwatch(far);
  }

  /** Some side looks at the set: its networks become peers. */
  #watch(set: PeerSet): void {
    if (set.watchers++ > 0) return;
    for (const group of set.groups) this.#groups.activate(group);
  }

  #unwatch(set: PeerSet): void {
    if (--set.watchers === 0) this.#idle.add(set);
  }

  /** Forgets the peer sets that no rule has, and the groups that no peer set has; takes networks that no side looks at out of use. */
  sweep(): void {
    for (const set of this.#idle) {
      if (set.uses === 0) {
        this.#peerSets.delete(set.key);
        if (set === this.#everybody) this.#everybody = null;
        for (const group of set.groups) group.peerSets.delete(set);
      }
      for (const group of set.groups) this.#groups.sweep(group);
    }
    this.#idle.clear();
  }

  /** The set of everybody, where some rule has it for an end. */
  get everybody(): PeerSet | null {
    return this.#everybody;
  }

  #peerSet(peers: Peers): PeerSet {
    let set = this.#peerSets.get(peers.key);
    if (set !== undefined) return set;
    const everybody = peers.list.some(({ kind }) => kind === 'any');
    set = {
      key: peers.key,
      everybody,
      groups: everybody ? [] : this.#groups.of(peers),
      hasNames: !everybody && peers.list.some(({ kind }) => kind === 'dns'),
      own: { egress: null, ingress: null },
      seenBy: new Seen(),
      watchers: 0,
      uses: 0,
    };
    this.#peerSets.set(set.key, set);
    if (everybody) this.#everybody = set;
    for (const group of set.groups) group.peerSets.add(set);
    return set;
  }
}
