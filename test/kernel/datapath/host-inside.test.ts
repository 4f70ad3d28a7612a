/** The host and its own workloads; questions about the host; multicast; what is left when a program is detached. */
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { after, before, beforeEach, describe, test } from 'node:test';
import type { PuntDevice } from '@bulkhead/kernel';
import { icmp, ip, neighbour, protocols, tcp, tcpFlag, udp } from './frames.ts';
import { HostSide, hostSix, listening, only, outOfHost, toHost } from './host-side.ts';
import { hostAddress, stranger } from './lan.ts';
import { allowAll, always, between, drained, type Machine, received, until, type Workload } from './machine.ts';
import { type FrameSocket, run } from './sockets.ts';

const guardRule = 77;
let side: HostSide;
let machine: Machine;
let lan: FrameSocket;
let a: Workload;
let b: Workload;
let port = 40_000;

before(async () => {
  side = await HostSide.open();
  ({ machine, lan, a, b } = side);
});
after(async () => side[Symbol.asyncDispose]());
beforeEach(() => {
  side.reset();
  port++;
});

describe('with workloads of its own', () => {
  test('both ends are judged, from the workload to the host', async () => {
    const hear = async (count: number): Promise<void> => {
      a.link.send(udp(between(a, hostAddress), ++port, listening));
      if (count > 0) await until(() => side.heard.length === count, 'the datagram');
      else assert.deepEqual(side.heard, []);
    };
    machine.govern(a, { egress: new Map([[1, always('allow', 71)]]) });
    side.govern({});
    await machine.counts({ denied: 1 }, () => hear(0));
    side.govern({ ingress: new Map([[a.identity, only(protocols.udp, listening)]]) });
    await machine.counts({ connections_opened: 1 }, () => hear(1));
    const opened = machine.events().at(-1);
    assert.deepEqual(
      [opened?.egressRule, opened?.ingressRule, opened?.sourceSlot, opened?.destinationSlot],
      [71, 61, a.slot, side.hostSlot],
    );
    machine.govern(a, {});
    await machine.counts({ denied: 1 }, () => a.link.send(udp(between(a, hostAddress), ++port, listening)));
    // Observed, it is not enforced; the host's own rules are.
    machine.setEndpoint(a, { state: 'observed' });
    await hear(2);
    side.govern({});
    a.link.send(udp(between(a, hostAddress), ++port, listening));
    assert.equal(side.heard.length, 2);
  });

  test('both ends are judged, from the host to the workload, and answers come back', async () => {
    machine.govern(a, { ingress: new Map([[1, only(protocols.udp, 53)]]) });
    const sender = createSocket('udp4');
    sender.on('error', () => undefined);
    sender.on('message', (message) => side.heard.push(message.toString()));
    sender.bind(++port);
    await once(sender, 'listening');
    side.govern({});
    await machine.counts({ denied: 1 }, async () => {
      await new Promise((sent) => sender.send('no', 53, a.ipv4, sent));
    });
    side.govern({ egress: new Map([[a.identity, always('allow', 72)]]) });
    sender.send('yes', 53, a.ipv4);
    const seen = await received(a.link, ({ destinationPort }) => destinationPort === 53);
    a.link.send(udp(between(a, seen.source), 53, port, { payload: Buffer.from('answer') }));
    await until(() => side.heard.length > 0, 'the answer');
    sender.close();
    const entry = side.connectionOf(port);
    assert.deepEqual(
      [entry?.sourceSlot, entry?.destinationSlot, entry?.egressRule, entry?.ingressRule, entry?.packets],
      [side.hostSlot, a.slot, 72, 61, [1n, 1n]],
    );
  });

  test('what goes from one workload to another by the host’s NAT is not the host’s doing', async () => {
    side.govern({});
    machine.kernel.maps.setHostPorts([{ kind: 'published', protocol: 6, port: 8080, address: '0.0.0.0' }]);
    machine.govern(b, { egress: new Map([[0, always('allow')]]) });
    machine.govern(a, { ingress: new Map([[b.identity, always('allow')]]) });
    b.link.send(tcp(between(b, hostAddress), port, 8080));
    assert.equal((await received(a.link, (seen) => seen.tcpFlags !== 0)).destinationPort, 80);
  });
});

test('a router that has the address which the host has towards its workloads is heard, about the link alone', async () => {
  side.govern({});
  machine.kernel.maps.setAddress('fe80::1', { kind: 'host' });
  const ends = {
    sourceMac: '02:00:00:00:02:02',
    destinationMac: '33:33:00:00:00:01',
    source: 'fe80::1',
    destination: 'ff02::1',
  };
  await machine.counts({ uplink_spoofed: 0, denied: 0 }, () => {
    lan.send(icmp(ends, 134, 0, Buffer.alloc(12), { ttl: 255 }));
    lan.send(neighbour(ends, 136, 'fe80::1', ends.sourceMac));
  });
  await machine.counts({ uplink_spoofed: 1 }, () => lan.send(udp({ ...ends, destination: hostSix }, port, listening)));
  machine.kernel.maps.removeAddress('fe80::1');
});

