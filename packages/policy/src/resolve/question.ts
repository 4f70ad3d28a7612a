import { durationPattern } from '../documents/rule-schema.ts';
import { policyDocument, type PolicySet } from './policy-set.ts';
import { type ResolvedRule, rulesOf } from './rule.ts';
import type { PostureAction } from './segment.ts';

/** Everything about the question that an `ask` rule puts, defaults filled in. */
export interface QuestionTerms {
  /** CEL; null asks a human, or allows, without a condition. */
  readonly when: string | null;
  /** IANA zone in which the condition's `time` is. */
  readonly timeZone: string;
  /** What a false condition gives. */
  readonly otherwise: PostureAction;
  readonly timeoutMs: number;
  /** What a timeout or an unreachable manager gives. */
  readonly unreachable: PostureAction;
  readonly remember: { readonly scope: 'connection' | 'pair' | 'identities'; readonly forSeconds: number };
  readonly approve: { readonly by: string; readonly withinSeconds: number } | null;
  /** What happens to the packet while a human decides. */
  readonly pending: 'hold' | 'refuse';
  /** Changes whenever one of the terms does; the `terms` of the rule's verdict. */
  readonly digest: string;
}

const timeoutMsDefault = 2_000;
const secondsPerUnit: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600 };

/** The rule that a verdict's reason names, staged ones included; null where the set has none. */
export function findRule(
  set: PolicySet,
  reference: { readonly tier: string; readonly policy: string; readonly rule: string },
): ResolvedRule | null {
  const document = policyDocument(set, reference.policy);
  if (document === undefined) return null;
  return rulesOf(document).find(({ tier, name }) => tier === reference.tier && name === reference.rule) ?? null;
}

/** The terms of an `ask` rule, null where there is no such rule or it asks nothing. */
export function questionTerms(
  set: PolicySet,
  reference: { readonly tier: string; readonly policy: string; readonly rule: string },
): QuestionTerms | null {
  const rule = findRule(set, reference);
  if (rule?.document == null || rule.verdict?.terms === undefined) return null;
  const { when, otherwise, hold, remember, approve, pending } = rule.document;
  return {
    when: when ?? null,
    timeZone: set.documents.Policy.get(rule.policy)?.spec.timeZone ?? 'UTC',
    otherwise: otherwise ?? 'deny',
    timeoutMs: hold?.timeoutMs ?? timeoutMsDefault,
    unreachable: hold?.unreachable ?? 'deny',
    remember: { scope: remember?.scope ?? 'connection', forSeconds: remember?.forSeconds ?? 0 },
    approve: approve === undefined ? null : { by: approve.by, withinSeconds: durationSeconds(approve.within) },
    pending: pending ?? 'hold',
    digest: rule.verdict.terms,
  };
}

function durationSeconds(text: string): number {
  const match = durationPattern.exec(text);
  if (match === null) throw new Error(`a parsed document holds the duration ${text}`);
  return Number(match[1]) * secondsPerUnit[match[2]!]!;
}
