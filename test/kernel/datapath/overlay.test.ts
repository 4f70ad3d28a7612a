/** Two hosts over VXLAN: the sender's identity travels as VNI, and only its own host may speak for it. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import type { PuntDevice } from '@bulkhead/kernel';
import { echo, ethernet, icmp, ip, protocols, tcp, tcpFlag, udp, udpDatagram, type Ends } from './frames.ts';
import { allowAll, always, between, drained, Machine, received, until, type Workload } from './machine.ts';
import { FrameSocket, run } from './sockets.ts';

const vxlanPort = 4789;
const underlay = ['172.31.0.1', '172.31.0.2'] as const;
const wireMacs = ['02:00:00:00:03:01', '02:00:00:00:03:02'] as const;

let first: Machine;
let second: Machine;
let a: Workload;
let b: Workload;
let wire: FrameSocket;
let device: PuntDevice;
let overlays: number[];
let port = 1000;

function enter(machine: Machine): void {
  machine.namespaces.enter(machine.home);
}

before(async () => {
  first = Machine.open(0);
  a = await first.addWorkload('a');
  second = Machine.open(1);
  b = await second.addWorkload('b');
  run(
    'ip',
    'link',
    'add',
    'wire0',
    'address',
    wireMacs[1],
    'type',
    'veth',
    'peer',
    'name',
    'wire0',
    'address',
    wireMacs[0],
    'netns',
    first.home,
  );
  overlays = [];
  for (const [index, machine] of [first, second].entries()) {
    enter(machine);
    run('ip', 'address', 'add', `${underlay[index]}/24`, 'dev', 'wire0');
    run('ip', 'link', 'set', 'dev', 'wire0', 'up');
    run('ip', 'link', 'add', 'vx0', 'type', 'vxlan', 'external', 'dstport', String(vxlanPort), 'nolearning');
    run('ip', 'link', 'set', 'dev', 'vx0', 'up');
    const overlay = (await machine.kernel.routes.interfaces()).find((entry) => entry.name === 'vx0')!.ifindex;
    machine.kernel.links.attach(overlay, 'overlay');
    machine.configure({ overlayIfindex: overlay });
    overlays.push(overlay);
    const [remote, host] = index === 0 ? [b, underlay[1]] : [a, underlay[0]];
    for (const address of [remote.ipv4, remote.ipv6])
      machine.kernel.maps.setAddress(address, { kind: 'remote', identity: remote.identity, host });
  }
  device = await second.kernel.openPuntDevice();
  enter(first);
  wire = new FrameSocket('wire0');
});
after(async () => {
  wire[Symbol.dispose]();
  enter(second);
  await second[Symbol.asyncDispose]();
  enter(first);
  await first[Symbol.asyncDispose]();
});
beforeEach(() => {
  govern(first, a, allowAll);
  govern(second, b, allowAll);
  drained(a.link);
  drained(b.link);
  drained(wire);
  port++;
});

function govern(machine: Machine, workload: Workload, policy: typeof allowAll): void {
  machine.govern(workload, policy);
}
/** A frame as another machine on the underlay might send it to the second host. */
function encapsulated(inner: Uint8Array, vni: number, outerSource: string): Buffer {
  const header = Buffer.alloc(8);
  header[0] = 8;
  header.writeUInt32BE(vni * 256, 4);
  const ends: Ends = {
    sourceMac: wireMacs[0],
    destinationMac: wireMacs[1],
    source: outerSource,
    destination: underlay[1],
  };
  return ip(ends, protocols.udp, udpDatagram(ends, 50_000, vxlanPort, Buffer.concat([header, inner])));
}

