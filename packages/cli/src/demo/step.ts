/** One step of the demo: what it shows, what it declares, and the facts it found. */
import type { QuestionRecord, StoredFlow } from '@bulkhead/protocol';
import { duration, serviceText } from '../output/units.ts';
import { partyText, verdictTone, whyText } from '../views/flow-view.ts';
import { ruleText } from '../views/question-view.ts';
import type { Attempt, Ending } from './attempt.ts';
import type { Fact } from './narration.ts';
import type { Stage } from './stage.ts';

export interface Step {
  readonly title: string;
  readonly story: string;
  run(stage: Stage, show: Show): Promise<void>;
}

/** Shows a fact at once, and keeps it for the summary. */
export type Show = (fact: Fact) => void;

const endingText: Readonly<Record<Ending, string>> = {
  connected: 'connected',
  refused: 'refused (reset)',
  'timed-out': 'nothing: timed out',
  unreachable: 'unreachable',
  'no-such-name': 'no such name',
};

export function showAttempt(show: Show, tried: string, attempt: Attempt): void {
  show({ kind: 'tried', text: tried });
  const tone = attempt.ending === 'connected' ? 'good' : 'bad';
  show({ kind: 'returned', text: `${endingText[attempt.ending]} after ${duration(attempt.tookMs)}`, tone });
}

export function showFlow(show: Show, flow: StoredFlow | null): void {
  if (flow === null) {
    show({ kind: 'wire', text: 'no such flow was recorded', tone: 'bad' });
    return;
  }
  const { source, destination } = flow;
  const ends = `${endText(source)} → ${endText(destination)}`;
  const counted = `${flow.packets[0]}+${flow.packets[1]} packets, ${flow.bytes[0] + flow.bytes[1]} bytes`;
  const text = `${ends} ${serviceText(flow.protocol, destination.port)}: ${flow.verdict}, ${counted}`;
  show({ kind: 'wire', text, tone: verdictTone(flow.verdict) });
  show({ kind: 'why', text: whyText(flow) });
}

/** The name and the address behind it; only one where they are the same. */
const endText = (party: StoredFlow['source']): string =>
  partyText(party).includes(party.address) ? partyText(party) : `${partyText(party)} ${party.address}`;

export function showQuestion(show: Show, question: QuestionRecord | null): void {
  if (question === null) {
    show({ kind: 'wire', text: 'no such question was recorded', tone: 'bad' });
    return;
  }
  const took = question.answeredMs === null ? '' : ` after ${duration(question.answeredMs - question.atMs)}`;
  const text = `question ${question.id} by ${question.rules.map(ruleText).join(' + ')}: ${question.verdict ?? question.state}${took}`;
  show({ kind: 'note', text: `${text}, by ${question.by ?? 'nobody'}` });
  if (question.why !== '') show({ kind: 'note', text: question.why });
}

/** Declares something, and says what it was when it was not so. */
export function declare(show: Show, text: string, met: boolean, actual: string): void {
  show({ kind: 'expected', text, met, actual });
}

export function declareEnding(show: Show, wanted: Ending, attempt: Attempt): void {
  declare(show, endingText[wanted], attempt.ending === wanted, endingText[attempt.ending]);
}

export function declareFlow(show: Show, flow: StoredFlow | null, verdict: StoredFlow['verdict'], reason: string): void {
  const actual = flow === null ? 'no flow' : `${flow.verdict} by ${whyText(flow)}`;
  const met = flow !== null && flow.verdict === verdict && whyText(flow).includes(reason);
  declare(
    show,
    `a flow ${verdict === 'allow' ? 'allowed' : verdict === 'deny' ? 'denied' : 'rejected'} by ${reason}`,
    met,
    actual,
  );
}
