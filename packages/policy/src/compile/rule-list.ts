import type { PeerSet, RuleEntry } from './peer-set.ts';

/** Which of two rules comes first. */
export type Precedence = (a: RuleEntry, b: RuleEntry) => number;

/** The rules of one own end about one far end, in one direction. */
export class RuleList {
  readonly number: number;
  readonly far: PeerSet;
  readonly #rules: RuleEntry[] = [];
  /** Null since the rules or their precedence changed. */
  #effective: readonly RuleEntry[] | null = null;

  constructor(number: number, far: PeerSet) {
    this.number = number;
    this.far = far;
  }

  get size(): number {
    return this.#rules.length;
  }

  add(rule: RuleEntry): void {
    this.#rules.push(rule);
    this.#effective = null;
  }

  remove(rule: RuleEntry): void {
    const index = this.#rules.indexOf(rule);
    if (index < 0) throw new Error(`the rule ${rule.rule.policy}/${rule.rule.name} is taken out twice`);
    this.#rules.splice(index, 1);
    this.#effective = null;
  }

  /** The order of rules is another one now. */
  reorder(): void {
    this.#effective = null;
  }

  /** The rules in order, without those that another rule of this list leaves nothing to say. */
  effective(precedence: Precedence): readonly RuleEntry[] {
    if (this.#effective === null) {
      // Kept in order, so that sorting after a small change is one pass.
      if (this.#rules.length > 1) this.#rules.sort(precedence);
      this.#effective = withoutShadowed(this.#rules);
    }
    return this.#effective;
  }
}

/** Behind a rule about every port, no rule of its tier is ever reached. */
function withoutShadowed(rules: readonly RuleEntry[]): readonly RuleEntry[] {
  if (rules.length < 2) return rules.slice();
  let closedTier: string | null = null;
  return rules.filter(({ rule }) => {
    if (rule.tier === closedTier) return false;
    if (rule.ports === null) closedTier = rule.tier;
    return true;
  });
}
