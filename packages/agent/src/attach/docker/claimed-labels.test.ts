import { test } from 'node:test';
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { claimedFromOptions, claimedLabels } from './claimed-labels.ts';

test('labels of the image do not count, whatever the container’s merged labels say', () => {
  const claim = claimedLabels(
    { 'bulkhead.app': 'web', 'bulkhead.team': 'red', other: 'x' },
    { 'bulkhead.team': 'red' },
  );
  assert.deepEqual(claim.labels, { app: 'web' });
  assert.deepEqual(claim.refused, ['bulkhead.team: comes from the image']);
});

test('a label that overrides the image’s counts', () => {
  assert.deepEqual(claimedLabels({ 'bulkhead.team': 'blue' }, { 'bulkhead.team': 'red' }).labels, { team: 'blue' });
});

test('with the image gone nothing can be told apart, and nothing counts', () => {
  const claim = claimedLabels({ 'bulkhead.app': 'web' }, null);
  assert.deepEqual(claim.labels, {});
  assert.equal(claim.refused.length, 1);
});

test('facts cannot be claimed, and what is no label is refused', () => {
  const wrong = {
    'bulkhead.bulkhead.dev/class': 'microvm',
    'bulkhead.a b': 'x',
    'bulkhead.key': 'no good',
    'bulkhead.': 'x',
  };
  assert.deepEqual(claimedLabels(wrong, {}).labels, {});
  assert.equal(claimedFromOptions({ 'bulkhead.bulkhead.dev/host': 'h' }).kind, 'invalid');
  assert.deepEqual(claimedFromOptions({ 'bulkhead.app': 'web', 'com.docker.network.portmap': [] }), {
    kind: 'claimed',
    labels: { app: 'web' },
  });
});

test('never more labels than the limit, and never one from the image', () => {
  const labels = fc.dictionary(
    fc.string({ maxLength: 8 }).map((key) => `bulkhead.${key}`),
    fc.string({ maxLength: 4 }),
  );
  fc.assert(
    fc.property(labels, labels, (container, image) => {
      const claim = claimedLabels(container, image);
      assert.ok(Object.keys(claim.labels).length <= 64);
      for (const [key, value] of Object.entries(claim.labels)) assert.notEqual(image[`bulkhead.${key}`], value);
    }),
  );
});
