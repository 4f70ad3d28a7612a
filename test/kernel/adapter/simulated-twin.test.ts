/**
 * The simulated kernel is a model of the real one only as far as both give the same answers: random tables and packets go to both, and
 * verdicts, connections, counters and events are compared. Every run prints its seed when it fails.
 */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import process from 'node:process';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import {
  createSimulatedKernel,
  frameOf,
  openLinuxKernel,
  packetOf,
  type Connection,
  type EndpointEntry,
  type Kernel,
  type KernelEvent,
  type LinuxKernel,
  type Row,
  type VerdictAction,
  type VerdictLive,
} from '@bulkhead/kernel';
import { enterOwnNamespace } from './own-namespace.ts';

enterOwnNamespace();
const pinRoot = `/sys/fs/bpf/bhB-${process.pid}-twin`;
const slots = [1, 2, 3] as const;
const outside = ['198.51.100.1', '203.0.113.5'] as const;
const learntPeers = [2 ** 24 + 10, 2 ** 24 + 11] as const;
const cidrPeers = { '198.51.100.0/24': 2 ** 24, '198.51.0.0/16': 2 ** 24 + 1, '203.0.113.5/32': 2 ** 24 + 2 } as const;
const gateway = '10.66.0.254';
const remote = '10.66.0.200';

interface Twin {
  readonly kernel: Kernel;
  readonly ifindexes: readonly number[];
}
let real: Twin;
let simulated: Twin;
let linux: LinuxKernel;
let ids = 0;

async function prepare(kernel: Kernel): Promise<Twin> {
  kernel.programs.load();
  const ifindexes: number[] = [];
  for (const slot of slots) {
    const made = await kernel.routes.createVeth({
      name: `bhBt${slot}`,
      peer: `bhBu${slot}`,
      mac: mac(slot, 1),
      peerMac: mac(slot, 0),
      mtu: 1500,
    });
    await kernel.routes.setUp(made.name, true);
    ifindexes.push(made.ifindex);
  }
  const device = await kernel.openPuntDevice();
  kernel.maps.setConfig({
    revision: 3,
    puntIfindex: device.ifindex,
    overlayIfindex: 0,
    puntRate: 1000,
    puntBurst: 1000,
    gatewayIpv4: null,
    gatewayIpv6: null,
  });
  kernel.maps.setAddress(gateway, { kind: 'host' });
  kernel.maps.setAddress(remote, { kind: 'remote', identity: 999, host: '192.0.2.7' });
  kernel.maps.setCidrs(Object.entries(cidrPeers).map(([cidr, peer]) => ({ cidr, peer })));
  return { kernel, ifindexes };
}
const mac = (slot: number, side: number): string => `02:00:00:00:${side.toString(16).padStart(2, '0')}:0${slot}`;
const ip = (slot: number): string => `10.66.0.${slot}`;
const identities = [301, 302, 303] as const;

before(async () => {
  linux = openLinuxKernel({ pinRoot, puntName: 'bhBtwin' });
  real = await prepare(linux);
  simulated = await prepare(
    createSimulatedKernel({ nowNs: () => linux.nowNs(), random: () => (ids = (ids + 0.001) % 1) }),
  );
});
after(async () => {
  linux.programs.unload();
  await linux[Symbol.asyncDispose]();
  rmSync(pinRoot, { recursive: true, force: true });
});