test('multicast and broadcast are judged one by one; what keeps a link going is not', async () => {
  side.govern({});
  const group = {
    sourceMac: '02:00:00:00:02:02',
    destinationMac: '01:00:5e:00:00:fb',
    source: stranger,
    destination: '224.0.0.251',
  };
  await machine.counts({ denied: 1 }, () => lan.send(udp(group, 5353, 5353)));
  side.govern({ ingress: new Map([[2, only(protocols.udp, 5353)]]) });
  await machine.counts({ denied: 0, connections_opened: 0 }, () => lan.send(udp(group, 5353, 5353)));
  await machine.counts({ denied: 1 }, () => lan.send(udp({ ...group, destination: '255.255.255.255' }, 67, 68)));
  await machine.counts({ denied: 0 }, () => lan.send(ip({ ...group, destination: '224.0.0.1' }, 2, Buffer.alloc(8))));
});

test('a rule may ask about the host: in, and out', async () => {
  side.govern({
    ingress: new Map([[2, only(protocols.udp, listening, 'ask', 81)]]),
    egress: new Map([[2, only(protocols.udp, 4000, 'ask', 82)]]),
  });
  const held: { punt: Parameters<PuntDevice['admit']>[0]; frame: Uint8Array }[] = [];
  side.device.onPunt((punt, frame) => held.push({ punt, frame }));
  await machine.counts({ asked: 2, admitted: 2 }, async () => {
    lan.send(udp(toHost(), port, listening));
    await until(() => held.length === 1, 'the question about what comes in');
    assert.deepEqual([held[0]!.punt.ingressRule, held[0]!.punt.destinationSlot], [81, side.hostSlot]);
    assert.deepEqual(side.heard, []);
    assert.equal(side.device.admit(held[0]!.punt, held[0]!.frame, { revision: 1 }), 'sent');
    await until(() => side.heard.length === 1, 'the datagram');
    const sender = createSocket('udp4');
    sender.send('out', 4000, stranger);
    await until(() => held.length === 2, 'the question about what goes out');
    assert.deepEqual([held[1]!.punt.egressRule, held[1]!.punt.sourceSlot], [82, side.hostSlot]);
    assert.deepEqual(drained(lan).filter(outOfHost), []);
    assert.equal(side.device.admit(held[1]!.punt, held[1]!.frame, { revision: 1 }), 'sent');
    const sent = await received(lan, outOfHost);
    assert.deepEqual([sent.destinationPort, sent.sourceMac], [4000, '02:00:00:00:02:01']);
    lan.send(udp(toHost(), 4000, sent.sourcePort!));
    sender.close();
  });
  assert.equal(side.connectionOf(port)?.packets[0], 1n);
});

test('with a program detached, the guard is all that passes', async () => {
  const tcx = run('sh', '-c', `ls /sys/fs/bpf/bhA-${process.pid}-0/links`)
    .split('\n')
    .filter((name) => name.startsWith('uplink'));
  assert.equal(tcx.length, 4);
  side.govern(allowAll);
  machine.kernel.maps.setHostPorts([
    { kind: 'guard', direction: 'ingress', protocol: 6, port: listening, address: '0.0.0.0', rule: guardRule },
  ]);
  for (const direction of ['ingress', 'egress'] as const) {
    run('rm', `/sys/fs/bpf/bhA-${process.pid}-0/links/uplink-${side.uplink}-${direction}`);
    // A link without a pin, and without a descriptor, is gone.
    await until(() => !machine.kernel.links.attached().some(({ hook }) => hook === 'uplink'), 'the detached program');
    lan.send(tcp(toHost(), ++port, listening));
    assert.equal((await received(lan, outOfHost)).tcpFlags, tcpFlag.syn | tcpFlag.ack);
    lan.send(udp(toHost(), port, listening));
    const sender = createSocket('udp4');
    sender.on('error', () => undefined);
    await new Promise((sent) => sender.send('out', 4000, stranger, sent));
    sender.close();
    const left = drained(lan).filter((seen) => seen.protocol === protocols.udp);
    if (direction === 'ingress') assert.deepEqual([side.heard, left.length], [[], 1]);
    else assert.equal(left.length, 0);
    machine.kernel.links.attach(side.uplink, 'uplink');
    side.heard = [];
  }
});
