import { emptyPolicySet, type PolicySet } from '../resolve/policy-set.ts';
import { type ResolvedRule, sameRule } from '../resolve/rule.ts';
import { changedNamespaces, changedPolicies, policyRules } from '../resolve/rules-in-order.ts';
import type { Groups } from './groups.ts';
import type { RuleEntry } from './rule-entry.ts';
import type { PeerEntry } from './peer.ts';
import type { RuleBook } from './rule-book.ts';
import { RuleOrder } from './rule-order.ts';
import type { Selections } from './selections.ts';

/** Brings segments, namespaces and rules in line with one policy set after another. */
export class Policies {
  readonly #selections: Selections;
  readonly #groups: Groups;
  readonly #book: RuleBook;
  readonly #rulesByPolicy = new Map<string, readonly RuleEntry[]>();
  /** Told of everybody whose posture may be another one. */
  readonly #onPosture: (entry: PeerEntry) => void;
  /** Told where the order of all rules is another one. */
  readonly #onOrder: () => void;
  #policySet: PolicySet = emptyPolicySet;
  #order = new RuleOrder(emptyPolicySet.tiers);

  constructor(parts: {
    selections: Selections;
    groups: Groups;
    book: RuleBook;
    onPosture: (entry: PeerEntry) => void;
    onOrder: () => void;
  }) {
    this.#selections = parts.selections;
    this.#groups = parts.groups;
    this.#book = parts.book;
    this.#onPosture = parts.onPosture;
    this.#onOrder = parts.onOrder;
  }

  get policySet(): PolicySet {
    return this.#policySet;
  }

  get order(): RuleOrder {
    return this.#order;
  }

  get ruleCount(): number {
    let count = 0;
    for (const entries of this.#rulesByPolicy.values()) count += entries.length;
    return count;
  }

  follow(after: PolicySet): void {
    const before = this.#policySet;
    this.#policySet = after;
    if (!this.#order.isThatOf(after.tiers)) {
      this.#order = new RuleOrder(after.tiers);
      this.#book.reorder();
      this.#onOrder();
    }
    this.#setNamespaces([...changedNamespaces(before, after)]);
    this.#setSegments(before, after);
    for (const reference of changedPolicies(before, after)) this.#setRules(reference, policyRules(after, reference));
    if (before.segments === after.segments) return;
    // Peer sets of rules that are gone still hold the segments' groups: first they go.
    this.#book.sweep();
    for (const name of before.segments.keys()) if (!after.segments.has(name)) this.#groups.removeSegment(name);
  }

  #setNamespaces(changed: readonly string[]): void {
    if (changed.length === 0) return;
    this.#selections.setNamespaces(this.#policySet.namespaces, changed);
    for (const name of changed) for (const entry of this.#selections.inNamespace(name)) this.#onPosture(entry);
  }

  #setSegments(before: PolicySet, after: PolicySet): void {
    if (before.segments === after.segments) return;
    for (const [name, segment] of after.segments) {
      if (before.segments.get(name) === segment) continue;
      for (const member of this.#groups.setSegment(segment).members) this.#onPosture(member);
    }
  }

  /** Gives a policy other rules. Those that say the same as before at the same place stay. */
  #setRules(policy: string, rules: readonly ResolvedRule[]): void {
    const before = this.#rulesByPolicy.get(policy) ?? [];
    const byName = before.length === 0 ? null : new Map(before.map((entry) => [entry.rule.name, entry]));
    const after = rules.map((rule, index) => {
      const known = before[index];
      return known !== undefined && sameRule(known.rule, rule)
        ? known
        : this.#book.addRule(rule, byName?.get(rule.name));
    });
    for (const [index, entry] of before.entries()) if (after[index] !== entry) this.#book.removeRule(entry);
    if (after.length === 0) this.#rulesByPolicy.delete(policy);
    else this.#rulesByPolicy.set(policy, after);
  }
}
