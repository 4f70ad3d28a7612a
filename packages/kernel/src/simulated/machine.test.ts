import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { KernelError, type EndpointEntry, type Kernel, type KernelPortTable, type Punt } from '../port.ts';
import { sampleEndpoint } from '../testing/samples.ts';
import { packetOf, tcpFlag, type Packet } from './frame.ts';
import { createSimulatedMachine, type SimulatedMachine, type SimulatedOptions } from './machine.ts';
import type { Delivery } from './packet-judging.ts';

const always = (action: 'allow' | 'deny' | 'ask', rule = 1): KernelPortTable => ({
  ranges: [],
  otherwise: { action, rule },
});
const nsPerMs = 1_000_000n;

class World {
  nowNs = 1_000_000_000n;
  readonly machine: SimulatedMachine;
  kernel: Kernel;
  readonly endpoints: EndpointEntry[] = [];

  constructor(options: Partial<SimulatedOptions> = {}) {
    let id = 0;
    this.machine = createSimulatedMachine({
      nowNs: () => this.nowNs,
      random: () => (id = (id + 0.0001) % 1),
      ...options,
    });
    this.kernel = this.machine.open();
  }

  async start(table: KernelPortTable): Promise<void> {
    const { kernel } = this;
    kernel.programs.load();
    kernel.maps.setConfig({
      revision: 1,
      puntIfindex: 0,
      overlayIfindex: 0,
      puntRate: 100,
      puntBurst: 100,
      gatewayIpv4: null,
      gatewayIpv6: null,
    });
    kernel.maps.heartbeat();
    const root = kernel.maps.addPortTable(table);
    kernel.maps.setRows(
      (['egress', 'ingress'] as const).map((direction) => ({ ruleset: 1, direction, peer: 0, root })),
    );
    await kernel.routes.setRuleset('inet bulkhead', 'table inet bulkhead { }');
    for (const slot of [1, 2]) {
      const veth = await kernel.routes.createVeth({
        name: `h${slot}`,
        peer: `c${slot}`,
        mac: `02:00:00:00:01:0${slot}`,
        peerMac: `02:00:00:00:00:0${slot}`,
        mtu: 1500,
      });
      const entry = {
        ...sampleEndpoint,
        slot,
        ifindex: veth.ifindex,
        identity: 300 + slot,
        mac: `02:00:00:00:00:0${slot}`,
        ipv4: `10.9.0.${slot}`,
        ipv6: null,
      };
      this.endpoints.push(entry);
      kernel.maps.setEndpoint(entry);
      kernel.maps.setAddress(entry.ipv4, { kind: 'endpoint', slot });
      kernel.links.attach(veth.ifindex, 'workload');
      await kernel.routes.setUp(`h${slot}`, true);
    }
  }

  packet(port: number, rest: Partial<Packet> = {}): Packet {
    const [from, to] = this.endpoints;
    return packetOf(
      { protocol: 6, source: from!.ipv4!, sourcePort: 4000 + port, destination: to!.ipv4!, destinationPort: port },
      { sourceMac: from!.mac, ...rest },
    );
  }
  send(packet: Packet): ReturnType<SimulatedMachine['deliver']> {
    return this.machine.deliver(packet, { hook: 'from-workload', ifindex: this.endpoints[0]!.ifindex });
  }
}

