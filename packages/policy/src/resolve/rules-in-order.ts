/** The rules of a policy set, by policy and in the order in which they are judged. */
import type { RulesDocument } from '../documents/document.ts';
import { policyReference, ruleKinds } from '../documents/document.ts';
import { policyDocument, type PolicySet } from './policy-set.ts';
import { compareInTier, type Tier } from './precedence.ts';
import { type ResolvedRule, rulesOf } from './rule.ts';

/** The rules of the policy that count in this set: none where it is not there, or is staged and the set enforces no staged ones. */
export function policyRules(set: PolicySet, reference: string): readonly ResolvedRule[] {
  if (!set.enforcesStaged && set.staged.has(reference)) return [];
  const document = policyDocument(set, reference);
  return document === undefined ? [] : rulesOf(document);
}

/** References of the policies that came, went or changed. */
export function* changedPolicies(before: PolicySet, after: PolicySet): Generator<string> {
  if (after.lineage.parent === before.lineage.self) {
    yield* after.lineage.policies;
    return;
  }
  const restaged = before.enforcesStaged !== after.enforcesStaged;
  for (const kind of ruleKinds) {
    const [old, now]: ReadonlyMap<string, RulesDocument>[] = [before.documents[kind], after.documents[kind]];
    for (const [name, document] of old!) if (!now!.has(name)) yield policyReference(document);
    for (const [name, document] of now!) {
      const reference = policyReference(document);
      if (old!.get(name) !== document || (restaged && after.staged.has(reference))) yield reference;
    }
  }
}

/** Names of the namespaces whose labels came, went or changed. */
export function* changedNamespaces(before: PolicySet, after: PolicySet): Generator<string> {
  if (after.lineage.parent === before.lineage.self) {
    yield* after.lineage.namespaces;
    return;
  }
  const [old, now] = [before.namespaces, after.namespaces];
  for (const name of old.keys()) if (!now.has(name)) yield name;
  for (const [name, labels] of now) if (old.get(name) !== labels) yield name;
}

const orderedRules = new WeakMap<PolicySet, readonly (readonly [Tier, readonly ResolvedRule[]])[]>();

/** The tiers with their rules, both in the order in which they are judged. Computed at the first call for a set. */
export function rulesInOrder(set: PolicySet): readonly (readonly [Tier, readonly ResolvedRule[]])[] {
  let ordered = orderedRules.get(set);
  if (ordered === undefined) {
    const byTier = Map.groupBy(enforcedRules(set), ({ tier }) => tier);
    ordered = set.tiers.map((tier) => {
      const rules = (byTier.get(tier.name) ?? []).sort((a, b) => compareInTier(tier.order, a, b));
      return [tier, rules] as const;
    });
    orderedRules.set(set, ordered);
  }
  return ordered;
}

/** Every rule that counts in this set, in no order. */
export function* enforcedRules(set: PolicySet): Generator<ResolvedRule> {
  for (const kind of ruleKinds) {
    for (const document of set.documents[kind].values() as Iterable<RulesDocument>) {
      if (set.enforcesStaged || !set.staged.has(policyReference(document))) yield* rulesOf(document);
    }
  }
}
