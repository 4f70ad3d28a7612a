import { fewMax, oneMore } from './few-set.ts';
import type { PeerSet, RuleEntry } from './peer-set.ts';
import type { RuleOrder } from './rule-order.ts';

/** The rules of one own end about one far end, in one direction. */
export class RuleList {
  readonly number: number;
  readonly far: PeerSet;
  #rules: RuleEntry[] = [];
  /** Null since the rules or their order changed. */
  #effective: readonly RuleEntry[] | null = null;
  #withNamedPorts = 0;

  constructor(number: number, far: PeerSet) {
    this.number = number;
    this.far = far;
  }

  get size(): number {
    return this.#rules.length;
  }

  /** Whether the tables hang on what the destination says of its named ports. */
  get namesPorts(): boolean {
    return this.#withNamedPorts > 0;
  }

  add(entry: RuleEntry): void {
    if (this.#rules.length < fewMax) this.#rules = oneMore(this.#rules, entry);
    else this.#rules.push(entry);
    if (entry.rule.namedPorts.length > 0) this.#withNamedPorts++;
    this.#effective = null;
  }

  remove(entry: RuleEntry): void {
    const index = this.#rules.indexOf(entry);
    if (index < 0) throw new Error(`the rule ${entry.rule.policy}/${entry.rule.name} is taken out twice`);
    this.#rules.splice(index, 1);
    if (entry.rule.namedPorts.length > 0) this.#withNamedPorts--;
    this.#effective = null;
  }

  /** The order of rules is another one now. */
  reorder(): void {
    this.#effective = null;
  }

  /** The rules in order, without those that another rule of this list leaves nothing to say. */
  effective(order: RuleOrder): readonly RuleEntry[] {
    if (this.#effective !== null) return this.#effective;
    const rules = this.#rules;
    // Kept in order, so that sorting after a small change is one pass.
    if (rules.length > 1) rules.sort(order.compare);
    this.#effective = rules.length > 1 ? order.withoutShadowed(rules) : rules;
    return this.#effective;
  }
}
