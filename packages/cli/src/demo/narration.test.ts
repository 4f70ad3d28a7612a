import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { plain } from '../output/paint.ts';
import { parseAttempt, parseSweep } from './attempt.ts';
import { factLines, stepMet, summaryLines, wrap, type Fact, type StepResult } from './narration.ts';

const result = (facts: readonly Fact[]): StepResult => ({ number: 1, title: 'Allowed', story: '', facts, tookMs: 12 });
const met: Fact = { kind: 'expected', text: 'connected', met: true, actual: 'connected' };
const missed: Fact = { kind: 'expected', text: 'connected', met: false, actual: 'refused' };

describe('a step', () => {
  test('is met when everything declared came out', () => {
    assert.equal(stepMet(result([met])), true);
    assert.equal(stepMet(result([met, missed])), false);
  });

  test('that declares nothing is not met', () => {
    assert.equal(stepMet(result([])), false);
    assert.match(summaryLines([result([])], plain).join('\n'), /0 of 1 steps/);
  });

  test('shows what it was instead', () => {
    assert.match(factLines(missed, plain).join('\n'), /✗ connected; it was: refused/);
  });

  test('is wrapped at words', () => {
    assert.deepEqual(wrap('one two three', 7), ['one two', 'three']);
  });
});

describe('what the probe says', () => {
  test('is understood', () => {
    assert.deepEqual(parseAttempt('connected 0.37 ms'), { ending: 'connected', tookMs: 0.37 });
    assert.deepEqual(parseSweep('connected 10.0.0.2:80\ntried 4, connected 1, refused 0, silent 3'), {
      tried: 4,
      connected: 1,
      refused: 0,
      answers: ['connected 10.0.0.2:80'],
    });
  });

  test('or is an error, never a guess', () => {
    assert.throws(() => parseAttempt('Killed'), /the probe said: Killed/);
    assert.throws(() => parseSweep(''), /the probe said/);
  });
});