const plain = { noNullPrototype: true } as const;
const slot = fc.constantFrom(...slots);
const state = fc.constantFrom<EndpointEntry['state']>('governed', 'governed', 'governed', 'held', 'fenced', 'observed');
const actions: readonly VerdictAction[] = ['allow', 'allow', 'deny', 'ask', 'reject'];
const peer = fc.constantFrom(0, 1, 2, 999, ...identities, ...Object.values(cidrPeers), ...learntPeers);
const step = fc.oneof(
  {
    weight: 2,
    arbitrary: fc.record(
      {
        kind: fc.constant('endpoint' as const),
        slot,
        state,
        ruleset: fc.constantFrom(1, 2),
        epoch: fc.integer({ min: 1, max: 4 }),
        connectionsMax: fc.constantFrom(2, 1000),
        learns: fc.boolean(),
      },
      plain,
    ),
  },
  {
    weight: 2,
    arbitrary: fc.record(
      {
        kind: fc.constant('learn' as const),
        slot,
        address: fc.constantFrom(...outside),
        peer: fc.option(fc.constantFrom(...learntPeers)),
        lapsed: fc.boolean(),
      },
      plain,
    ),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('gone' as const), slot }, plain) },
  {
    weight: 4,
    arbitrary: fc.record(
      {
        kind: fc.constant('rows' as const),
        rows: fc.array(
          fc.record(
            {
              ruleset: fc.constantFrom(1, 2),
              direction: fc.constantFrom<Row['direction']>('egress', 'ingress'),
              peer,
              action: fc.constantFrom(...actions),
              only: fc.option(fc.constantFrom(80, 443)),
              live: fc.option(fc.constantFrom<VerdictLive>('keep', 'reset', 'stay')),
              version: fc.constantFrom(0, 1),
            },
            plain,
          ),
          { minLength: 1, maxLength: 6 },
        ),
      },
      plain,
    ),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('forget' as const) }, plain) },
  {
    weight: 12,
    arbitrary: fc.record(
      {
        kind: fc.constant('packet' as const),
        hook: fc.constantFrom('from_workload' as const, 'from_workload' as const, 'to_workload' as const),
        slot,
        other: fc.constantFrom<string>(ip(1), ip(2), ip(3), ip(9), gateway, remote, ...outside),
        protocol: fc.constantFrom(6, 6, 6, 132, 132, 17, 1, 47),
        ports: fc.constantFrom([1000, 80], [1000, 443], [1001, 22]),
        reversed: fc.boolean(),
        tcpFlags: fc.constantFrom(2, 2, 18, 16, 17, 4, 20, 3),
        chunk: fc.constantFrom(1, 1, 2, 0, 10, 11, 6, 7, 8, 14),
        sequence: fc.constantFrom(1, 2, 100),
        spoofed: fc.boolean().map((value) => value),
      },
      plain,
    ),
  },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

function packetFrame(
  twin: Twin,
  at: Extract<Step, { kind: 'packet' }>,
): { readonly frame: Uint8Array; readonly ifindex: number } {
  const leaving = at.hook === 'from_workload';
  const own = ip(at.slot);
  const [low, high] = at.ports as [number, number];
  const isEcho = at.protocol === 1;
  const requestPort = 8 * 256;
  // An echo has its identifier at the asking side, and its type at the other.
  const ports: [number, number] = isEcho ? [low, requestPort] : at.protocol === 47 ? [0, 0] : [low, high];
  const [sourcePort, destinationPort] = at.reversed ? [ports[1], ports[0]] : ports;
  const key = {
    protocol: at.protocol,
    source: leaving ? own : at.other,
    sourcePort,
    destination: leaving ? at.other : own,
    destinationPort,
  };
  const isSpoofed = at.spoofed && at.sequence === 100;
  const packet = packetOf(key, {
    sourceMac: leaving && !isSpoofed ? mac(at.slot, 0) : mac(at.slot, 1),
    destinationMac: leaving ? mac(at.slot, 1) : mac(at.slot, 0),
    tcpFlags: at.protocol === 6 ? at.tcpFlags : 0,
    chunk: at.protocol === 132 ? at.chunk : 0,
    payloadBytes: 8,
    sequence: at.sequence,
    acknowledgement: at.sequence + 1,
  });
  return { frame: frameOf(packet), ifindex: twin.ifindexes[at.slot - 1]! };
}

