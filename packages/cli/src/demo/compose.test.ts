import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { networkArguments, parseCompose, runArguments } from './compose.ts';

const example = readFileSync(new URL('../../../../examples/trading-floor/compose.yaml', import.meta.url), 'utf8');

test('the example is understood', () => {
  const file = parseCompose(example);
  assert.deepEqual(Object.keys(file.services).toSorted(), [
    'buy-signals',
    'desk',
    'intern',
    'orders-db',
    'payments',
    'sell-signals',
    'web',
  ]);
  assert.deepEqual(networkArguments('floor', file.networks['floor']!), [
    ...['--driver', 'bulkhead', '--ipam-driver', 'bulkhead', '--subnet', '10.77.0.0/24', 'floor'],
  ]);
  assert.deepEqual(runArguments('web', file.services['web']!), [
    ...['--detach', '--name', 'web', '--hostname', 'web', '--network', 'floor'],
    ...[
      '--label',
      'bulkhead.app=web',
      '--label',
      'bulkhead.floor=main',
      '--publish',
      '8080:8080',
      'trading-floor/web:1',
    ],
  ]);
});

test('a field that would be left out is refused', () => {
  assert.throws(() => parseCompose(example.replace('cap_add:', 'privileged: true\n    cap_add:')), /privileged/);
});

test('a network that is not there is refused', () => {
  assert.throws(() => parseCompose(example.replace('networks: [floor]', 'networks: [ceiling]')), /no network ceiling/);
});
