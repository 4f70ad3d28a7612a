/** From a question to what will be logged about it: who asks, what the rules say, and so what the answer is. Reads, changes nothing. */
import type { QuestionMessage, QuestionRecord } from '@bulkhead/protocol';
import type { InventoryView } from '../services.ts';
import { judge } from './judge.ts';
import type { Approval, Judgement } from './judge.ts';
import { identityKey, pairKey, resolveParties } from './parties.ts';
import type { KnownParty } from './parties.ts';
import type { LoggedQuestion } from './question-log.ts';
import type { AskingRule, AskingRules } from './rules.ts';

export interface Circumstances {
  readonly inventory: InventoryView;
  readonly rules: AskingRules;
  /** Of the documents in force. */
  readonly revision: number;
  readonly nowMs: number;
}

/** Questions with one `pair` key are one question; remembered decisions are found under either. */
export interface QuestionKeys {
  readonly pair: string;
  readonly identities: string;
}

export type Considered =
  | { readonly kind: 'answered'; readonly logged: LoggedQuestion }
  | {
      readonly kind: 'waiting';
      readonly logged: LoggedQuestion;
      readonly approval: Approval;
      readonly keys: QuestionKeys;
    };

/** How long an answer is of use where no rule in force says it, milliseconds. */
const usableMsDefault = 2_000;

export function consider(host: string, question: QuestionMessage, now: Circumstances): Considered {
  const parties = resolveParties(host, question, now.inventory);
  if (parties.kind === 'unknown') {
    return refused(blank(host, question, parties, now), question.atMs + usableMsDefault, parties.why, now);
  }
  const ends = { source: parties.source.stored, destination: parties.destination.stored };
  const facts = { source: parties.source.facts, destination: parties.destination.facts };
  const empty = blank(host, question, ends, now, facts);
  const rules: AskingRule[] = [];
  for (const reference of question.rules) {
    const rule = now.rules.find(reference);
    if (rule === null) {
      const why = `${reference.tier}/${reference.policy}/${reference.rule} asks nothing at revision ${now.revision}`;
      return refused(empty, question.atMs + usableMsDefault, why, now);
    }
    rules.push(rule);
  }
  const judgement = judge(rules, { question, ...facts, atMs: now.nowMs });
  const judged: LoggedQuestion = {
    ...empty,
    record: { ...empty.record, why: judgement.why, scope: judgement.scope, forSeconds: judgement.forSeconds },
    inputs: { ...empty.inputs, conditions: judgement.conditions },
    usableUntilMs: question.atMs + Math.min(...rules.map(({ terms }) => terms.timeoutMs)),
  };
  if (judgement.kind === 'settled') return { kind: 'answered', logged: settled(judged, judgement, now.nowMs) };
  const { approval } = judgement;
  const keys = keysOf(question, parties.source, parties.destination, rules);
  return { kind: 'waiting', approval, keys, logged: awaiting(judged, approval, now.nowMs) };
}

/** Everything that is known before the rules are looked at. */
function blank(
  host: string,
  question: QuestionMessage,
  ends: Pick<QuestionRecord, 'source' | 'destination'>,
  now: Circumstances,
  facts: { source: KnownParty['facts']; destination: KnownParty['facts'] } | null = null,
): LoggedQuestion {
  const { id, atMs, revision, rules, protocol, ratePerMinute } = question;
  const { source, destination } = ends;
  const undecided = {
    state: 'waiting',
    verdict: null,
    why: '',
    by: null,
    approver: null,
    expiresMs: null,
    answeredMs: null,
  } as const;
  return {
    record: {
      id,
      host,
      atMs,
      revision,
      rules,
      source,
      destination,
      protocol,
      ratePerMinute,
      ...undecided,
      scope: 'connection',
      forSeconds: 0,
    },
    inputs: {
      judgedMs: now.nowMs,
      revision: now.revision,
      conditions: [],
      source: facts?.source ?? null,
      destination: facts?.destination ?? null,
    },
    leader: null,
    roles: [],
    usableUntilMs: atMs,
    held: false,
    outcome: null,
  };
}

function refused(logged: LoggedQuestion, usableUntilMs: number, why: string, now: Circumstances): Considered {
  const verdict = { verdict: 'deny', why, scope: 'connection', forSeconds: 0 } as const;
  return { kind: 'answered', logged: settled({ ...logged, usableUntilMs }, verdict, now.nowMs) };
}

type Settled = Pick<Extract<Judgement, { kind: 'settled' }>, 'verdict' | 'why' | 'scope' | 'forSeconds'>;

function settled(logged: LoggedQuestion, { verdict, why, scope, forSeconds }: Settled, nowMs: number): LoggedQuestion {
  const answer = { state: 'answered', verdict, why, scope, forSeconds, by: 'rule', answeredMs: nowMs } as const;
  return { ...logged, record: { ...logged.record, ...answer } };
}

function awaiting(logged: LoggedQuestion, approval: Approval, nowMs: number): LoggedQuestion {
  const withinMs = approval.withinSeconds * 1_000;
  const held = approval.pending === 'hold';
  return {
    ...logged,
    record: { ...logged.record, approver: approval.roles[0] ?? null, expiresMs: nowMs + withinMs },
    roles: approval.roles,
    held,
    usableUntilMs: held ? logged.record.atMs + withinMs : logged.usableUntilMs,
  };
}

function keysOf(
  question: QuestionMessage,
  source: KnownParty,
  destination: KnownParty,
  rules: readonly AskingRule[],
): QuestionKeys {
  const what = [
    question.protocol,
    question.destination.port,
    ...rules.map(({ text, terms }) => `${text} ${terms.digest}`),
  ];
  const pair = [pairKey(source.facts), pairKey(destination.facts)];
  const identities = [identityKey(source.facts, source.stored), identityKey(destination.facts, destination.stored)];
  return {
    pair: JSON.stringify(['pair', ...pair, ...what]),
    identities: JSON.stringify(['identities', ...identities, ...what]),
  };
}

/** The question as the agent put it, from its record. */
export function questionOf({ record, inputs }: LoggedQuestion): QuestionMessage {
  const { id, rules, revision, protocol, ratePerMinute, atMs } = record;
  return {
    id,
    rules,
    revision,
    protocol,
    ratePerMinute,
    atMs,
    source: endOf(record.source, inputs.source?.generation ?? 0),
    destination: endOf(record.destination, inputs.destination?.generation ?? 0),
  };
}

function endOf(
  { workload, identity, address, port }: QuestionRecord['source'],
  generation: number,
): QuestionMessage['source'] {
  return { workload, identity, address, port, generation };
}