describe('a simulated machine', () => {
  test('enforces without its agent, and a new agent finds everything', async () => {
    const world = new World();
    await world.start(always('allow'));
    assert.deepEqual(world.send(world.packet(80)), { kind: 'passed', slot: 2 });
    const dead = world.kernel;
    world.machine.crash();
    assert.deepEqual(world.send(world.packet(80, { tcpFlags: tcpFlag.ack })), { kind: 'passed', slot: 2 });
    assert.deepEqual(world.send(world.packet(81)), { kind: 'passed', slot: 2 });
    assert.throws(() => dead.maps.endpoints(), KernelError);
    await assert.rejects(dead.routes.interfaces(), KernelError);
    world.kernel = world.machine.open();
    assert.equal(world.kernel.programs.load().kind, 'reopened');
    let connections = 0;
    world.kernel.maps.forEachConnection(() => (connections += 1));
    assert.equal(connections, 2);
    assert.equal(world.kernel.maps.endpoints().length, 2);
  });

  test('an agent that comes back finds another object and replaces the programs, not the tables', async () => {
    const world = new World();
    await world.start(always('allow'));
    world.machine.upgradeObjects();
    assert.equal(world.kernel.programs.load().kind, 'replaced');
    assert.equal(world.kernel.programs.load().kind, 'reopened');
    assert.equal(world.kernel.maps.endpoints().length, 2);
  });

  test('a reboot loses everything, and what comes first is not forwarded by us', async () => {
    const world = new World();
    await world.start(always('allow'));
    world.machine.reboot();
    assert.deepEqual(world.send(world.packet(80)), { kind: 'unfiltered', passes: true });
    world.kernel = world.machine.open();
    assert.equal(world.kernel.programs.load().kind, 'loaded');
    assert.deepEqual(world.kernel.maps.endpoints(), []);
    assert.deepEqual(
      (await world.kernel.routes.interfaces()).map(({ name }) => name),
      ['lo'],
    );
    await world.kernel.routes.setRuleset('inet bulkhead', 'table inet bulkhead { }');
    assert.deepEqual(world.send(world.packet(80)), { kind: 'unfiltered', passes: false });
  });

  test('an interface that vanishes takes its links with it', async () => {
    const world = new World();
    await world.start(always('allow'));
    world.machine.vanish('h1');
    assert.deepEqual(
      world.kernel.links.attached().map(({ ifindex }) => ifindex),
      [world.endpoints[1]!.ifindex],
    );
    assert.deepEqual(world.send(world.packet(80)), { kind: 'unfiltered', passes: false });
    await assert.rejects(world.kernel.routes.setUp('h1', true), KernelError);
  });

  test('a question is held once, admitted once, and its connection remembered', async () => {
    const world = new World();
    await world.start(always('ask', 9));
    const punts: { punt: Punt; frame: Uint8Array }[] = [];
    const released: Delivery[] = [];
    world.machine.onReleased((_packet, delivery) => released.push(delivery));
    const device = await world.kernel.openPuntDevice();
    device.onPunt((punt, frame) => punts.push({ punt, frame }));
    world.kernel.maps.setConfig({ ...world.kernel.maps.config(), puntIfindex: device.ifindex });
    assert.equal(world.send(world.packet(80)).kind, 'punted');
    assert.deepEqual(world.send(world.packet(80)), { kind: 'dropped', reason: 'punt_absorbed', rejected: false });
    await Promise.resolve();
    assert.equal(punts.length, 1);
    const [{ punt, frame }] = punts as [{ punt: Punt; frame: Uint8Array }];
    assert.deepEqual(
      {
        reason: punt.reason,
        egress: punt.egressRule,
        ingress: punt.ingressRule,
        slots: [punt.sourceSlot, punt.destinationSlot],
      },
      { reason: 'ask', egress: 9, ingress: 9, slots: [1, 2] },
    );
    assert.equal(device.admit(punt, frame, { revision: 1 }), 'sent');
    assert.deepEqual(released, [{ kind: 'passed', slot: 2 }]);
    assert.equal(device.admit(punt, frame, { revision: 1 }), 'stale');
    assert.equal(world.send(world.packet(80, { tcpFlags: tcpFlag.ack })).kind, 'passed');
    world.kernel.maps.setEndpoint({ ...world.endpoints[0]!, epoch: 2 });
    assert.equal(world.send(world.packet(80, { tcpFlags: tcpFlag.ack })).kind, 'passed', 'the same rules still ask');
    const decided: boolean[] = [];
    world.kernel.maps.forEachConnection((connection) => decided.push(connection.decided));
    assert.deepEqual(decided, [true]);
  });

  test("an answer is stale when the world has changed, and a lost agent's questions are forgotten", async () => {
    const world = new World();
    await world.start(always('ask', 9));
    const punts: { punt: Punt; frame: Uint8Array }[] = [];
    const device = await world.kernel.openPuntDevice();
    device.onPunt((punt, frame) => punts.push({ punt, frame }));
    world.kernel.maps.setConfig({ ...world.kernel.maps.config(), puntIfindex: device.ifindex });
    world.send(world.packet(80));
    await Promise.resolve();
    world.kernel.maps.setEndpoint({ ...world.endpoints[1]!, generation: 2 });
    assert.equal(device.admit(punts[0]!.punt, punts[0]!.frame, { revision: 1 }), 'stale');
    world.send(world.packet(81));
    world.machine.crash();
    world.kernel = world.machine.open();
    world.kernel.programs.load();
    await world.kernel.openPuntDevice();
    assert.equal(world.send(world.packet(81)).kind, 'punted', 'its place is free again');
  });

  test('idle connections end by the clock, and without a heartbeat the programs make room themselves', async () => {
    const world = new World({ limits: { connectionsMax: 2 } });
    await world.start(always('allow'));
    assert.deepEqual(
      [80, 81, 82].map((port) => world.send(world.packet(port)).kind),
      ['passed', 'passed', 'dropped'],
    );
    world.nowNs += 29_000n * nsPerMs;
    world.kernel.maps.heartbeat();
    assert.equal(
      world.kernel.maps.sweepConnections(() => {}),
      0,
    );
    world.nowNs += 2_000n * nsPerMs;
    assert.equal(
      world.kernel.maps.sweepConnections(() => {}),
      2,
    );
    assert.deepEqual(
      [80, 81, 82].map((port) => world.send(world.packet(port)).kind),
      ['passed', 'passed', 'dropped'],
    );
    world.nowNs += 60_000n * nsPerMs;
    assert.equal(world.send(world.packet(83)).kind, 'passed');
    assert.equal(world.kernel.maps.counters().get('connections_recycled'), 2n);
  });
});

