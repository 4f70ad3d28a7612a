import type { Direction } from '../model.ts';
import { fewMax, FewSet, oneMore } from './few-set.ts';
import { endsOf, type PeerSet } from './peer-set.ts';
import type { RuleEntry } from './rule-entry.ts';
import { RuleList } from './rule-list.ts';
import type { Side } from './side.ts';

/** The rules that speak for the members of one peer set in one direction, by their far end. */
export class OwnEnd {
  readonly set: PeerSet;
  readonly direction: Direction;
  readonly number: number;
  readonly lists = new FarLists();
  /** The sides for which these rules speak. */
  readonly sides = new FewSet<Side>();
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
      list = new RuleList(listNumber, this, far);
      this.lists.add(list);
      far.seenBy.add(list);
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
    far.seenBy.delete(list);
    if (far.hasNames) this.#listsWithNames--;
    return far;
  }
}

/** Lists by their far end. Most own ends have one or two. */
class FarLists {
  #lists: readonly RuleList[] | Map<PeerSet, RuleList> = [];

  get size(): number {
    return this.#lists instanceof Map ? this.#lists.size : this.#lists.length;
  }

  get(far: PeerSet): RuleList | undefined {
    return this.#lists instanceof Map ? this.#lists.get(far) : this.#lists.find((list) => list.far === far);
  }

  /** One for a far end that has none. */
  add(list: RuleList): void {
    const lists = this.#lists;
    if (lists instanceof Map) lists.set(list.far, list);
    else if (lists.length < fewMax) this.#lists = oneMore(lists, list);
    else this.#lists = new Map([...lists, list].map((one) => [one.far, one]));
  }

  delete(far: PeerSet): void {
    if (this.#lists instanceof Map) this.#lists.delete(far);
    else this.#lists = this.#lists.filter((list) => list.far !== far);
  }

  [Symbol.iterator](): IterableIterator<RuleList> {
    return this.#lists.values();
  }
}
