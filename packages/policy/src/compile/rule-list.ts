import { fewMax, oneMore } from './few-set.ts';
import type { OwnEnd } from './own-end.ts';
import type { PeerSet } from './peer-set.ts';
import type { RuleEntry } from './rule-entry.ts';
import type { RuleOrder } from './rule-order.ts';

/** The rules of one own end about one far end, in one direction. */
export class RuleList {
  readonly number: number;
  readonly own: OwnEnd;
  readonly far: PeerSet;
  /** Where it stands among those that see the far end. */
  place = -1;
  /** The one rule, while `#rules` is null. Most lists have no more. */
  #only: RuleEntry | null = null;
  #rules: RuleEntry[] | null = null;
  /** Of several rules; null since they or their order changed. */
  #effective: readonly RuleEntry[] | null = null;
  #withNamedPorts = 0;

  constructor(number: number, own: OwnEnd, far: PeerSet) {
    this.number = number;
    this.own = own;
    this.far = far;
  }

  get size(): number {
    if (this.#rules !== null) return this.#rules.length;
    return this.#only === null ? 0 : 1;
  }

  /** Whether the tables hang on what the destination says of its named ports. */
  get namesPorts(): boolean {
    return this.#withNamedPorts > 0;
  }

  add(entry: RuleEntry): void {
    if (this.#rules === null) this.#addToOne(entry);
    else if (this.#rules.length < fewMax) this.#rules = oneMore(this.#rules, entry);
    else this.#rules.push(entry);
    if (entry.rule.namedPorts.length > 0) this.#withNamedPorts++;
    this.#effective = null;
  }

  #addToOne(entry: RuleEntry): void {
    if (this.#only === null) {
      this.#only = entry;
    } else {
      this.#rules = [this.#only, entry];
      this.#only = null;
    }
  }

  remove(entry: RuleEntry): void {
    const index = this.#rules?.indexOf(entry) ?? -1;
    if (index >= 0) this.#rules!.splice(index, 1);
    else if (this.#only === entry) this.#only = null;
    else throw new Error(`the rule ${entry.rule.policy}/${entry.rule.name} is taken out twice`);
    if (entry.rule.namedPorts.length > 0) this.#withNamedPorts--;
    this.#effective = null;
  }

  /** The order of rules is another one now. */
  reorder(): void {
    this.#effective = null;
  }

  /** The rules in order, without those that another rule of this list leaves nothing to say. */
  effective(order: RuleOrder): readonly RuleEntry[] {
    if (this.#rules === null) return this.#only === null ? [] : [this.#only];
    if (this.#effective !== null) return this.#effective;
    // Kept in order, so that sorting after a small change is one pass.
    this.#rules.sort(order.compare);
    this.#effective = order.withoutShadowed(this.#rules);
    return this.#effective;
  }

  /** The first of these; undefined where there are none. */
  first(order: RuleOrder): RuleEntry | undefined {
    return this.#only ?? this.effective(order)[0];
  }
}