/** Does one step to one kernel; the result of a packet. */
function perform(twin: Twin, at: Step): number | null {
  const { maps, programs } = twin.kernel;
  switch (at.kind) {
    case 'endpoint':
      maps.setEndpoint({
        slot: at.slot,
        ifindex: twin.ifindexes[at.slot - 1]!,
        kind: 'veth',
        state: at.state,
        identity: identities[at.slot - 1]!,
        ruleset: at.ruleset,
        epoch: at.epoch,
        generation: 1,
        mac: mac(at.slot, 0),
        gatewayMac: mac(at.slot, 1),
        ipv4: ip(at.slot),
        ipv6: null,
        mtu: 1500,
        connectionsMax: at.connectionsMax,
        learns: at.learns,
      });
      maps.setAddress(ip(at.slot), { kind: 'endpoint', slot: at.slot });
      return null;
    case 'learn':
      if (at.peer === null) maps.removeLearnt([at]);
      else maps.setLearnt([{ slot: at.slot, address: at.address, peer: at.peer, lapsed: at.lapsed }]);
      return null;
    case 'gone':
      maps.removeEndpoint(at.slot);
      return null;
    case 'rows':
      for (const { action, only, live, version, ...key } of at.rows) {
        const rule = (key.peer % 1000) + version * 1000;
        const verdict = live === null ? { action, rule } : { action, rule, live };
        const root = maps.addPortTable(
          only === null
            ? { ranges: [], otherwise: verdict }
            : { ranges: [{ protocol: 6, from: only, to: only, verdict }], otherwise: { action: 'deny', rule: 77 } },
        );
        maps.setRows([{ ...key, root }]);
        maps.releasePortTable(root);
      }
      return null;
    case 'forget':
      maps.removeConnections(connections(twin));
      return null;
    case 'packet': {
      const { frame, ifindex } = packetFrame(twin, at);
      return programs.testRun(at.hook, frame, { ifindex }).result;
    }
  }
}

function connections(twin: Twin): Connection[] {
  const found: Connection[] = [];
  twin.kernel.maps.forEachConnection((connection) => found.push(connection));
  return found;
}
function view(twin: Twin): unknown {
  return connections(twin)
    .map(({ firstSeenNs: _first, lastSeenNs: _last, ...rest }) => Object.values(rest).flat().join(' '))
    .sort();
}
function drained(twin: Twin): string[] {
  const events: KernelEvent[] = [];
  twin.kernel.events.drain((event) => events.push(event), 1_000_000);
  return events.map(({ kind, reason, slot: at, key, egressRule, ingressRule, sourceIdentity, destinationIdentity }) =>
    [kind, reason, at, ...Object.values(key), egressRule, ingressRule, sourceIdentity, destinationIdentity].join(' '),
  );
}
/** Answers that the real programs build; the simulated ones only say that there would be one. */
const answers = new Set(['reset_sent', 'icmp_sent']);
/** Bounds per second: the two kernels meet them some microseconds apart. */
const bounds = ['answer_rate', 'events_suppressed', 'punt_rate'];

type Counts = ReadonlyMap<string, bigint>;
const countsOf = (twin: Twin): Counts => twin.kernel.maps.counters();
function changed(twin: Twin, before: Counts): Record<string, bigint> {
  const changes = [...countsOf(twin)].map(([name, value]) => [name, value - before.get(name)!] as const);
  return Object.fromEntries(changes.filter(([name, change]) => change !== 0n && !answers.has(name)));
}
function clear(twin: Twin): void {
  const { maps } = twin.kernel;
  maps.removeConnections(connections(twin));
  maps.removeRows(maps.rows());
  maps.removeLearnt(maps.learnt());
  for (const at of slots) {
    maps.removeEndpoint(at);
    maps.removeAddress(ip(at));
  }
  drained(twin);
}

test('the same packets get the same answers', () => {
  const runs = Number(process.env['BULKHEAD_TWIN_RUNS'] ?? 300);
  fc.assert(
    fc.property(fc.array(step, { minLength: 5, maxLength: 40 }), (steps) => {
      for (const twin of [real, simulated]) {
        clear(twin);
        for (const at of slots)
          perform(twin, {
            kind: 'endpoint',
            slot: at,
            state: 'governed',
            ruleset: 1,
            epoch: 1,
            connectionsMax: 1000,
            learns: true,
          });
      }
      const before = { real: countsOf(real), simulated: countsOf(simulated) };
      const compare = (what: string, left: unknown, right: unknown): void => {
        // A run that met a bound by the clock says nothing more.
        for (const twin of ['real', 'simulated'] as const) {
          const now = countsOf(twin === 'real' ? real : simulated);
          fc.pre(bounds.every((name) => now.get(name) === before[twin].get(name)));
        }
        assert.deepEqual(left, right, what);
      };
      for (const [index, at] of steps.entries()) {
        const results = [perform(simulated, at), perform(real, at)];
        compare(`step ${index}: ${JSON.stringify(at)}`, results[0], results[1]);
        compare(`connections after step ${index}: ${JSON.stringify(at)}`, view(simulated), view(real));
      }
      compare('events', drained(simulated), drained(real));
      compare('counters', changed(simulated, before.simulated), changed(real, before.real));
    }),
    { numRuns: runs },
  );
});
