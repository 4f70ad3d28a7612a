import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createPolicySet, parseDocument, type PolicySet } from '@bulkhead/policy';
import { Revisions } from './revisions.ts';

function setOf(segments: readonly string[], rules: readonly string[]): PolicySet {
  const document = (kind: string, name: string, spec: unknown) => {
    const parsed = parseDocument({ apiVersion: 'bulkhead.dev/v1', kind, metadata: { name }, spec }, {});
    assert.ok(parsed.kind === 'ok');
    return parsed.document;
  };
  const made = createPolicySet(
    [
      ...segments.map((name) => document('Segment', name, { selector: { matchLabels: { app: name } } })),
      document('Policy', 'p', { rules: rules.map((name) => ({ name, action: 'allow' })) }),
    ],
    { checkCondition: () => null },
  );
  assert.ok(made.kind === 'ok');
  return made.policySet;
}

test('a reason that came with the revision that was being written is of that one', () => {
  const revisions = new Revisions();
  const [one, two, three] = [setOf(['web'], ['a']), setOf(['web', 'db'], ['a', 'b']), setOf(['db'], ['b', 'c'])];
  revisions.changed(1, 2, one, two);
  revisions.changed(2, 4, two, three);
  assert.equal(revisions.of(1, ['application/p/a', 'application/p/a']), 1);
  assert.equal(revisions.of(1, ['application/p/a', 'application/p/b']), 2);
  assert.equal(revisions.of(1, ['posture:db']), 2);
  assert.equal(revisions.of(2, ['application/p/b']), 2);
  assert.equal(revisions.of(2, ['application/p/c']), 4);
  assert.equal(revisions.of(9, ['application/p/c']), 9);
});

test('a pass that did not settle: what came with either of two revisions is of the first that has it', () => {
  const revisions = new Revisions();
  const [one, two, three] = [setOf([], ['a']), setOf([], ['a', 'b']), setOf([], ['a', 'b', 'c'])];
  revisions.changed(1, 2, one, two);
  revisions.changed(1, 3, two, three);
  assert.equal(revisions.of(1, ['application/p/b']), 2);
  assert.equal(revisions.of(1, ['application/p/c']), 3);
});
