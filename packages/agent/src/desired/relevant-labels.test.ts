import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createPolicySet, parseDocument, type PolicySet } from '@bulkhead/policy';
import { isIdentityOf } from './relevant-labels.ts';

function policySetOf(...values: readonly unknown[]): PolicySet {
  const documents = values.map((value) => {
    const parsed = parseDocument(value, {});
    if (parsed.kind === 'refused') assert.fail(JSON.stringify(parsed.problems));
    return parsed.document;
  });
  const result = createPolicySet(documents, { checkCondition: () => null });
  if (result.kind === 'refused') assert.fail(JSON.stringify(result.problems));
  return result.policySet;
}

const set = policySetOf({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { namespace: 'x', name: 'p' },
  spec: { podSelector: { matchLabels: { app: 'a' } }, ingress: [{ from: [{ ipBlock: { cidr: '10.0.0.0/8' } }] }] },
});

test('what no document reads is no difference; what one reads is', () => {
  const workload = { labels: { app: 'a', build: '7' }, addresses: [] };
  assert.equal(isIdentityOf(set, { app: 'a' }, workload), true);
  assert.equal(isIdentityOf(set, { app: 'b' }, workload), false);
  assert.equal(isIdentityOf(set, {}, workload), false);
  assert.equal(isIdentityOf(set, { app: 'a', build: '8' }, workload), false);
});

test('an identity of other addresses is that of another workload, where a document reads them', () => {
  const identity = { app: 'a', 'bulkhead.dev/in-10.0.0.0_8': 'true' };
  const at = (...addresses: string[]) => isIdentityOf(set, identity, { labels: { app: 'a' }, addresses });
  assert.equal(at('10.0.0.1'), true);
  assert.equal(at('fd00::1', '10.0.0.1'), true);
  assert.equal(at('192.0.2.1'), false);
  assert.equal(at(), false);
  assert.equal(isIdentityOf(set, { app: 'a' }, { labels: { app: 'a' }, addresses: ['10.0.0.1'] }), false);
});
