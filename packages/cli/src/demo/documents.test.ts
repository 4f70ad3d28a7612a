import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createPolicySet, decide, parseDocument, reasonText, type Document, type Party } from '@bulkhead/policy';
import { parseAllDocuments } from 'yaml';
import { parseCompose } from './compose.ts';

const floor = fileURLToPath(new URL('../../../../examples/trading-floor/', import.meta.url));

function documents(): readonly Document[] {
  const parsed: Document[] = [];
  for (const file of readdirSync(join(floor, 'policy')).toSorted()) {
    for (const each of parseAllDocuments(readFileSync(join(floor, 'policy', file), 'utf8'))) {
      const result = parseDocument(each.toJS(), { file });
      assert.equal(result.kind, 'ok', JSON.stringify(result));
      if (result.kind === 'ok') parsed.push(result.document);
    }
  }
  return parsed;
}

const compose = parseCompose(readFileSync(join(floor, 'compose.yaml'), 'utf8'));

/** A service as policy sees it: its labels without the prefix that marks them as ours. */
function workload(service: string): Party {
  const labels = Object.entries(compose.services[service]!.labels).map(([key, value]) => [
    key.replace(/^bulkhead\./, ''),
    value,
  ]);
  return { kind: 'workload', labels: Object.fromEntries(labels) };
}

describe('the documents of the trading floor', () => {
  const result = createPolicySet(documents(), { checkCondition: () => null });
  assert.equal(result.kind, 'ok', JSON.stringify(result));

  const visitor: Party = { kind: 'address', address: '198.51.100.10' };
  const stranger: Party = { kind: 'address', address: '203.0.113.9' };
  const said: readonly (readonly [string, Party, Party, number, string, string])[] = [
    [
      'the web page reads from the desk',
      workload('web'),
      workload('desk'),
      8080,
      'allow',
      'application/floor/web-to-desk',
    ],
    ['the web page does not reach the database', workload('web'), workload('orders-db'), 5432, 'deny', 'posture:web'],
    [
      'signals stay apart',
      workload('buy-signals'),
      workload('sell-signals'),
      8080,
      'reject',
      'security/signals-apart/buy-to-sell',
    ],
    [
      'the desk asks for the database',
      workload('desk'),
      workload('orders-db'),
      5432,
      'ask',
      'application/orders/desk-to-orders',
    ],
    [
      'the buying side asks too',
      workload('buy-signals'),
      workload('orders-db'),
      5432,
      'ask',
      'application/orders/signals-to-orders',
    ],
    [
      'payments need a person',
      workload('desk'),
      workload('payments'),
      8443,
      'ask',
      'application/payments/desk-to-payments',
    ],
    ['visitors see the web page', visitor, workload('web'), 8080, 'allow', 'builtin:not-a-subject'],
    ['visitors do not pay', visitor, workload('payments'), 8443, 'deny', 'builtin:not-a-subject'],
    ['others see nothing', stranger, workload('web'), 8080, 'deny', 'builtin:not-a-subject'],
    ['the intern reaches nobody', workload('intern'), workload('orders-db'), 5432, 'deny', 'posture:interns'],
  ];
  for (const [name, source, destination, port, action, egress] of said) {
    test(name, () => {
      assert.equal(result.kind, 'ok');
      if (result.kind !== 'ok') return;
      const verdict = decide(result.policySet, { source, destination, protocol: 6, port });
      assert.equal(verdict.action, action);
      assert.equal(reasonText(verdict.egress.reason), egress);
    });
  }
});
