/** Questions and how they ended. */
import type { QuestionRecord } from '@bulkhead/protocol';
import type { Tone } from '../output/paint.ts';
import type { Column, DescribeItem } from '../output/table.ts';
import { age, clock, duration, labelsText, serviceText } from '../output/units.ts';
import { partyText, verdictTone } from './flow-view.ts';

export const ruleText = (rule: { readonly tier: string; readonly policy: string; readonly rule: string }): string =>
  `${rule.tier}/${rule.policy}/${rule.rule}`;

const stateTone = (question: QuestionRecord): Tone =>
  question.state === 'waiting' ? 'ask' : question.verdict === null ? 'warn' : verdictTone(question.verdict);

/** `waiting 1m` while a human may still answer, the verdict afterwards. */
function outcomeText(question: QuestionRecord, nowMs: number): string {
  if (question.state !== 'waiting') return question.verdict ?? question.state;
  return question.expiresMs === null ? 'waiting' : `waiting, ${age(nowMs, question.expiresMs)} left`;
}

export function questionColumns(nowMs: number): readonly Column<QuestionRecord>[] {
  return [
    { title: 'QUESTION', value: (question) => question.id },
    { title: 'AGE', value: (question) => age(question.atMs, nowMs), tone: () => 'dim' },
    { title: 'FROM', value: (question) => partyText(question.source), shrinkTo: 10 },
    { title: 'TO', value: (question) => partyText(question.destination), shrinkTo: 10 },
    { title: 'SERVICE', value: (question) => serviceText(question.protocol, question.destination.port) },
    { title: 'ANSWER', value: (question) => outcomeText(question, nowMs), tone: stateTone },
    { title: 'BY', value: (question) => question.by ?? (question.approver === null ? '' : `(${question.approver})`) },
    { title: 'RULE', value: (question) => question.rules.map(ruleText).join(' + '), shrinkTo: 16 },
    { title: 'WHY', value: (question) => question.why, shrinkTo: 16, wide: true },
  ];
}

export function describeQuestion(question: QuestionRecord, nowMs: number): readonly DescribeItem[] {
  const took = question.answeredMs === null ? '' : ` after ${duration(question.answeredMs - question.atMs)}`;
  return [
    { kind: 'field', name: 'Question', value: question.id },
    {
      kind: 'field',
      name: 'Asked',
      value: `${clock(question.atMs, nowMs)} on ${question.host}, revision ${question.revision}`,
    },
    { kind: 'field', name: 'From', value: `${partyText(question.source)}  ${question.source.address}` },
    { kind: 'field', name: 'From labels', value: labelsText(question.source.labels) },
    { kind: 'field', name: 'To', value: `${partyText(question.destination)}  ${question.destination.address}` },
    { kind: 'field', name: 'To labels', value: labelsText(question.destination.labels) },
    { kind: 'field', name: 'Service', value: serviceText(question.protocol, question.destination.port) },
    { kind: 'field', name: 'Rules', value: question.rules.map(ruleText).join(' + ') },
    { kind: 'field', name: 'Rate', value: `${question.ratePerMinute} connections in the last minute` },
    { kind: 'field', name: 'Answer', value: outcomeText(question, nowMs) + took, tone: stateTone(question) },
    { kind: 'field', name: 'Why', value: question.why },
    {
      kind: 'field',
      name: 'By',
      value: question.by ?? (question.approver === null ? '' : `waits for ${question.approver}`),
    },
    {
      kind: 'field',
      name: 'Holds for',
      value: question.scope === 'connection' ? 'this connection' : `${question.scope}, ${question.forSeconds} s`,
    },
  ];
}
