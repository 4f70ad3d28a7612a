import assert from 'node:assert/strict';
import { test } from 'node:test';
import { plain } from '../output/paint.ts';
import { atLeast, certificateFinding, clockFinding, findingLines, kernelVersion, runCheck } from './finding.ts';

test('kernel versions are compared as numbers', () => {
  assert.deepEqual(kernelVersion('6.10.3-amd64'), [6, 10]);
  assert.equal(kernelVersion('unknown'), null);
  assert.ok(atLeast([6, 10], [6, 6]));
  assert.ok(!atLeast([5, 19], [6, 1]));
});

test('clocks that differ are told, and by how much', () => {
  assert.equal(clockFinding(10_000, 10_900).state, 'good');
  assert.equal(clockFinding(10_000, 15_000).state, 'warn');
  assert.equal(clockFinding(0, 60_000).state, 'bad');
});

test('a certificate that has ended is bad', () => {
  assert.equal(certificateFinding('c', 1000, 2000).state, 'bad');
  assert.match(certificateFinding('c', 10 * 86_400_000, 0).found, /10 days/);
});

test('a check that throws is a finding', async () => {
  const finding = await runCheck('pins', () => Promise.reject(new Error('no such thing')));
  assert.deepEqual(finding, { name: 'pins', state: 'bad', found: 'no such thing' });
  assert.deepEqual(findingLines([finding], plain), ['BAD   pins  no such thing']);
});
