import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { backoffMaxMs, backoffMinMs, backoffMs } from './backoff.ts';

test('delays are bounded, never nothing, and spread over their whole range', () => {
  fc.assert(
    fc.property(fc.nat(10_000), fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (attempt, random) => {
      const delay = backoffMs(attempt, random);
      assert.ok(delay >= backoffMinMs / 2);
      assert.ok(delay <= backoffMinMs / 2 + backoffMaxMs);
    }),
  );
  assert.ok(backoffMs(30, 0.9) - backoffMs(30, 0.1) > backoffMaxMs / 2);
});
