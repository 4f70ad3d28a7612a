/**
 * What the rules in force say to a question. Pure: the same documents, facts and time give the same judgement, which is what makes
 * one commit enough for a question and its answer, and what lets a logged decision be evaluated again.
 */
import type { ConditionFacts, PartyFacts } from '@bulkhead/policy';
import type { QuestionMessage } from '@bulkhead/protocol';
import type { AskingRule } from './rules.ts';

export type Scope = 'connection' | 'pair' | 'identities';

/** How one rule's condition came out; part of the log. */
export interface ConditionRecord {
  readonly rule: string;
  readonly digest: string;
  readonly when: string | null;
  readonly timeZone: string;
  readonly outcome: 'holds' | 'fails' | 'fault' | 'none';
}

interface Common {
  readonly why: string;
  readonly conditions: readonly ConditionRecord[];
  /** How far and how long an agent may reuse the answer. */
  readonly scope: Scope;
  readonly forSeconds: number;
}

export interface Approval {
  /** Roles of which each must approve, in the order of the rules. */
  readonly roles: readonly string[];
  readonly withinSeconds: number;
  readonly pending: 'hold' | 'refuse';
  /** What a refusal gives. */
  readonly refusal: 'deny' | 'reject';
  /** How far and how long the manager itself remembers what a human decided. */
  readonly remember: { readonly scope: Scope; readonly forSeconds: number };
}

export type Judgement =
  | ({ readonly kind: 'settled'; readonly verdict: 'allow' | 'deny' | 'reject' } & Common)
  | ({ readonly kind: 'approval'; readonly approval: Approval } & Common);

export interface Case {
  readonly question: QuestionMessage;
  readonly source: PartyFacts;
  readonly destination: PartyFacts;
  /** When it is judged; what `time` in conditions is. */
  readonly atMs: number;
}

export function judge(rules: readonly AskingRule[], about: Case): Judgement {
  const judged = rules.map((rule) => judgeRule(rule, about));
  const conditions = judged.map((one) => one.condition);
  const common = { conditions, ...reach(rules) };
  const denial = judged.find((one) => one.verdict === 'deny' || one.verdict === 'reject');
  if (denial !== undefined && denial.verdict !== 'approval') {
    return { kind: 'settled', verdict: denial.verdict, why: denial.why, ...common };
  }
  const why = judged.map((one) => one.why).join('; ');
  const asking = rules.filter((_, place) => judged[place]?.verdict === 'approval');
  const approval = approvalOf(asking);
  return approval === null
    ? { kind: 'settled', verdict: 'allow', why, ...common }
    : { kind: 'approval', approval, why, ...common };
}

interface RuleJudgement {
  readonly verdict: 'allow' | 'deny' | 'reject' | 'approval';
  readonly why: string;
  readonly condition: ConditionRecord;
}

function judgeRule(rule: AskingRule, about: Case): RuleJudgement {
  const { terms, text } = rule;
  const record = { rule: text, digest: terms.digest, when: terms.when, timeZone: terms.timeZone };
  const settled = terms.approve === null ? 'allow' : 'approval';
  if (rule.condition === null)
    return { verdict: settled, why: `${text} asks`, condition: { ...record, outcome: 'none' } };
  const outcome = rule.condition.evaluate(conditionFacts(rule, about));
  const condition = { ...record, outcome: outcome.kind };
  switch (outcome.kind) {
    case 'holds':
      return { verdict: settled, why: `${text}: its condition holds`, condition };
    case 'fails':
      return { verdict: terms.otherwise, why: `${text}: its condition does not hold`, condition };
    case 'fault': {
      // A condition without an answer never opens anything, whatever `otherwise` says.
      const verdict = terms.otherwise === 'allow' ? 'deny' : terms.otherwise;
      return { verdict, why: `${text}: its condition has no answer: ${outcome.reason}`, condition };
    }
  }
}

export function conditionFacts(rule: AskingRule, about: Case): ConditionFacts {
  const { question } = about;
  return {
    time: rule.clock(about.atMs),
    source: about.source,
    destination: about.destination,
    flow: {
      protocol: protocolName(question.protocol),
      port: question.destination.port,
      ratePerMinute: question.ratePerMinute,
    },
    rule: { tier: rule.reference.tier, policy: rule.reference.policy, name: rule.reference.rule },
  };
}

const protocols = { 1: 'icmp', 6: 'tcp', 17: 'udp', 58: 'icmpv6', 132: 'sctp' } as const;

function protocolName(protocol: number): ConditionFacts['flow']['protocol'] {
  return Object.hasOwn(protocols, protocol) ? protocols[protocol as keyof typeof protocols] : 'other';
}

const width: Record<Scope, number> = { connection: 0, pair: 1, identities: 2 };

function narrower(a: Scope, b: Scope): Scope {
  return width[a] <= width[b] ? a : b;
}

/** The narrowest of the rules' scopes, and no wider than what the conditions depend on allows. */
function reach(rules: readonly AskingRule[]): { scope: Scope; forSeconds: number } {
  let { scope, forSeconds } = remembered(rules);
  for (const { condition } of rules) {
    if (condition === null) continue;
    if (condition.dependencies.has('workload')) scope = narrower(scope, 'pair');
    if (condition.dependencies.has('time') || condition.dependencies.has('rate')) scope = 'connection';
  }
  if (scope === 'connection') forSeconds = 0;
  return { scope, forSeconds };
}

function remembered(rules: readonly AskingRule[]): { scope: Scope; forSeconds: number } {
  const scope = rules.map(({ terms }) => terms.remember.scope).reduce(narrower, 'identities');
  return {
    scope,
    forSeconds: scope === 'connection' ? 0 : Math.min(...rules.map(({ terms }) => terms.remember.forSeconds)),
  };
}

function approvalOf(rules: readonly AskingRule[]): Approval | null {
  const asked = rules.flatMap(({ terms }) => (terms.approve === null ? [] : [{ ...terms, approve: terms.approve }]));
  if (asked.length === 0) return null;
  const [first] = asked;
  return {
    roles: [...new Set(asked.map(({ approve }) => approve.by))],
    withinSeconds: Math.min(...asked.map(({ approve }) => approve.withinSeconds)),
    pending: asked.some(({ pending }) => pending === 'refuse') ? 'refuse' : 'hold',
    refusal: first?.otherwise === 'reject' ? 'reject' : 'deny',
    remember: remembered(rules),
  };
}