test('between hosts: what one machine sends through the tunnel the other believes, and nothing else', async () => {
  const allowAll = always('allow');
  const one = new World();
  const two = new World();
  for (const world of [one, two]) {
    await world.start(allowAll);
    const { ifindex } = await world.kernel.routes.createVeth({
      name: 'vxlan0',
      peer: 'vxlan1',
      mac: '02:00:00:00:02:01',
      peerMac: '02:00:00:00:02:02',
      mtu: 1450,
    });
    world.kernel.maps.setConfig({ ...world.kernel.maps.config(), overlayIfindex: ifindex });
    world.kernel.links.attach(ifindex, 'overlay');
  }
  // The second machine's endpoints have other addresses.
  two.kernel.maps.setEndpoint({ ...two.endpoints[0]!, ipv4: '10.9.1.1' });
  two.kernel.maps.setAddress('10.9.1.1', { kind: 'endpoint', slot: 1 });
  two.kernel.maps.removeAddress('10.9.0.1');
  one.kernel.maps.setAddress('10.9.1.1', { kind: 'remote', identity: 301, host: '192.0.2.2' });
  two.kernel.maps.setAddress('10.9.0.1', { kind: 'remote', identity: 301, host: '192.0.2.1' });
  const packet = one.packet(80, { destination: '10.9.1.1' });
  assert.deepEqual(one.send(packet), { kind: 'tunnelled', host: '192.0.2.2', identity: 301 });
  const arrival = { hook: 'from-overlay', host: '192.0.2.1', identity: 301 } as const;
  assert.deepEqual(two.machine.deliver(packet, arrival), { kind: 'passed', slot: 1 });
  for (const wrong of [{ identity: 302 }, { host: '192.0.2.9' }]) {
    for (const tcpFlags of [tcpFlag.syn, tcpFlag.ack]) {
      const delivery = two.machine.deliver({ ...packet, tcpFlags, sequence: 77 }, { ...arrival, ...wrong });
      assert.deepEqual(delivery, { kind: 'dropped', reason: 'overlay_spoofed', rejected: false });
    }
  }
  const spoofed = { ...packet, source: '10.9.0.99' };
  assert.equal(two.machine.deliver(spoofed, arrival).kind, 'dropped');
  const answer = packetOf(
    { protocol: 6, source: '10.9.1.1', sourcePort: 80, destination: '10.9.0.1', destinationPort: 4080 },
    { sourceMac: two.endpoints[0]!.mac, tcpFlags: tcpFlag.syn | tcpFlag.ack },
  );
  const back = two.machine.deliver(answer, { hook: 'from-workload', ifindex: two.endpoints[0]!.ifindex });
  assert.deepEqual(back, { kind: 'tunnelled', host: '192.0.2.1', identity: 301 });
  assert.deepEqual(one.machine.deliver(answer, { hook: 'from-overlay', host: '192.0.2.2', identity: 301 }), {
    kind: 'passed',
    slot: 1,
  });
});

test('failures by seed change nothing, and the same seed fails at the same places', async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer(), async (seed) => {
      const run = async (): Promise<string[]> => {
        let state = seed;
        // A linear congruential generator: uniform enough to choose, and repeatable.
        const random = (): number => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
        const world = new World({ failures: { random, probability: { maps: 0.3, routes: 0.3 } } });
        world.kernel.programs.load();
        const log: string[] = [];
        for (let index = 1; index <= 20; index++) {
          const before = world.kernel.maps.endpoints().length;
          try {
            world.kernel.maps.setEndpoint({ ...sampleEndpoint, slot: index });
            log.push('done');
          } catch (error) {
            assert.ok(error instanceof KernelError && ['ENOMEM', 'EBUSY', 'EINTR'].includes(error.code));
            assert.equal(world.kernel.maps.endpoints().length, before);
            log.push(error.code);
          }
          await world.kernel.routes.setSysctl('net/ipv4/ip_forward', '1').then(
            () => log.push('set'),
            (error: KernelError) => log.push(error.code),
          );
        }
        return log;
      };
      assert.deepEqual(await run(), await run());
    }),
    { numRuns: 20 },
  );
});
