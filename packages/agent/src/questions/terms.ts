/** The terms under which a held connection is asked about: those of the one or two rules that ask, taken together. */
import { type PolicySet, questionTerms } from '@bulkhead/policy';
import type { RuleNumbers } from '../desired/rule-numbers.ts';

export type Denial = 'deny' | 'reject';

export interface CombinedTerms {
  readonly rules: readonly { readonly tier: string; readonly policy: string; readonly rule: string }[];
  readonly timeoutMs: number;
  /** What a timeout or an unreachable manager gives. */
  readonly unreachable: 'allow' | Denial;
  readonly digest: string;
}

export class Terms {
  readonly #rules: RuleNumbers;
  readonly #policySet: () => PolicySet;
  #for: PolicySet | null = null;
  readonly #known = new Map<string, CombinedTerms | null>();

  constructor(rules: RuleNumbers, policySet: () => PolicySet) {
    this.#rules = rules;
    this.#policySet = policySet;
  }

  /** Null where one of the rules is not in force any more, or asks nothing. Rule 0: that side did not ask. */
  of(egressRule: number, ingressRule: number): CombinedTerms | null {
    const set = this.#policySet();
    if (this.#for !== set) {
      this.#for = set;
      this.#known.clear();
    }
    const key = `${egressRule} ${ingressRule}`;
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const numbers = [...new Set([egressRule, ingressRule])].filter((number) => number !== 0);
    const combined = this.#combine(set, numbers);
    this.#known.set(key, combined);
    return combined;
  }

  asks(rule: number): boolean {
    return rule !== 0 && this.of(rule, 0) !== null;
  }

  #combine(set: PolicySet, numbers: readonly number[]): CombinedTerms | null {
    let combined: CombinedTerms | null = null;
    for (const number of numbers) {
      const reason = this.#rules.reasonOf(number);
      if (reason?.kind !== 'rule') return null;
      const { tier, policy, rule } = reason;
      const terms = questionTerms(set, { tier, policy, rule });
      if (terms === null) return null;
      const one: CombinedTerms = { ...terms, rules: [{ tier, policy, rule }] };
      combined =
        combined === null
          ? one
          : {
              rules: [...combined.rules, ...one.rules],
              timeoutMs: Math.min(combined.timeoutMs, one.timeoutMs),
              unreachable: combined.unreachable === 'allow' ? one.unreachable : combined.unreachable,
              digest: `${combined.digest}+${one.digest}`,
            };
    }
    return combined;
  }
}
