import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { wallLimits } from './limits.ts';
import { playHistory, type WallsUnderTest } from './testing/random-history.ts';
import { Walls } from './walls.ts';

const limits = { ...wallLimits, conflictsMax: 60 };
const walls: WallsUnderTest<Walls> = {
  empty: () => Walls.empty(limits),
  reopened: (before) => Walls.restore(JSON.parse(JSON.stringify(before.snapshot())), limits),
};

const stepsMax = 30;
const histories = fc.array(fc.nat({ max: 2 ** 31 - 1 }), { minLength: 1, maxLength: stepsMax + 1, size: 'max' });

/** Throws what happened in the history, step by step. */
function agree(numbers: readonly number[]): void {
  const verdict = playHistory(walls, numbers);
  if (verdict === null) return;
  const lines: string[] = [];
  playHistory(walls, numbers, (line) => lines.push(line));
  assert.fail(`${lines.join('\n')}\n${verdict.message}`);
}

describe('walls agree with the brute-force oracle', () => {
  const runs = Number(process.env['BULKHEAD_WALL_HISTORIES'] ?? 200_000);
  test(`on ${runs} random histories of up to ${stepsMax} steps`, () => {
    fc.assert(fc.property(histories, agree), { numRuns: runs });
  });
});
