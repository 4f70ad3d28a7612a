import { test } from 'node:test';
import assert from 'node:assert/strict';
import { divergenceRecord, type FlowRecord } from '@bulkhead/protocol';
import fc from 'fast-check';
import { differences, type BelievedWorkload, type Wire } from './compare.ts';
import { DivergenceLedger } from './ledger.ts';
import { ServedPorts } from './served-ports.ts';
import { unjudgedCounts } from './watch.ts';

const web: BelievedWorkload = {
  ...{
    workload: 'h/docker/web',
    name: 'web',
    running: true,
    ungovernedBecause: null,
    isolationClass: 'shared',
    runtime: 'runc',
  },
  declaredPorts: new Set(['tcp/80']),
  endpoints: [{ endpoint: 'e1', addresses: ['10.0.0.2'] }],
};
const quiet: Wire = {
  endpoints: [
    {
      endpoint: 'e1',
      workload: web.workload,
      interfaceName: 'bhw1',
      interfaceUp: true,
      addresses: ['10.0.0.2'],
      spoofed: 0,
      unknownForMs: 0,
    },
  ],
  ...{ served: [], runs: new Map(), unjudged: new Map([['forward', 0]]) },
};
const endpoint = quiet.endpoints[0]!;
const kinds = (believed: readonly BelievedWorkload[], wire: Wire) =>
  differences(believed, wire).map(({ kind }) => kind);

test('two views that agree differ in nothing', () => {
  assert.deepEqual(differences([web], quiet), []);
});

test('each kind of difference, one at a time', () => {
  assert.deepEqual(kinds([{ ...web, ungovernedBecause: 'network host', endpoints: [] }], { ...quiet, endpoints: [] }), [
    'ungoverned',
  ]);
  assert.deepEqual(kinds([web], { ...quiet, endpoints: [] }), ['missing-on-wire']);
  assert.deepEqual(kinds([web], { ...quiet, endpoints: [{ ...endpoint, interfaceUp: false }] }), ['missing-on-wire']);
  assert.deepEqual(kinds([web], { ...quiet, endpoints: [{ ...endpoint, addresses: ['10.0.0.9'] }] }), [
    'foreign-address',
  ]);
  assert.deepEqual(kinds([], quiet), ['unknown-workload']);
  assert.deepEqual(kinds([{ ...web, running: false }], quiet), ['unknown-workload']);
  assert.deepEqual(kinds([web], { ...quiet, endpoints: [{ ...endpoint, workload: null, unknownForMs: 20_000 }] }), [
    'unknown-workload',
  ]);
  assert.deepEqual(kinds([web], { ...quiet, endpoints: [{ ...endpoint, workload: null, unknownForMs: 200 }] }), []);
  assert.deepEqual(kinds([web], { ...quiet, endpoints: [{ ...endpoint, spoofed: 3 }] }), ['spoofing']);
  assert.deepEqual(
    kinds([web], { ...quiet, served: [{ workload: web.workload, port: 'tcp/22', client: '10.0.0.3', lastMs: 0 }] }),
    ['undeclared-port'],
  );
  assert.deepEqual(
    kinds([web], { ...quiet, served: [{ workload: web.workload, port: 'tcp/80', client: '10.0.0.3', lastMs: 0 }] }),
    [],
  );
  assert.deepEqual(kinds([web], { ...quiet, unjudged: new Map([['forward', 4]]) }), ['dropped-path']);
});

test('a sandbox that is none is a weaker boundary than promised', () => {
  const sandboxed = { ...web, isolationClass: 'sandbox', runtime: 'runsc' };
  assert.deepEqual(kinds([sandboxed], { ...quiet, runs: new Map([[web.workload, '/bin/sleep sleep']]) }), ['boundary']);
  assert.deepEqual(kinds([sandboxed], { ...quiet, runs: new Map([[web.workload, '/memfd:runsc runsc-sandbox']]) }), []);
});

test('opened once, updated now and then, resolved once; bounded; every record is one of the protocol', () => {
  fc.assert(
    fc.property(fc.array(fc.uniqueArray(fc.nat({ max: 9 }), { maxLength: 8 }), { maxLength: 30 }), (rounds) => {
      const ledger = new DivergenceLedger({ host: 'h', openMax: 5, updateMs: 10_000 });
      const open = new Set<string>();
      for (const [index, round] of rounds.entries()) {
        const found = round.map((number) => ({
          id: `d${number}`,
          kind: 'spoofing' as const,
          workload: null,
          believed: 'b',
          observed: 'o'.repeat(3000),
          evidence: 'e',
        }));
        for (const record of ledger.round(found, index * 5000)) {
          assert.ok(divergenceRecord.safeParse(record).success);
          if (record.resolved) assert.ok(open.delete(record.id), 'resolved without having been opened');
          else if (!open.has(record.id)) open.add(record.id);
          else assert.ok(record.lastMs > record.firstMs);
        }
        assert.ok(ledger.size <= 5);
        assert.equal(open.size, ledger.size);
      }
      for (const record of ledger.round([], 1e9)) open.delete(record.id);
      assert.equal(open.size, 0);
    }),
  );
});

test('a port is served when somebody was answered, not when somebody tried', () => {
  const ports = new ServedPorts();
  const flow = (port: number, back: number, more: Partial<FlowRecord> = {}): FlowRecord => ({
    ...{
      id: 'f',
      protocol: 6,
      verdict: 'allow',
      egressReason: '',
      ingressReason: '',
      dropReason: null,
      question: null,
      staged: null,
      revision: 1,
    },
    source: { workload: null, identity: 2, address: '192.0.2.1', port: 1 },
    destination: { workload: web.workload, identity: 300, address: '10.0.0.2', port },
    ...{ firstMs: 0, lastMs: 1000, packets: [3, back], bytes: [1, 1], state: 'closed', ...more },
  });
  ports.see(flow(80, 5));
  ports.see(flow(81, 1));
  ports.see(flow(82, 5, { verdict: 'deny' }));
  for (let port = 1000; port < 2000; port++) ports.see(flow(port, 5, { lastMs: 9_000_000 }));
  assert.deepEqual(
    ports
      .current(1000)
      .filter(({ lastMs }) => lastMs === 1000)
      .map(({ port }) => port),
    ['tcp/80'],
  );
  assert.equal(ports.current(9_000_000).length, 63, 'at most 64 a workload, the old one forgotten');
});

test('drops of unjudged packets are read from nft’s own words', () => {
  const listing = `table inet bulkhead {
	chain unjudged_input {
		type filter hook input priority filter - 10; policy accept;
		iifname "bhw*" meta mark & 0x00003000 == 0x00000000 meta l4proto != ipv6-icmp counter packets 2 bytes 0 drop
		iifname "tap0" meta mark & 0x00003000 == 0x00000000 meta l4proto != ipv6-icmp counter packets 3 bytes 0 drop
	}
	chain unjudged_forward {
		oifname "bhw*" counter packets 9 bytes 0 drop
		iifname "bhw*" meta mark & 0x00003000 == 0x00000000 counter packets 7 bytes 0 drop
	}
}`;
  assert.deepEqual(
    [...unjudgedCounts(listing)],
    [
      ['input', 5],
      ['forward', 7],
    ],
  );
});
