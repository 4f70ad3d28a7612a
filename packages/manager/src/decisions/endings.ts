/** How a question ends, as values: the human's answer, a remembered one, no answer in time, or what the agent did alone. */
import type { DecisionMessage } from '@bulkhead/protocol';
import type { Outcome } from '../services.ts';
import type { Approval, Scope } from './judge.ts';
import type { LoggedQuestion, RememberedDecision } from './question-log.ts';
import type { Waiting } from './waiting.ts';

export type Answer =
  | { readonly kind: 'approve'; readonly forSeconds: number | undefined }
  | { readonly kind: 'refuse' };

export type Ending =
  | { readonly kind: 'remembered'; readonly remembered: RememberedDecision }
  | { readonly kind: 'approved'; readonly by: string; readonly scope: Scope; readonly forSeconds: number }
  | { readonly kind: 'refused'; readonly verdict: 'deny' | 'reject'; readonly by: string; readonly why: string };

const refusedScope = { scope: 'connection', forSeconds: 0 } as const;

/** `pending` where it waits and the packet is held; a question that waits without its packet is rejected meanwhile. */
export function decisionOf({ record, held, usableUntilMs }: LoggedQuestion): DecisionMessage {
  const { id, state, scope, forSeconds } = record;
  const common = { question: id, expiresMs: usableUntilMs, why: record.why.slice(0, whyMax) };
  if (state === 'waiting')
    return { ...common, verdict: held ? 'pending' : 'reject', scope: 'connection', forSeconds: 0 };
  return { ...common, verdict: record.verdict ?? 'deny', scope, forSeconds };
}

/** What the protocol carries. */
const whyMax = 1024;

/** Ended when it came: its answer goes out with the first message, and no packet is held for a human. */
export function endedAtOnce(logged: LoggedQuestion, ending: Ending, nowMs: number): LoggedQuestion {
  return { ...endedAs(logged, ending, nowMs), held: false };
}

function endedAs(logged: LoggedQuestion, ending: Ending, nowMs: number): LoggedQuestion {
  const { record } = logged;
  const answered = { ...record, state: 'answered', answeredMs: nowMs } as const;
  switch (ending.kind) {
    case 'remembered': {
      const { verdict, by, question, expiresMs } = ending.remembered;
      const left = Math.floor((expiresMs - nowMs) / 1_000);
      const forSeconds = record.scope === 'connection' ? 0 : Math.min(record.forSeconds, left);
      const why = `${record.why}; ${by} decided so for question ${question}`;
      return { ...logged, roles: [], record: { ...answered, verdict, by, why, forSeconds } };
    }
    case 'approved': {
      const { by, scope, forSeconds } = ending;
      return {
        ...logged,
        roles: [],
        record: { ...answered, verdict: 'allow', by, why: `${record.why}; approved by ${by}`, scope, forSeconds },
      };
    }
    case 'refused': {
      const { by, verdict } = ending;
      return {
        ...logged,
        roles: [],
        record: { ...answered, verdict, by, why: `${record.why}; ${ending.why}`, ...refusedScope },
      };
    }
  }
}

export function expiredOf(logged: LoggedQuestion, nowMs: number): LoggedQuestion {
  if (logged.outcome !== null) return closed(logged, nowMs);
  const why = `${logged.record.why}; nobody answered in time`;
  return {
    ...logged,
    roles: [],
    record: { ...logged.record, state: 'expired', verdict: 'deny', why, answeredMs: nowMs, ...refusedScope },
  };
}

/** A leader whose agent gave up, but whose followers were waited for. */
function closed(logged: LoggedQuestion, nowMs: number): LoggedQuestion {
  const verdict = logged.outcome?.verdict ?? 'deny';
  const why = `${logged.record.why}; ${logged.outcome?.because ?? ''}`;
  return {
    ...logged,
    roles: [],
    record: { ...logged.record, state: 'unreachable', verdict, why, answeredMs: nowMs, ...refusedScope },
  };
}

