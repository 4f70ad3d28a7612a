/** The host's own end on the simulated machine: as on the real one, but for multicast, fragments and what needs the host's sockets. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { limit } from '../generated/maps.ts';
import type { Kernel, KernelPortTable } from '../port.ts';
import { sampleEndpoint } from '../testing/samples.ts';
import { packetOf, tcpFlag } from './frame.ts';
import { createSimulatedMachine, type SimulatedDelivery, type SimulatedMachine } from './machine.ts';

const hostAddress = '192.0.2.1';
const stranger = '198.51.100.9';
const workloadMac = '02:00:00:00:00:01';
const always = (action: 'allow' | 'deny' | 'reject', rule: number): KernelPortTable => ({
  ranges: [],
  otherwise: { action, rule },
});

class World {
  readonly machine: SimulatedMachine;
  readonly kernel: Kernel;
  ports = 1000;
  ifindex = 0;

  private constructor() {
    let id = 0;
    this.machine = createSimulatedMachine({ nowNs: () => 1_000_000_000n, random: () => (id = (id + 0.0001) % 1) });
    this.kernel = this.machine.open();
    const { maps, links, programs } = this.kernel;
    programs.load();
    maps.setAddress(hostAddress, { kind: 'host' });
    maps.setAddress('10.0.0.1', { kind: 'endpoint', slot: 1 });
    maps.setEndpoint({
      ...sampleEndpoint,
      slot: 1,
      ifindex: 2,
      ipv4: '10.0.0.1',
      ruleset: 3,
      mac: '02:00:00:00:00:01',
    });
    this.rows(3, 'allow', 'allow');
    links.attach(1, 'uplink');
  }

  static async open(): Promise<World> {
    const world = new World();
    const { routes, links, maps } = world.kernel;
    const names = { name: 'w1', peer: 'p1', mac: '02:00:00:00:01:01', peerMac: workloadMac, mtu: 1500 };
    world.ifindex = (await routes.createVeth(names)).ifindex;
    maps.setEndpoint({
      ...{ ...sampleEndpoint, slot: 1, ifindex: world.ifindex },
      ...{ ipv4: '10.0.0.1', ruleset: 3, mac: workloadMac },
    });
    links.attach(world.ifindex, 'workload');
    return world;
  }

  rows(ruleset: number, egress: 'allow' | 'deny' | 'reject', ingress: 'allow' | 'deny' | 'reject'): void {
    const { maps } = this.kernel;
    for (const [direction, action] of [
      ['egress', egress],
      ['ingress', ingress],
    ] as const)
      maps.setRows([{ ruleset, direction, peer: 0, root: maps.addPortTable(always(action, ruleset)) }]);
  }

  govern(egress: 'allow' | 'deny' | 'reject', ingress: 'allow' | 'deny' | 'reject'): void {
    this.rows(4, egress, ingress);
    const host = { kind: 'host', ifindex: 0, ipv4: null, ipv6: null, identity: 1, ruleset: 4 } as const;
    this.kernel.maps.setEndpoint({ ...sampleEndpoint, ...host, slot: limit.hostSlot, epoch: this.ports++ });
  }

  /** In by the uplink, or out by it; a workload's when `forwarded`. */
  pass(hook: 'from-uplink' | 'to-uplink', port: number, change: object = {}, forwarded = false): SimulatedDelivery {
    const [source, destination] = hook === 'from-uplink' ? [stranger, hostAddress] : [hostAddress, stranger];
    const sourcePort = 20_000;
    const packet = packetOf({ protocol: 6, source, sourcePort, destination, destinationPort: port, ...change });
    return this.machine.deliver(packet, hook === 'to-uplink' ? { hook, ifindex: 1, forwarded } : { hook, ifindex: 1 });
  }
}

const toHost = { kind: 'passed', slot: limit.hostSlot };
const toStack = { kind: 'passed', slot: 0 };
const reply = { sourcePort: 443, tcpFlags: tcpFlag.ack | tcpFlag.syn };

test('a host that is no subject is judged nowhere', async () => {
  const world = await World.open();
  assert.deepEqual(world.pass('from-uplink', 22), toStack);
  assert.deepEqual(world.pass('to-uplink', 443), toStack);
});

test('a subject is judged in both directions, and its answers come back', async () => {
  const world = await World.open();
  world.govern('allow', 'deny');
  assert.equal(world.pass('from-uplink', 22).kind, 'dropped');
  assert.deepEqual(world.pass('to-uplink', 443), toStack);
  assert.deepEqual(world.pass('from-uplink', 20_000, reply), toHost);
  world.govern('reject', 'allow');
  assert.deepEqual(world.pass('from-uplink', 23), toHost);
  assert.deepEqual(world.pass('to-uplink', 444), { kind: 'dropped', reason: 'rejected', rejected: true });
});

test('the guard is above the rules', async () => {
  const world = await World.open();
  world.govern('deny', 'deny');
  const every = { protocol: 6, address: '0.0.0.0', rule: 9 } as const;
  world.kernel.maps.setHostPorts([
    { kind: 'guard', direction: 'ingress', port: 22, ...every },
    { kind: 'guard', direction: 'egress', port: 7443, ...every },
  ]);
  assert.deepEqual([world.pass('from-uplink', 22), world.pass('to-uplink', 7443)], [toHost, toStack]);
  assert.deepEqual([world.pass('from-uplink', 7443).kind, world.pass('to-uplink', 22).kind], ['dropped', 'dropped']);
});

test('what is NAT’s goes on to the stack, and never to the host', async () => {
  const world = await World.open();
  world.govern('deny', 'deny');
  world.kernel.maps.setHostPorts([{ kind: 'published', protocol: 6, port: 8080, address: hostAddress }]);
  assert.deepEqual(world.pass('from-uplink', 8080), toStack);
  assert.equal(world.pass('from-uplink', 20_000, reply).kind, 'dropped');
  assert.deepEqual(world.pass('to-uplink', 443, {}, true), toStack);
  assert.deepEqual(world.pass('from-uplink', 20_000, reply), toStack);
  assert.equal(world.pass('from-uplink', 20_000, { sourcePort: 443 }).kind, 'dropped', 'a SYN answers nothing');
});

test('a workload and its host: both ends have a say', async () => {
  const world = await World.open();
  const attempt = (): SimulatedDelivery => {
    const ports = { sourcePort: ++world.ports, destinationPort: 80 };
    const packet = packetOf({ protocol: 6, source: '10.0.0.1', destination: hostAddress, ...ports });
    const { machine, ifindex } = world;
    return machine.deliver({ ...packet, sourceMac: workloadMac }, { hook: 'from-workload', ifindex });
  };
  assert.deepEqual(attempt(), toStack);
  world.govern('deny', 'allow');
  assert.deepEqual(attempt(), toHost);
  world.govern('deny', 'deny');
  assert.equal(attempt().kind, 'dropped');
});
