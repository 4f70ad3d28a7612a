import { fewMax, oneMore } from './few-set.ts';
import type { RuleList } from './rule-list.ts';

/** Lists of rules, each of which knows its place here: half of all rules are about everybody, and a set of so many costs more. */
export class Seen {
  #lists: RuleList[] | null = null;

  /** One that is in none. */
  add(list: RuleList): void {
    list.place = this.#lists?.length ?? 0;
    if (this.#lists === null) this.#lists = [list];
    else if (this.#lists.length < fewMax) this.#lists = oneMore(this.#lists, list);
    else this.#lists.push(list);
  }

  /** One that is here. */
  delete(list: RuleList): void {
    const last = this.#lists!.pop()!;
    if (last === list) return;
    this.#lists![list.place] = last;
    last.place = list.place;
  }

  [Symbol.iterator](): IterableIterator<RuleList> {
    return (this.#lists ?? none).values();
  }
}

const none: readonly never[] = [];