/** What the agent said afterwards about a question. `known`: the log had it. `followed`: others wait for the same answer. */
export function outcomeOf(logged: LoggedQuestion, outcome: Outcome, known: boolean, followed: boolean): LoggedQuestion {
  const { verdict, because, atMs } = outcome;
  const said = { ...logged, outcome: { verdict, because, atMs } };
  const { record } = logged;
  if (known && record.state === 'waiting' && followed) return said;
  if (known && record.state !== 'waiting' && record.verdict === verdict) return said;
  const meant = known && record.verdict !== null ? ` (the answer was ${record.verdict}: ${record.why})` : '';
  // An agent that waited as long as it was told to did not decide alone: nobody answered.
  const inTime = known && record.state === 'waiting' && atMs >= logged.usableUntilMs;
  const alone = {
    state: inTime ? 'expired' : 'unreachable',
    verdict,
    by: null,
    why: `${because}${meant}`,
    answeredMs: atMs,
    approver: null,
    expiresMs: null,
  } as const;
  return { ...said, roles: [], record: { ...record, ...alone, ...refusedScope } };
}

export type Recheck =
  | { readonly kind: 'same'; readonly approval: Approval }
  | { readonly kind: 'changed'; readonly why: string };

/** How each logged question of a waiting one ends with a human's answer, and what is remembered of it. */
export function rememberedOf(
  waiting: Waiting,
  answer: Answer,
  by: string,
  recheck: Recheck,
  nowMs: number,
  room: boolean,
): { readonly end: (before: LoggedQuestion) => LoggedQuestion; readonly remembered: RememberedDecision | null } {
  const end =
    (ending: Ending) =>
    (before: LoggedQuestion): LoggedQuestion =>
      before.outcome === null ? endedAs(before, ending, nowMs) : closed(before, nowMs);
  if (recheck.kind === 'changed') {
    const why = answer.kind === 'approve' ? `approved by ${by}, but ${recheck.why}` : `refused by ${by}`;
    return { end: end({ kind: 'refused', verdict: 'deny', by, why }), remembered: null };
  }
  const { approval } = recheck;
  const [, ...others] = waiting.leader.roles;
  if (answer.kind === 'approve' && others.length > 0) {
    return { end: (before) => approvedInPart(before, by, others), remembered: null };
  }
  const verdict = answer.kind === 'approve' ? 'allow' : approval.refusal;
  const asked = answer.kind === 'approve' ? (answer.forSeconds ?? Number.POSITIVE_INFINITY) : Number.POSITIVE_INFINITY;
  const { record } = waiting.leader;
  const forSeconds = room ? Math.min(record.forSeconds, asked) : 0;
  const scope = forSeconds === 0 ? 'connection' : record.scope;
  const remembered = room ? decisionToRemember(waiting, approval, verdict, by, asked, nowMs) : null;
  if (verdict === 'allow') return { end: end({ kind: 'approved', by, scope, forSeconds }), remembered };
  return { end: end({ kind: 'refused', verdict, by, why: `refused by ${by}` }), remembered };
}

function approvedInPart(before: LoggedQuestion, by: string, others: readonly string[]): LoggedQuestion {
  const why = `${before.record.why}; approved by ${by}`;
  return { ...before, roles: others, record: { ...before.record, why, approver: others[0] ?? null } };
}

/** A packet that was refused while it waited comes again: the answer must be there for it, at least as long as the wait could be. */
function decisionToRemember(
  waiting: Waiting,
  approval: Approval,
  verdict: 'allow' | 'deny' | 'reject',
  by: string,
  askedSeconds: number,
  nowMs: number,
): RememberedDecision | null {
  const { scope, forSeconds } = approval.remember;
  const again = approval.pending === 'refuse' ? approval.withinSeconds : 0;
  const seconds = Math.max(Math.min(forSeconds, askedSeconds), again);
  if (seconds === 0) return null;
  const key = scope === 'identities' && forSeconds > 0 ? waiting.keys.identities : waiting.keys.pair;
  return { key, verdict, by, question: waiting.id, expiresMs: nowMs + seconds * 1_000 };
}