for (const version of [4, 6] as const) {
  describe(`IPv${version}`, () => {
    test('a connection crosses hosts under the policy of both, and comes back', async () => {
      govern(first, a, { egress: new Map([[b.identity, always('allow', 81)]]) });
      govern(second, b, { ingress: new Map([[a.identity, always('allow', 82)]]) });
      second.events();
      a.link.send(tcp(between(a, b, version), port, 80, { sequence: 6 }));
      const syn = await received(b.link, (seen) => seen.tcpFlags === tcpFlag.syn);
      assert.deepEqual(
        [syn.source, syn.ttl, syn.sourceMac, syn.destinationMac, syn.checksumValid],
        [between(a, b, version).source, 63, b.gatewayMac, b.mac, true],
      );
      b.link.send(tcp(between(b, a, version), 80, port, { flags: tcpFlag.syn | tcpFlag.ack, acknowledgement: 7 }));
      await received(a.link, (seen) => seen.tcpFlags === (tcpFlag.syn | tcpFlag.ack));
      a.link.send(tcp(between(a, b, version), port, 80, { flags: tcpFlag.ack, sequence: 7 }));
      await received(b.link, (seen) => seen.tcpFlags === tcpFlag.ack);
      const [event] = second.events();
      assert.deepEqual(
        [event?.kind, event?.sourceIdentity, event?.sourceSlot, event?.ingressRule, event?.egressRule],
        ['new', a.identity, 0, 82, 0],
      );
    });

    test('the receiving side refuses, and its reset comes back over the overlay', async () => {
      govern(second, b, { ingress: new Map([[a.identity, always('reject')]]) });
      a.link.send(tcp(between(a, b, version), port, 80, { sequence: 6 }));
      const reset = await received(a.link, (seen) => (seen.tcpFlags & tcpFlag.rst) !== 0);
      assert.deepEqual(
        [reset.source, reset.acknowledgement, reset.checksumValid],
        [between(a, b, version).destination, 7, true],
      );
      a.link.send(udp(between(a, b, version), port, 53));
      await received(a.link, (seen) => seen.icmpType === (version === 4 ? 3 : 1));
      assert.deepEqual(drained(b.link), []);
    });

    test('the sending side refuses, and nothing crosses', async () => {
      govern(first, a, {});
      await first.counts({ denied: 1 }, () => a.link.send(tcp(between(a, b, version), port, 80)));
      assert.deepEqual(drained(wire), []);
    });
  });
}

test('only its own host may speak for a workload, under its own identity', async () => {
  const inner = (from: number) => udp({ ...between(a, b), destinationMac: b.mac }, from, 53);
  wire.send(encapsulated(inner(port), a.identity, underlay[0]));
  await received(b.link, (seen) => seen.sourcePort === port);
  await second.counts({ overlay_spoofed: 6 }, () => {
    // Also on a connection that is open already.
    for (const from of [port, port + 3000]) {
      wire.send(encapsulated(inner(from), a.identity, '172.31.0.9'));
      wire.send(encapsulated(inner(from), a.identity + 1, underlay[0]));
    }
    wire.send(encapsulated(udp({ ...between(a, b), source: '10.0.1.77' }, port, 53), a.identity, underlay[0]));
    wire.send(encapsulated(udp({ ...between(a, b), source: b.ipv4 }, port, 53), b.identity, underlay[0]));
  });
  await second.counts({ misdirected: 1, unknown_protocol: 1, icmp_unmatched: 1 }, () => {
    wire.send(encapsulated(udp(between(a, '10.0.1.99'), port, 53), a.identity, underlay[0]));
    wire.send(encapsulated(ethernet(b.mac, a.mac, 0x88cc, Buffer.alloc(50)), a.identity, underlay[0]));
    wire.send(encapsulated(icmp(between(a, b), 3, 3, Buffer.alloc(36)), a.identity, underlay[0]));
  });
  assert.deepEqual(drained(b.link), []);
});

test("a remote workload's address is not believed from anywhere else", async () => {
  const frame = udp({ sourceMac: b.gatewayMac, destinationMac: b.mac, source: a.ipv4, destination: b.ipv4 }, port, 53);
  second.namespaces.inside(second.home, first.home, () => {
    for (const mark of [0, 0x2000])
      assert.equal(second.kernel.programs.testRun('to_workload', frame, { ifindex: b.ifindex, mark }).result, 2);
  });
});

test('a question of the receiving side is held there, and its answer delivers', async () => {
  const held: Parameters<Parameters<PuntDevice['onPunt']>[0]>[] = [];
  device.onPunt((punt, frame) => held.push([punt, frame]));
  second.configure({ overlayIfindex: overlays[1]!, puntIfindex: device.ifindex });
  govern(second, b, { ingress: new Map([[a.identity, always('ask', 83)]]) });
  a.link.send(echo(between(a, b), 'request', port));
  await until(() => held.length === 1, 'a held packet');
  const [punt, frame] = held[0]!;
  assert.deepEqual([punt.sourceSlot, punt.sourceIdentity, punt.ingressRule], [0, a.identity, 83]);
  assert.equal(device.admit(punt, frame, { revision: 1 }), 'sent');
  await received(b.link, (seen) => seen.icmpType === 8);
  b.link.send(echo(between(b, a), 'reply', port));
  await received(a.link, (seen) => seen.icmpType === 0);
});

test('without an overlay, workloads elsewhere are out of reach', async () => {
  first.configure({ overlayIfindex: 0 });
  await first.counts({ unreachable_remote: 1 }, () => a.link.send(udp(between(a, b), port, 53)));
  first.configure({ overlayIfindex: overlays[0]! });
  assert.deepEqual(drained(wire), []);
});
