import { defaultTier, sortedJson } from '../documents/canonical.ts';
import {
  type PolicyDocument,
  policyReference,
  type RuleAction,
  type RuleDocument,
  type RulesDocument,
} from '../documents/document.ts';
import { isStaged } from '../documents/kubernetes-form.ts';
import type { SideVerdict } from '../model.ts';
import { adminPolicyRules, baselinePolicyRules, clusterPolicyRules } from './admin-policy.ts';
import { textDigest } from './digest.ts';
import { networkPolicyRules } from './network-policy.ts';
import { type Peers, resolvePeers } from './peers.ts';
import { portsKey, resolvePorts, type RulePorts } from './ports.ts';

/**
 * Where a rule stands in its tier. `native`: a rule of a Policy, combined with others by severity or as listed. `ordered`: of an admin
 * policy of Kubernetes; of these the first that matches speaks for all. `additive`: what a NetworkPolicy allows. `closing`: that it
 * denies everything else, after all else of the tier. See `precedence.ts`.
 */
export type RuleBlock = 'native' | 'ordered' | 'additive' | 'closing';

/** A rule with everything in it that does not depend on other documents. */
export interface ResolvedRule extends RulePorts {
  readonly tier: string;
  /** See `Reason`. */
  readonly policy: string;
  readonly name: string;
  /** Position in its policy. */
  readonly index: number;
  readonly block: RuleBlock;
  /** Of its policy among the ordered ones, lower first; 0 elsewhere. */
  readonly priority: number;
  /** Its policy is judged and not enforced. */
  readonly staged: boolean;
  readonly action: RuleAction;
  /** What the rule gives; a `pass` gives nothing but the way to the next tier. */
  readonly verdict: SideVerdict | null;
  /** The sides it speaks for. */
  readonly egress: boolean;
  readonly ingress: boolean;
  readonly from: Peers;
  readonly to: Peers;
  /** What a rule of a Policy says as a whole; null for Kubernetes' documents. */
  readonly document: RuleDocument | null;
}

/** Parsed documents never change, so that what follows from one alone is computed once. */
const resolvedRules = new WeakMap<RulesDocument, readonly ResolvedRule[]>();

export function rulesOf(document: RulesDocument): readonly ResolvedRule[] {
  let rules = resolvedRules.get(document);
  if (rules === undefined) {
    rules = resolveRules(document);
    resolvedRules.set(document, rules);
  }
  return rules;
}

function resolveRules(document: RulesDocument): readonly ResolvedRule[] {
  switch (document.kind) {
    case 'Policy':
      return document.spec.rules.map((rule, index) => resolveRule(document, rule, index));
    case 'NetworkPolicy':
      return networkPolicyRules(document);
    case 'ClusterNetworkPolicy':
      return clusterPolicyRules(document);
    case 'AdminNetworkPolicy':
      return adminPolicyRules(document);
    case 'BaselineAdminNetworkPolicy':
      return baselinePolicyRules(document);
  }
}

function resolveRule(document: PolicyDocument, rule: RuleDocument, index: number): ResolvedRule {
  const tier = document.spec.tier ?? defaultTier;
  const policy = policyReference(document);
  return {
    tier,
    policy,
    name: rule.name,
    index,
    block: 'native',
    priority: 0,
    staged: isStaged(document),
    action: rule.action,
    verdict: ruleVerdict(document, rule, tier),
    egress: rule.applies !== 'ingress',
    ingress: rule.applies !== 'egress',
    from: resolvePeers(rule.from),
    to: resolvePeers(rule.to),
    ...resolvePorts(rule.ports),
    document: rule,
  };
}

function ruleVerdict(document: PolicyDocument, rule: RuleDocument, tier: string): SideVerdict | null {
  const { action, live } = rule;
  if (action === 'pass') return null;
  return {
    action,
    reason: { kind: 'rule', tier, policy: policyReference(document), rule: rule.name },
    ...(action === 'ask' ? { terms: termsDigest(document, rule) } : {}),
    ...(live === undefined || live === 'judge' ? {} : { live }),
  };
}

function termsDigest(document: PolicyDocument, rule: RuleDocument): string {
  const { when, otherwise, hold, remember, approve, pending } = rule;
  const timeZone = document.spec.timeZone ?? 'UTC';
  return textDigest(sortedJson({ timeZone, when, otherwise, hold, remember, approve, pending }));
}

/** True where nothing that a rule does differs. */
export function sameRule(a: ResolvedRule, b: ResolvedRule): boolean {
  if (a === b) return true;
  return (
    a.tier === b.tier &&
    a.policy === b.policy &&
    a.name === b.name &&
    a.index === b.index &&
    a.block === b.block &&
    a.priority === b.priority &&
    a.action === b.action &&
    a.verdict?.terms === b.verdict?.terms &&
    a.verdict?.live === b.verdict?.live &&
    a.egress === b.egress &&
    a.ingress === b.ingress &&
    a.from.key === b.from.key &&
    a.to.key === b.to.key &&
    portsKey(a) === portsKey(b)
  );
}
