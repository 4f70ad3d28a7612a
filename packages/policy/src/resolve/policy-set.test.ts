import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Document } from '../documents/document.ts';
import { parseDocument } from '../documents/parse.ts';
import { documentOf, networkPolicy } from '../testing/written.ts';
import { changePolicySet, createPolicySet, emptyPolicySet, type PolicySetOptions } from './policy-set.ts';

const apiVersion = 'bulkhead.dev/v1';
const options: PolicySetOptions = {
  checkCondition: (text) => (text.includes('midnight') ? { reason: 'there is no midnight' } : null),
  fileOf: () => 'all.yaml',
};

function document(kind: string, name: string, spec: object): Document {
  const parsed = parseDocument({ apiVersion, kind, metadata: { name }, spec }, {});
  if (parsed.kind === 'refused') assert.fail(JSON.stringify(parsed.problems));
  return parsed.document;
}
const segment = (name: string) => document('Segment', name, { selector: { matchLabels: { app: name } } });
const allowTo = (name: string, to: string, tier = 'application') =>
  document('Policy', name, { tier, rules: [{ name: 'r', action: 'allow', to: [{ any: true }, { segment: to }] }] });

function problems(result: ReturnType<typeof createPolicySet>): string[] {
  return result.kind === 'ok'
    ? []
    : result.problems.map(({ document, file, path, reason }) => `${file} ${document} ${path}: ${reason}`);
}

test('all problems of a set are named at once', () => {
  const condition = document('Policy', 'c', { rules: [{ name: 'r', action: 'ask', when: 'midnight' }] });
  const clash = document('Tier', 'mine', { position: 300 });
  const documents = [
    segment('orders-db'),
    segment('orders-db'),
    allowTo('p', 'order-db', 'aplication'),
    condition,
    clash,
  ];
  assert.deepEqual(problems(createPolicySet(documents, options)), [
    'all.yaml Segment/orders-db metadata.name: there is another Segment/orders-db',
    'all.yaml Tier/mine spec.position: the position 300 is that of tier application',
    'all.yaml Policy/p spec.tier: there is no tier "aplication"; did you mean "application"?',
    'all.yaml Policy/p spec.rules[0].to[1].segment: there is no segment "order-db"; did you mean "orders-db"?',
    'all.yaml Policy/c spec.rules[0].when: there is no midnight',
  ]);
});

test('a refused change leaves nothing; a segment or tier in use cannot go', () => {
  const first = createPolicySet(
    [segment('a'), document('Tier', 'mine', { position: 7 }), allowTo('p', 'a', 'mine')],
    options,
  );
  assert.equal(first.kind, 'ok');
  if (first.kind !== 'ok') return;
  const before = JSON.stringify([...first.policySet.segments.keys(), ...first.policySet.tiers]);
  const change = {
    set: [segment('b')],
    removed: [
      { kind: 'Segment', name: 'a' },
      { kind: 'Tier', name: 'mine' },
    ],
  };
  assert.deepEqual(problems(changePolicySet(first.policySet, change, options)), [
    'all.yaml Policy/p spec.tier: there is no tier "mine"',
    'all.yaml Policy/p spec.rules[0].to[1].segment: there is no segment "a"; did you mean "b"?',
  ]);
  assert.equal(JSON.stringify([...first.policySet.segments.keys(), ...first.policySet.tiers]), before);
  const together = { ...change, removed: [...change.removed, { kind: 'Policy', name: 'p' }] };
  assert.equal(changePolicySet(first.policySet, together, options).kind, 'ok');
});

test('a built-in tier may be given another order, and comes back when its document goes', () => {
  const listed = createPolicySet([document('Tier', 'security', { position: 200, order: 'listed' })], options);
  assert.equal(listed.kind, 'ok');
  if (listed.kind !== 'ok') return;
  assert.equal(listed.policySet.tiers.find(({ name }) => name === 'security')?.order, 'listed');
  const removed = changePolicySet(listed.policySet, { removed: [{ kind: 'Tier', name: 'security' }] }, options);
  assert.deepEqual(removed.kind === 'ok' && removed.policySet.tiers, emptyPolicySet.tiers);
});

test('an invariant names segments that are there, and keeps them; names are taken once per namespace', () => {
  const invariant = document('Invariant', 'i', {
    neverReaches: { from: { segment: 'a' }, to: [{ cidr: '0.0.0.0/0' }, { segment: 'orders' }] },
  });
  const made = createPolicySet([segment('a'), segment('orders'), invariant], options);
  assert.ok(made.kind === 'ok');
  assert.deepEqual(made.policySet.invariants.get('i')?.claim, 'neverReaches');
  assert.deepEqual(problems(createPolicySet([segment('a'), segment('order'), invariant], options)), [
    'all.yaml Invariant/i spec.neverReaches.to[1].segment: there is no segment "orders"; did you mean "order"?',
  ]);
  const gone = changePolicySet(made.policySet, { removed: [{ kind: 'Segment', name: 'a' }] }, options);
  assert.deepEqual(problems(gone), ['all.yaml Invariant/i spec.neverReaches.from.segment: there is no segment "a"']);
  const np = (place: string) => documentOf(networkPolicy(place, { podSelector: {} }));
  assert.equal(createPolicySet([np('x/p'), np('y/p')], options).kind, 'ok');
  assert.deepEqual(problems(createPolicySet([np('x/p'), np('x/p')], options)), [
    'all.yaml NetworkPolicy/x/p metadata.name: there is another NetworkPolicy/x/p',
  ]);
});
