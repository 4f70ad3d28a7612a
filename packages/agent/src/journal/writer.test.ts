import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from '../testing/virtual-clock.ts';
import { Journal } from './journal.ts';
import { JournalWriter } from './writer.ts';
import type { QuestionOutcome } from '../questions/questions.ts';

test('items are written together after a moment, or at once when there are many; what the disk refuses is counted', async () => {
  const clock = new VirtualClock();
  const journal = new Journal(':memory:');
  let lost = 0;
  const writer = new JournalWriter<QuestionOutcome>({
    ...{ journal, clock, delayMs: 50 },
    content: (outcomes) => ({ type: 'outcomes', outcomes }),
    onFailed: (items) => (lost += items),
  });
  const outcome = {} as QuestionOutcome;
  writer.add(outcome);
  writer.add(outcome);
  assert.equal(journal.batches, 0);
  await clock.advance(50);
  assert.equal(journal.batches, 1);
  for (let each = 0; each < 2_000; each++) writer.add(outcome);
  assert.equal(journal.batches, 2);
  journal[Symbol.dispose]();
  writer.add(outcome);
  await clock.advance(50);
  assert.equal(lost, 1);
});
