import type { RuleAction } from '../documents/document.ts';
import type { ResolvedRule } from './rule.ts';

export interface Tier {
  readonly name: string;
  readonly position: number;
  readonly order: 'severity' | 'listed';
}

/** Tiers that exist without a document. A Tier document of the same name takes the place of one. */
export const builtinTiers: readonly Tier[] = [
  { name: 'platform', position: 100, order: 'severity' },
  { name: 'security', position: 200, order: 'severity' },
  { name: 'application', position: 300, order: 'severity' },
  { name: 'baseline', position: 400, order: 'severity' },
];

/**
 * Within a tier the more severe action comes first. `pass` stands before `allow`: it takes a piece out of what the tier would allow
 * and leaves it to the tiers below; a denial or a question of its own tier it does not lift.
 */
export const severity: Readonly<Record<RuleAction, number>> = { deny: 0, reject: 1, ask: 2, pass: 3, allow: 4 };

/** Which of two rules of one tier comes first; never 0 for two rules of one policy set, so that no verdict hangs on document order. */
export function compareInTier(order: Tier['order'], a: ResolvedRule, b: ResolvedRule): number {
  if (order === 'severity' && a.action !== b.action) return severity[a.action] - severity[b.action];
  if (a.policy !== b.policy) return a.policy < b.policy ? -1 : 1;
  return a.index - b.index;
}

/** Which of two rules comes first of all. */
export function compareRules(tiers: ReadonlyMap<string, Tier>, a: ResolvedRule, b: ResolvedRule): number {
  const [tierA, tierB] = [tiers.get(a.tier), tiers.get(b.tier)];
  if (tierA === undefined || tierB === undefined)
    throw new Error(`a rule is in a tier that is not there: ${a.tier} or ${b.tier}`);
  return tierA === tierB ? compareInTier(tierA.order, a, b) : tierA.position - tierB.position;
}
