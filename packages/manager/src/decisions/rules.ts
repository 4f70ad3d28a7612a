/** The rules that ask, ready to be evaluated: conditions compiled and clocks made once for each set of documents. */
import { compileCondition, questionTerms, zoneClock } from '@bulkhead/policy';
import type { Condition, PolicySet, QuestionTerms, ZoneClock } from '@bulkhead/policy';
import type { QuestionMessage } from '@bulkhead/protocol';
import { ruleSetsMax } from './limits.ts';

export type RuleReference = QuestionMessage['rules'][number];

export interface AskingRule {
  readonly reference: RuleReference;
  /** `tier/policy/rule`. */
  readonly text: string;
  readonly terms: QuestionTerms;
  readonly condition: Condition | null;
  readonly clock: ZoneClock;
}

export interface AskingRules {
  /** Null if no such rule is in force, or it asks nothing. */
  find(reference: RuleReference): AskingRule | null;
}

export function askingRules(policySet: () => PolicySet): AskingRules {
  const sets = new Map<PolicySet, Map<string, AskingRule | null>>();
  return {
    find(reference) {
      const set = policySet();
      let rules = sets.get(set);
      if (rules === undefined) {
        rules = new Map();
        sets.set(set, rules);
        const [oldest] = sets.keys();
        if (sets.size > ruleSetsMax && oldest !== undefined) sets.delete(oldest);
      }
      const text = `${reference.tier}/${reference.policy}/${reference.rule}`;
      const known = rules.get(text);
      if (known !== undefined) return known;
      const rule = prepare(set, reference, text);
      // What is not in the documents is not kept: an agent could ask about any number of names.
      if (rule !== null) rules.set(text, rule);
      return rule;
    },
  };
}

function prepare(set: PolicySet, reference: RuleReference, text: string): AskingRule | null {
  const terms = questionTerms(set, reference);
  if (terms === null) return null;
  const clock = zoneClock(terms.timeZone);
  if (clock === null) throw new Error(`${text}: the documents were applied with the time zone ${terms.timeZone}`);
  const condition = terms.when === null ? null : compileCondition(terms.when);
  if (condition?.kind === 'refused')
    throw new Error(`${text}: the documents were applied with a condition that does not compile`);
  return { reference, text, terms, condition, clock };
}
