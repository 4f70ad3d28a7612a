import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { labelKeyFault, labelValueFault } from '@bulkhead/policy';
import { emptyInventory, setWorkload } from './inventory-state.ts';
import { claimedAddress } from './addresses.ts';
import { judgeReport, labelsMax, problemsMax } from './report.ts';
import { workloadReport } from '../testing/link-fixture.ts';
import type { WorkloadReport } from '@bulkhead/protocol';

const fault = (key: string, value: string) => labelKeyFault(key) ?? labelValueFault(key, value);
const open = { host: 'h1', labelsAllowed: null, addressesAllowed: null };

function withAddresses(workload: string, addresses: string[]): WorkloadReport {
  return workloadReport(workload, {
    endpoints: [{ endpoint: 'e', network: 'n', mac: '02:00:00:00:00:01', addresses }],
  });
}

function accept(report: WorkloadReport, host: Parameters<typeof judgeReport>[0] = open, state = emptyInventory()) {
  const judged = judgeReport(host, report, state, fault);
  assert.ok(judged.kind === 'accepted');
  return judged.accepted;
}

test('one address has one spelling, so another’s cannot be taken by writing it differently', () => {
  const state = emptyInventory();
  const entry = {
    report: withAddresses('h2/docker/db', ['fd00::5']),
    host: 'h2',
    labels: {},
    identity: 0,
    addresses: ['fd00::5'],
    problems: [],
  };
  setWorkload(state, entry);
  for (const spelling of ['fd00::5', 'FD00::5', 'fd00:0:0:0:0:0:0:5', 'fd00::0005', 'fd00::0.0.0.5']) {
    const accepted = accept(withAddresses('h1/docker/x', [spelling]), open, state);
    assert.deepEqual([accepted.addresses, accepted.problems.length], [[], 1], spelling);
  }
  assert.deepEqual(claimedAddress('FD00::0.0.0.6', null), { kind: 'address', address: 'fd00::6' });
});

test('addresses that are nobody’s, not written as addresses, or of other networks are not taken', () => {
  for (const text of [
    '010.0.0.1',
    '10.0.0',
    '::ffff:10.0.0.1',
    '127.0.0.1',
    '0.0.0.0',
    '255.255.255.255',
    '239.1.1.1',
    '::1',
    '::',
    'ff02::1',
    'fd00::1%eth0',
    'x',
  ]) {
    assert.equal(claimedAddress(text, null).kind, 'refused', text);
  }
  for (const text of ['fe80::1', '169.254.1.1']) assert.equal(claimedAddress(text, null).kind, 'local', text);
  const allowed = ['10.7.0.0/16', 'fd00:7::/32'];
  assert.equal(claimedAddress('10.7.3.4', allowed).kind, 'address');
  assert.equal(claimedAddress('fd00:7::9', allowed).kind, 'address');
  assert.equal(claimedAddress('1.1.1.1', allowed).kind, 'refused', 'an address of the internet is not drawn to a host');
  assert.equal(claimedAddress('10.8.0.1', allowed).kind, 'refused');
});

test('whatever is claimed, facts are those that were measured, and what is taken is well formed', () => {
  const key = fc.oneof(
    fc.string(),
    fc.constantFrom(
      'app',
      'bulkhead.dev/host',
      'bulkhead.dev/image',
      'bulkhead.dev/x',
      '__proto__',
      'constructor',
      'a/b',
    ),
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(key, fc.string()), { maxLength: 200 }), (pairs) => {
      const labels = Object.fromEntries(pairs);
      const accepted = accept(workloadReport('h1/docker/x', { labels }));
      assert.equal(accepted.labels['bulkhead.dev/host'], 'h1');
      assert.equal(accepted.labels['bulkhead.dev/image'], undefined);
      for (const [name, value] of Object.entries(accepted.labels)) {
        if (name.startsWith('bulkhead.dev/')) continue;
        assert.equal(fault(name, value), null);
        assert.equal(labels[name], value);
      }
      assert.ok(Object.keys(accepted.labels).length <= labelsMax + 5);
      assert.ok(Object.keys(labels).length === 0 || accepted.problems.length + Object.keys(accepted.labels).length > 4);
    }),
  );
});

test('a host asserts the labels that it may, and no other’s workload', () => {
  const host = { ...open, labelsAllowed: { app: ['web', 'api'], zone: ['*'] } };
  const accepted = accept(workloadReport('h1/docker/x', { labels: { app: 'db', zone: 'anything', team: 'x' } }), host);
  assert.deepEqual(
    [accepted.labels['app'], accepted.labels['zone'], accepted.labels['team']],
    [undefined, 'anything', undefined],
  );
  for (const workload of ['h2/docker/x', 'h1', 'h11/docker/x', '/h1/x']) {
    assert.equal(judgeReport(host, workloadReport(workload), emptyInventory(), fault).kind, 'foreign', workload);
  }
});

test('what a host reports takes bounded room, however much it says', () => {
  const labels = Object.fromEntries(Array.from({ length: 5000 }, (_, index) => [`not a key ${index}`, 'x']));
  const endpoints = Array.from({ length: 32 }, (_, index) => ({
    endpoint: `e${index}`,
    network: 'n',
    mac: '02:00:00:00:00:01',
    addresses: Array.from({ length: 16 }, () => 'no address'),
  }));
  const judged = judgeReport(
    { host: 'h1', labelsAllowed: null, addressesAllowed: null },
    workloadReport('h1/docker/a', { labels, endpoints }),
    emptyInventory(),
    () => 'no label',
  );
  assert.ok(judged.kind === 'accepted');
  assert.equal(Object.keys(judged.accepted.report.labels).length, labelsMax);
  assert.equal(judged.accepted.problems.length, problemsMax + 1);
  assert.match(judged.accepted.problems.at(-1)!, /and \d+ more/);
});
