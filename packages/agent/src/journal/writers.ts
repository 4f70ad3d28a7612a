/** The three kinds of records that are journalled, each gathered into batches of its own. */
import type { DivergenceRecord, FlowRecord } from '@bulkhead/protocol';
import type { Clock } from '../clock.ts';
import type { QuestionOutcome } from '../questions/questions.ts';
import type { Journal } from './journal.ts';
import { JournalWriter } from './writer.ts';

/** How long records may wait in memory for others to be written with them. */
const flowsDelayMs = 250;
const recordsDelayMs = 50;

export interface Writers extends Disposable {
  readonly flows: JournalWriter<FlowRecord>;
  readonly outcomes: JournalWriter<QuestionOutcome>;
  readonly divergences: JournalWriter<DivergenceRecord>;
}

export function openWriters(
  journal: Journal,
  clock: Clock,
  onFailed: (items: number, error: unknown) => void,
): Writers {
  const flows = new JournalWriter<FlowRecord>({
    ...{ journal, clock, onFailed, delayMs: flowsDelayMs },
    content: (items) => ({ type: 'flows', flows: items }),
  });
  const outcomes = new JournalWriter<QuestionOutcome>({
    ...{ journal, clock, onFailed, delayMs: recordsDelayMs },
    content: (items) => ({ type: 'outcomes', outcomes: items }),
  });
  const divergences = new JournalWriter<DivergenceRecord>({
    ...{ journal, clock, onFailed, delayMs: recordsDelayMs },
    content: (items) => ({ type: 'divergences', divergences: items }),
  });
  const dispose = (): void => {
    for (const writer of [flows, outcomes, divergences]) writer[Symbol.dispose]();
  };
  return { flows, outcomes, divergences, [Symbol.dispose]: dispose };
}
