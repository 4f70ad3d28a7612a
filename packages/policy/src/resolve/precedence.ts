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
export const severity: Readonly<Record<RuleAction, number>> = { deny: 0, reject: 1, ask: 2, pass: 3, allow: 5 };

/** Where the blocks of Kubernetes' documents stand among these: what they allow beside our own, what they close after everything. */
const blockRank = { ordered: 4, additive: 5, closing: 6 } as const;
const listedRank = { native: 0, ordered: 1, additive: 2, closing: 3 } as const;

function rankInTier(order: Tier['order'], { block, action }: ResolvedRule): number {
  if (order === 'listed') return listedRank[block];
  return block === 'native' ? severity[action] : blockRank[block];
}

/**
 * Which of two rules of one tier comes first; never 0 for two rules of one policy set, so that no verdict hangs on document order.
 * One thing it cannot say: see `decidingRule`.
 */
export function compareInTier(order: Tier['order'], a: ResolvedRule, b: ResolvedRule): number {
  const [rankA, rankB] = [rankInTier(order, a), rankInTier(order, b)];
  if (rankA !== rankB) return rankA - rankB;
  if (a.priority !== b.priority) return a.priority - b.priority;
  if (a.policy !== b.policy) return a.policy < b.policy ? -1 : 1;
  return a.index - b.index;
}

/**
 * The rule of a tier that decides, of those that speak about a flow; they come in the order of `compareInTier`. It is the first, but
 * for one case: the ordered block is a function of its own, of which the first rule that speaks gives the value, and where that is a
 * denial it is as severe as any other and stands before a question or a pass of ours.
 */
export function decidingRule(
  order: Tier['order'],
  rules: readonly ResolvedRule[],
  speaks: (rule: ResolvedRule) => boolean,
): ResolvedRule | null {
  const first = rules.findIndex(speaks);
  const rule = rules[first];
  if (rule === undefined) return null;
  if (!mayBeOutrankedByBlock(order, rule)) return rule;
  const ofBlock = rules.slice(first + 1).find((other) => other.block === 'ordered' && speaks(other));
  return ofBlock?.action === 'deny' ? ofBlock : rule;
}

/** True for the rules before which a denial of the ordered block comes, though `compareInTier` says otherwise. */
export function mayBeOutrankedByBlock(order: Tier['order'], { block, action }: ResolvedRule): boolean {
  return order === 'severity' && block === 'native' && (action === 'ask' || action === 'pass');
}

/** Which of two rules comes first of all. */
export function compareRules(tiers: ReadonlyMap<string, Tier>, a: ResolvedRule, b: ResolvedRule): number {
  const [tierA, tierB] = [tiers.get(a.tier), tiers.get(b.tier)];
  if (tierA === undefined || tierB === undefined)
    throw new Error(`a rule is in a tier that is not there: ${a.tier} or ${b.tier}`);
  return tierA === tierB ? compareInTier(tierA.order, a, b) : tierA.position - tierB.position;
}
