/** Held packets: what leaves for the agent, how often, and what its answers do. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import type { Connection, Punt, PuntDevice } from '@bulkhead/kernel';
import { echo, tcp, tcpFlag, udp } from './frames.ts';
import { allowAll, always, between, drained, Machine, received, until, type Policy, type Workload } from './machine.ts';
import { FrameSocket } from './sockets.ts';

interface Held {
  readonly punt: Punt;
  readonly frame: Uint8Array;
}

const askIn: Policy = { egress: new Map([[0, always('allow', 40)]]), ingress: new Map([[0, always('ask', 41)]]) };

let machine: Machine;
let a: Workload;
let b: Workload;
let c: Workload;
let device: PuntDevice;
let held: Held[] = [];
let port = 1000;

before(async () => {
  machine = Machine.open();
  a = await machine.addWorkload('a');
  b = await machine.addWorkload('b');
  c = await machine.addWorkload('c');
  device = await machine.kernel.openPuntDevice();
  device.onPunt((punt, frame) => held.push({ punt, frame }));
  machine.kernel.links.attach(device.ifindex, 'punt');
});
after(async () => machine[Symbol.asyncDispose]());
beforeEach(() => {
  machine.configure({ puntIfindex: device.ifindex });
  for (const workload of [a, b, c]) {
    machine.govern(workload, allowAll);
    machine.setEndpoint(workload, { state: 'governed', generation: 1, identity: workload.identity });
    drained(workload.link);
  }
  machine.govern(b, askIn);
  held = [];
  port++;
  machine.events();
});

async function question(): Promise<Held> {
  await until(() => held.length > 0, 'a held packet');
  return held.shift()!;
}
function connectionOf(at: number): Connection | undefined {
  let found: Connection | undefined;
  machine.kernel.maps.forEachConnection((connection) => {
    if (connection.sourcePort === at) found = { ...connection };
  });
  return found;
}

for (const version of [4, 6] as const) {
  describe(`IPv${version}`, () => {
    test('an ask is held, told with everything known, and released once', async () => {
      const ends = between(a, b, version);
      await machine.counts({ asked: 1, punt_absorbed: 2, admitted: 1, connections_opened: 0 }, async () => {
        a.link.send(tcp(ends, port, 80, { sequence: 7 }));
        // Retransmissions of what is held are no further questions.
        a.link.send(tcp(ends, port, 80, { sequence: 7 }));
        a.link.send(tcp(ends, port, 80, { sequence: 7 }));
        const { punt, frame } = await question();
        assert.deepEqual(
          { ...punt, id: 0, atNs: 0n },
          {
            id: 0,
            atNs: 0n,
            reason: 'ask',
            sourceSlot: a.slot,
            destinationSlot: b.slot,
            sourceIdentity: a.identity,
            destinationIdentity: b.identity,
            egressRule: 0,
            ingressRule: 41,
            key: {
              protocol: 6,
              source: ends.source,
              sourcePort: port,
              destination: ends.destination,
              destinationPort: 80,
            },
          },
        );
        assert.deepEqual(drained(b.link), []);
        assert.equal(device.admit(punt, frame, { revision: 1 }), 'sent');
        assert.equal(device.admit(punt, frame, { revision: 1 }), 'stale');
      });
      assert.equal(held.length, 0);
      const syns = drained(b.link);
      assert.deepEqual(
        syns.map((seen) => [seen.tcpFlags, seen.sequence, seen.sourceMac, seen.destinationMac, seen.ttl]),
        [[tcpFlag.syn, 7, b.gatewayMac, b.mac, 63]],
      );
      assert.deepEqual(
        [connectionOf(port)?.decided, connectionOf(port)?.ingressRule, connectionOf(port)?.packets],
        [true, 41, [1n, 0n]],
      );
      b.link.send(tcp(between(b, a, version), 80, port, { flags: tcpFlag.syn | tcpFlag.ack, acknowledgement: 8 }));
      await received(a.link, (seen) => seen.tcpFlags === (tcpFlag.syn | tcpFlag.ack));
    });

    test('a refusal drops, or resets', async () => {
      const ends = between(a, b, version);
      a.link.send(tcp(ends, port, 80));
      let { punt, frame } = await question();
      await machine.counts({ refused: 1, reset_sent: 0 }, () => device.refuse(punt, frame, false));
      a.link.send(tcp(ends, port, 80, { sequence: 20 }));
      ({ punt, frame } = await question());
      device.refuse(punt, frame, true);
      const reset = await received(a.link, (seen) => (seen.tcpFlags & tcpFlag.rst) !== 0);
      assert.deepEqual([reset.acknowledgement, reset.checksumValid], [21, true]);
      assert.deepEqual(drained(b.link), []);
      assert.equal(connectionOf(port), undefined);
    });

    test('UDP and ICMP are asked about too', async () => {
      a.link.send(udp(between(a, b, version), port, 53));
      a.link.send(echo(between(a, b, version), 'request', port));
      for (let count = 0; count < 2; count++) {
        const { punt, frame } = await question();
        assert.equal(device.admit(punt, frame, { revision: 1 }), 'sent');
      }
      assert.equal(drained(b.link).length, 2);
    });
  });
}

describe('an answer', () => {
  const ask = async () => {
    a.link.send(tcp(between(a, b), port, 80));
    return question();
  };
  const admit = ({ punt, frame }: Held) => device.admit(punt, frame, { revision: 1 });

  test('is stale when another rule asks now, when a generation or an identity changed', async () => {
    const changes = [
      () => machine.govern(b, { ingress: new Map([[0, always('ask', 55)]]) }),
      () => machine.setEndpoint(a, { generation: 2 }),
      () => machine.setEndpoint(b, { identity: 4000 }),
    ];
    for (const change of changes) {
      machine.govern(b, askIn);
      const mine = await ask();
      change();
      await machine.counts({ punt_stale: 1, admitted: 0 }, () => assert.equal(admit(mine), 'stale'));
      port++;
    }
    assert.deepEqual(drained(b.link), []);
  });

  test('of a rule that asks no more gives way to the rule', async () => {
    let mine = await ask();
    machine.govern(b, {});
    await machine.counts({ denied: 1 }, () => admit(mine));
    assert.deepEqual(drained(b.link), []);
    port++;
    machine.govern(b, askIn);
    mine = await ask();
    machine.govern(b, allowAll);
    assert.equal(admit(mine), 'sent');
    assert.deepEqual([connectionOf(port)?.decided, drained(b.link).length], [false, 1]);
  });

  test('for a fenced endpoint passes nothing', async () => {
    const mine = await ask();
    machine.setEndpoint(b, { state: 'fenced' });
    admit(mine);
    assert.deepEqual(drained(b.link), []);
    assert.equal(connectionOf(port), undefined);
  });

  test('about one packet does not carry another', async () => {
    const { punt, frame } = await ask();
    const other = tcp(between(c, b), port, 80);
    await machine.counts({ punt_unknown: 2 }, () => {
      assert.equal(device.admit(punt, other, { revision: 1 }), 'stale');
      // The id is spent.
      assert.equal(device.admit(punt, frame, { revision: 1 }), 'stale');
    });
    assert.deepEqual(drained(b.link), []);
  });

  test('admits for as long as the same rules ask; then the connection is asked about again', async () => {
    admit(await ask());
    b.link.send(tcp(between(b, a), 80, port, { flags: tcpFlag.syn | tcpFlag.ack }));
    drained(b.link);
    const ack = () => a.link.send(tcp(between(a, b), port, 80, { flags: tcpFlag.ack }));
    machine.setEndpoint(b, { epoch: 9 });
    await machine.counts({ connections_judged_again: 1, asked: 0 }, ack);
    assert.equal(connectionOf(port)?.decided, true);
    machine.govern(b, { ingress: new Map([[0, always('ask', 66)]]) });
    await machine.counts({ asked: 1 }, ack);
    assert.equal(drained(b.link).length, 1);
    const again = await question();
    assert.equal(again.punt.ingressRule, 66);
    assert.equal(admit(again), 'sent');
    assert.deepEqual(
      [connectionOf(port)?.decided, connectionOf(port)?.ingressRule, drained(b.link).length],
      [true, 66, 1],
    );
    // Asked by the responder's packet, told in the connection's direction.
    machine.govern(b, { egress: new Map([[0, always('allow')]]), ingress: new Map([[0, always('ask', 67)]]) });
    drained(a.link);
    b.link.send(tcp(between(b, a), 80, port, { flags: tcpFlag.ack }));
    const back = await question();
    assert.deepEqual(
      [back.punt.key.source, back.punt.key.sourcePort, back.punt.sourceSlot, back.punt.ingressRule],
      [a.ipv4, port, a.slot, 67],
    );
    assert.equal(admit(back), 'sent');
    assert.equal(drained(a.link).length, 1);
  });
});

describe('a flood of questions', () => {
  test('is bounded before the device, and starves nobody else', async () => {
    machine.configure({ puntIfindex: device.ifindex, puntRate: 10, puntBurst: 20 });
    const flood = 100;
    const before = machine.counter('asked');
    for (let count = 0; count < flood; count++) a.link.send(udp(between(a, b), 10_000 + count, 53));
    const asked = Number(machine.counter('asked') - before);
    assert.ok(asked >= 20 && asked <= 23, `${asked} asked`);
    assert.ok(machine.counter('punt_rate') >= BigInt(flood - asked));
    await machine.counts({ asked: 1 }, () => c.link.send(udp(between(c, b), 10_000, 53)));
    await until(() => held.length === asked + 1, 'all held packets');
    for (const { punt, frame } of held) device.refuse(punt, frame, false);
  });

  test('may hold so many packets of one endpoint at a time', async () => {
    machine.configure({ puntIfindex: device.ifindex, puntRate: 100_000, puntBurst: 100_000 });
    const most = 512;
    await machine.counts({ asked: most, punt_full: 10 }, () => {
      for (let count = 0; count < most + 10; count++) a.link.send(udp(between(a, b), 20_000 + count, 53));
    });
    await until(() => held.length === most, 'all held packets');
    for (const { punt, frame } of held) device.refuse(punt, frame, false);
    await machine.counts({ asked: 1, punt_full: 0 }, () => a.link.send(udp(between(a, b), 30_000, 53)));
    const last = held.length;
    await until(() => held.length > last, 'one more');
    device.refuse(held.at(-1)!.punt, held.at(-1)!.frame, false);
  });

  test('without a device to take them, questions are denied', async () => {
    machine.configure({ puntIfindex: 0 });
    await machine.counts({ punt_no_device: 1 }, () => a.link.send(tcp(between(a, b), port, 80)));
    assert.deepEqual(drained(b.link), []);
  });
});

test('an agent that begins makes room for what the one before had held', async () => {
  machine.configure({ puntIfindex: device.ifindex, puntRate: 100_000, puntBurst: 100_000 });
  for (let count = 0; count < 512; count++) a.link.send(udp(between(a, b), 40_000 + count, 53));
  await until(() => held.length === 512, 'all held packets');
  await machine.counts({ punt_full: 1 }, () => a.link.send(udp(between(a, b), 41_000, 53)));
  const all = Buffer.alloc(14, 1);
  machine.kernel.programs.testRun('sweep_punts', Buffer.alloc(14), { ifindex: a.ifindex });
  await machine.counts({ punt_full: 1 }, () => a.link.send(udp(between(a, b), 41_000, 53)));
  machine.kernel.programs.testRun('sweep_punts', all, { ifindex: a.ifindex });
  assert.equal(device.admit(held[0]!.punt, held[0]!.frame, { revision: 1 }), 'stale');
  held = [];
  await machine.counts({ asked: 1 }, () => a.link.send(udp(between(a, b), 40_000, 53)));
  const { punt, frame } = await question();
  device.refuse(punt, frame, false);
});

describe('a held endpoint', () => {
  test('keeps first packets back, to it and from it, until it is known', async () => {
    machine.setEndpoint(b, { state: 'held' });
    await machine.counts({ held: 2, asked: 0 }, async () => {
      a.link.send(tcp(between(a, b), port, 80));
      b.link.send(tcp(between(b, a), port, 80));
      await until(() => held.length === 2, 'two held packets');
    });
    assert.deepEqual(
      held.map(({ punt }) => [punt.reason, punt.sourceIdentity, punt.destinationIdentity]),
      [
        ['held', a.identity, 3],
        ['held', 3, a.identity],
      ],
    );
    machine.setEndpoint(b, { state: 'governed' });
    machine.govern(b, allowAll);
    for (const { punt, frame } of held) assert.equal(device.judge(punt, frame), 'sent');
    assert.deepEqual([drained(a.link).length, drained(b.link).length], [1, 1]);
    assert.equal(connectionOf(port)?.decided, false);
  });

  test('is asked about, or refused, when it becomes known', async () => {
    machine.setEndpoint(b, { state: 'held' });
    a.link.send(tcp(between(a, b), port, 80));
    const first = await question();
    machine.setEndpoint(b, { state: 'governed' });
    device.judge(first.punt, first.frame);
    const asked = await question();
    assert.deepEqual([asked.punt.reason, asked.punt.ingressRule], ['ask', 41]);
    assert.notEqual(asked.punt.id, first.punt.id);
    assert.equal(device.admit(asked.punt, asked.frame, { revision: 1 }), 'sent');
    assert.equal(drained(b.link).length, 1);
    port++;
    machine.setEndpoint(b, { state: 'held' });
    a.link.send(tcp(between(a, b), port, 80));
    const second = await question();
    machine.setEndpoint(b, { state: 'governed' });
    machine.govern(b, {});
    await machine.counts({ denied: 1 }, () => device.judge(second.punt, second.frame));
    assert.deepEqual(drained(b.link), []);
  });

  test('is not let through by admitting what it was held for', async () => {
    machine.setEndpoint(b, { state: 'held' });
    a.link.send(tcp(between(a, b), port, 80));
    const { punt, frame } = await question();
    device.admit(punt, frame, { revision: 1 });
    // It is held anew.
    const again = await question();
    assert.equal(again.punt.reason, 'held');
    device.refuse(again.punt, again.frame, false);
    assert.deepEqual(drained(b.link), []);
    assert.equal(connectionOf(port), undefined);
  });
});

describe('questions with outside', () => {
  test('a workload asks to leave: admitted, its packet goes to the host as if just sent', async () => {
    machine.govern(a, { egress: new Map([[2, always('ask', 45)]]) });
    a.link.send(udp(between(a, '198.51.100.1'), port, 53));
    const { punt, frame } = await question();
    assert.deepEqual([punt.egressRule, punt.destinationSlot, punt.destinationIdentity], [45, 0, 2]);
    assert.equal(device.admit(punt, frame, { revision: 1 }), 'sent');
    // Counted by from_workload, which it passed once more.
    await until(() => connectionOf(port)?.packets[0] === 1n, 'the packet at the host');
  });

  test('outside asks to come in', async () => {
    using uplink = new FrameSocket(b.hostName);
    uplink.send(
      tcp({ sourceMac: b.gatewayMac, destinationMac: b.mac, source: '198.51.100.1', destination: b.ipv4 }, port, 80, {
        sequence: 3,
      }),
    );
    const { punt, frame } = await question();
    assert.deepEqual(
      [punt.sourceSlot, punt.sourceIdentity, punt.destinationSlot, punt.ingressRule],
      [0, 2, b.slot, 41],
    );
    assert.equal(device.admit(punt, frame, { revision: 1 }), 'sent');
    const syn = await received(b.link, (seen) => seen.tcpFlags === tcpFlag.syn);
    assert.equal(syn.source, '198.51.100.1');
    assert.equal(connectionOf(port)?.decided, true);
  });
});
