import type { Direction } from '../model.ts';
import { endsOf, type PeerSet, type RuleEntry } from './peer-set.ts';
import { RuleList } from './rule-list.ts';
import type { Side } from './side.ts';

/** The rules that speak for the members of one peer set in one direction, by their far end. */
export class OwnEnd {
  readonly set: PeerSet;
  readonly direction: Direction;
  readonly number: number;
  readonly lists = new Map<PeerSet, RuleList>();
  /** The sides for which these rules speak. */
  readonly sides = new Set<Side>();
  #listsWithNames = 0;

  constructor(set: PeerSet, direction: Direction, number: number) {
    this.set = set;
    this.direction = direction;
    this.number = number;
  }

  /** Whether some rule here is about addresses that were learnt by name. */
  get looksAtNames(): boolean {
    return this.#listsWithNames > 0;
  }

  /** The far end, where this is its first rule here. `listNumber` is for a list that has to be made. */
  add(rule: RuleEntry, listNumber: number): PeerSet | null {
    const { far } = endsOf(rule, this.direction);
    let list = this.lists.get(far);
    const isNew = list === undefined;
    if (list === undefined) {
      list = new RuleList(listNumber, far);
      this.lists.set(far, list);
      far.seenBy.add(this);
      if (far.hasNames) this.#listsWithNames++;
    }
    list.add(rule);
    for (const side of this.sides) side.markSet(far);
    return isNew ? far : null;
  }

  /** The far end, where that was its last rule here. */
  remove(rule: RuleEntry): PeerSet | null {
    const { far } = endsOf(rule, this.direction);
    const list = this.lists.get(far);
    if (list === undefined) throw new Error(`the rule ${rule.rule.policy}/${rule.rule.name} is taken out twice`);
    list.remove(rule);
    if (list.size > 0) {
      for (const side of this.sides) side.markSet(far);
      return null;
    }
    // The set may lose its members before the round ends, so each is noted now.
    for (const side of this.sides) side.markMembers(far);
    this.lists.delete(far);
    far.seenBy.delete(this);
    if (far.hasNames) this.#listsWithNames--;
    return far;
  }
}
