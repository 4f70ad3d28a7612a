/** Fenced and observed endpoints, taps, events under load, and tables that are full. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { tcp, tcpFlag, udp, arp } from './frames.ts';
import { allowAll, always, between, drained, Machine, received, type Workload } from './machine.ts';
import { FrameSocket } from './sockets.ts';

const pass = 0;
const shot = 2;

let machine: Machine;
let a: Workload;
let b: Workload;
let port = 1000;

before(async () => {
  machine = Machine.open();
  a = await machine.addWorkload('a');
  b = await machine.addWorkload('b');
});
after(async () => machine[Symbol.asyncDispose]());
beforeEach(() => {
  for (const workload of [a, b]) {
    machine.setEndpoint(workload, { state: 'governed', kind: 'veth' });
    machine.govern(workload, allowAll);
    drained(workload.link);
  }
  machine.events();
  port++;
});

function from(workload: Workload, frame: Uint8Array): number {
  return machine.kernel.programs.testRun('from_workload', frame, { ifindex: workload.ifindex }).result;
}
function to(workload: Workload, frame: Uint8Array, mark = 0): number {
  return machine.kernel.programs.testRun('to_workload', frame, { ifindex: workload.ifindex, mark }).result;
}

describe('a fenced endpoint', () => {
  test('drops everything, both ways, open connections too, and every packet is counted', async () => {
    a.link.send(tcp(between(a, b), port, 80));
    b.link.send(tcp(between(b, a), 80, port, { flags: tcpFlag.syn | tcpFlag.ack }));
    drained(a.link);
    drained(b.link);
    machine.setEndpoint(b, { state: 'fenced' });
    await machine.counts({ fenced: 5 }, () => {
      a.link.send(tcp(between(a, b), port, 80, { flags: tcpFlag.ack }));
      b.link.send(tcp(between(b, a), 80, port, { flags: tcpFlag.ack }));
      b.link.send(udp(between(b, a), 1, 1));
      b.link.send(
        arp(b.gatewayMac, b.mac, { operation: 1, senderMac: b.mac, sender: b.ipv4, targetMac: b.mac, target: a.ipv4 }),
      );
      to(b, udp({ sourceMac: b.gatewayMac, destinationMac: b.mac, source: '198.51.100.1', destination: b.ipv4 }, 1, 1));
    });
    assert.deepEqual(drained(a.link), []);
    assert.deepEqual(drained(b.link), []);
  });
});

describe('an observed endpoint', () => {
  test('passes whatever it is, and is told what would have been refused', async () => {
    machine.setEndpoint(a, { state: 'observed' });
    machine.govern(a, { egress: new Map([[0, always('deny', 71)]]) });
    await machine.counts({ observed_denied: 1, denied: 0 }, () =>
      assert.equal(from(a, udp(between(a, '198.51.100.1'), port, 53)), pass),
    );
    const [event] = machine.events();
    assert.deepEqual(
      [event?.kind, event?.observed, event?.egressRule, event?.reason],
      ['deny', true, 71, 'observed_denied'],
    );
    await machine.counts({ spoofed: 1, vlan: 1 }, () => {
      assert.equal(from(a, udp({ ...between(a, b), source: '10.9.9.9' }, port, 53)), pass);
      const tagged = Buffer.from(udp(between(a, b), port, 53));
      tagged.writeUInt16BE(0x8100, 12);
      assert.equal(from(a, tagged), pass);
    });
    machine.govern(a, { ingress: new Map([[0, always('ask', 72)]]) });
    assert.equal(
      to(
        a,
        udp({ sourceMac: a.gatewayMac, destinationMac: a.mac, source: '198.51.100.1', destination: a.ipv4 }, port, 53),
      ),
      pass,
    );
    assert.deepEqual(
      machine
        .events()
        .filter((told) => told.kind === 'deny')
        .map((told) => told.ingressRule),
      [72],
    );
  });

  test('gets its packets back as it sent them, whoever they are for', () => {
    machine.setEndpoint(a, { state: 'observed' });
    const frames = [
      udp(between(a, b), port, 53),
      udp(between(a, b, 6), port, 53),
      udp(between(a, b), port, 53, { ttl: 1 }),
      arp('ff:ff:ff:ff:ff:ff', a.mac, {
        operation: 1,
        senderMac: a.mac,
        sender: a.ipv4,
        targetMac: '00:00:00:00:00:00',
        target: b.ipv4,
      }),
    ];
    for (const frame of [...frames, ...frames]) {
      const run = machine.kernel.programs.testRun('from_workload', frame, { ifindex: a.ifindex });
      assert.equal(run.result, pass);
      assert.deepEqual(Buffer.from(run.frame), frame);
    }
  });

  test('is reported as allowed where it is', async () => {
    machine.setEndpoint(a, { state: 'observed' });
    await machine.counts({ connections_opened: 1, observed_denied: 0 }, () =>
      assert.equal(from(a, udp(between(a, '198.51.100.1'), port, 53)), pass),
    );
  });

  test('does not open its governed peers', async () => {
    machine.setEndpoint(a, { state: 'observed' });
    machine.govern(b, {});
    // It leaves the observed end towards the host, and is refused at the governed one.
    assert.equal(from(a, udp(between(a, b), port, 53)), pass);
    const arriving = udp(
      { sourceMac: b.gatewayMac, destinationMac: b.mac, source: a.ipv4, destination: b.ipv4 },
      port,
      53,
    );
    await machine.counts({ denied: 1 }, () => assert.equal(to(b, arriving, 0x2000), shot));
  });

  test('does not excuse a governed sender', async () => {
    machine.setEndpoint(b, { state: 'observed' });
    machine.govern(b, {});
    await machine.counts({ observed_denied: 1 }, () => assert.equal(from(a, udp(between(a, b), port, 53)), pass));
    machine.govern(a, {});
    port++;
    await machine.counts({ denied: 1 }, () => assert.equal(from(a, udp(between(a, b), port, 53)), shot));
  });
});

test('a tap gets what is for it through its egress hook, counted once', async () => {
  machine.setEndpoint(b, { kind: 'tap' });
  a.link.send(udp(between(a, b), port, 53));
  const seen = await received(b.link, (candidate) => candidate.sourcePort === port);
  assert.deepEqual([seen.destinationMac, seen.ttl], [b.mac, 63]);
  const packets: (readonly [bigint, bigint])[] = [];
  machine.kernel.maps.forEachConnection((connection) => {
    if (connection.sourcePort === port) packets.push(connection.packets);
  });
  assert.deepEqual(packets, [[1n, 0n]]);
  // Its answers, resets and neighbours reach it there too.
  machine.govern(b, { egress: new Map([[0, always('reject')]]) });
  b.link.send(tcp(between(b, a), port, 81));
  const reset = await received(b.link, (candidate) => (candidate.tcpFlags & tcpFlag.rst) !== 0);
  assert.ok(reset.checksumValid);
  b.link.send(
    arp('ff:ff:ff:ff:ff:ff', b.mac, {
      operation: 1,
      senderMac: b.mac,
      sender: b.ipv4,
      targetMac: '00:00:00:00:00:00',
      target: a.ipv4,
    }),
  );
  await received(b.link, (candidate) => candidate.type === 0x0806);
  // The mark opens no other way in.
  using beside = new FrameSocket(b.hostName);
  beside.mark(0x3000);
  machine.setEndpoint(b, { kind: 'veth' });
  machine.govern(b, {});
  beside.send(
    udp({ sourceMac: b.gatewayMac, destinationMac: b.mac, source: '198.51.100.1', destination: b.ipv4 }, port, 53),
  );
  assert.deepEqual(drained(b.link), []);
});

test("a flood of denials is counted in full, told in part, and leaves room for others' events", () => {
  machine.govern(a, {});
  const flood = 3000;
  const suppressedBefore = machine.counter('events_suppressed');
  const deniedBefore = machine.counter('denied');
  for (let count = 0; count < flood; count++) a.link.send(udp(between(a, b), 10_000 + count, 53));
  b.link.send(udp(between(b, '198.51.100.1'), 1, 53));
  const told = machine.events();
  const mine = told.filter((event) => event.slot === a.slot).length;
  assert.equal(machine.counter('denied') - deniedBefore, BigInt(flood));
  assert.equal(BigInt(mine) + (machine.counter('events_suppressed') - suppressedBefore), BigInt(flood));
  assert.ok(mine >= 250 && mine < 1500, `${mine} events`);
  assert.deepEqual(
    told.filter((event) => event.slot === b.slot).map((event) => event.kind),
    ['new'],
  );
});

test('a row that is missing, and a tree that leads nowhere, deny', async () => {
  machine.setEndpoint(a, { ruleset: 12_345 });
  await machine.counts({ no_row: 1 }, () => a.link.send(udp(between(a, b), port, 53)));
  const nowhere = machine.kernel.maps.limits.portNodesMax + 5;
  const key = Buffer.alloc(8);
  key.writeUInt32LE(12_346 * 2, 0);
  const root = Buffer.alloc(4);
  root.writeUInt32LE(nowhere, 0);
  machine.rawTable('rows', 8, 4).set(key, root);
  machine.setEndpoint(a, { ruleset: 12_346 });
  await machine.counts({ no_row: 1 }, () => a.link.send(udp(between(a, b), port, 53)));
  assert.deepEqual(drained(b.link), []);
});

test('ports and ranges are judged at their exact ends, through every level of the tree', async () => {
  // Every even port allowed: a range for each, so that the tree is as deep as such trees get.
  const ranges = Array.from({ length: 32_768 }, (_, index) => ({
    protocol: 17,
    from: index * 2,
    to: index * 2,
    verdict: { action: 'allow' as const, rule: (index % 1000) + 1 },
  }));
  machine.govern(a, { egress: new Map([[0, { ranges, otherwise: { action: 'deny', rule: 5 } }]]) });
  for (const destinationPort of [0, 1, 2, 31, 32, 511, 512, 4095, 4096, 32_767, 32_768, 65_534, 65_535]) {
    const result = from(a, udp(between(a, '198.51.100.1'), port, destinationPort));
    assert.equal(result, destinationPort % 2 === 0 ? pass : shot, `port ${destinationPort}`);
  }
  const opened = machine.events().filter((event) => event.kind === 'new');
  assert.deepEqual(
    opened.map((event) => event.egressRule),
    opened.map((event) => ((event.key.destinationPort / 2) % 1000) + 1),
  );
  // Another protocol at the same port is another point.
  assert.equal(from(a, tcp(between(a, '198.51.100.1'), port, 32)), shot);
});
