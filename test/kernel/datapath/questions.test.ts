/** Questions: what leaves for the agent, how often, and what its answers do. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import type { PuntDevice } from '@bulkhead/kernel';
import { Asking, askIn, type Held } from './asking.ts';
import { echo, tcp, tcpFlag, udp } from './frames.ts';
import { allowAll, always, between, drained, type Machine, received, until, type Workload } from './machine.ts';

let asking: Asking;
let machine: Machine;
let a: Workload;
let b: Workload;
let c: Workload;
let device: PuntDevice;
let port = 1000;

before(async () => {
  asking = await Asking.open();
  ({ machine, a, b, c, device } = asking);
});
after(async () => asking[Symbol.asyncDispose]());
beforeEach(() => {
  asking.reset();
  port++;
});

for (const version of [4, 6] as const) {
  describe(`IPv${version}`, () => {
    test('an ask is held, told with everything known, and released once', async () => {
      const ends = between(a, b, version);
      await machine.counts({ asked: 1, punt_absorbed: 2, admitted: 1, connections_opened: 0 }, async () => {
        a.link.send(tcp(ends, port, 80, { sequence: 7 }));
        // Retransmissions of what is held are no further questions.
        a.link.send(tcp(ends, port, 80, { sequence: 7 }));
        a.link.send(tcp(ends, port, 80, { sequence: 7 }));
        const { punt, frame } = await asking.question();
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
      assert.equal(asking.held.length, 0);
      const syns = drained(b.link);
      assert.deepEqual(
        syns.map((seen) => [seen.tcpFlags, seen.sequence, seen.sourceMac, seen.destinationMac, seen.ttl]),
        [[tcpFlag.syn, 7, b.gatewayMac, b.mac, 63]],
      );
      assert.deepEqual(
        [
          asking.connectionOf(port)?.decided,
          asking.connectionOf(port)?.ingressRule,
          asking.connectionOf(port)?.packets,
        ],
        [true, 41, [1n, 0n]],
      );
      b.link.send(tcp(between(b, a, version), 80, port, { flags: tcpFlag.syn | tcpFlag.ack, acknowledgement: 8 }));
      await received(a.link, (seen) => seen.tcpFlags === (tcpFlag.syn | tcpFlag.ack));
    });

    test('a refusal drops, or resets', async () => {
      const ends = between(a, b, version);
      a.link.send(tcp(ends, port, 80));
      let { punt, frame } = await asking.question();
      await machine.counts({ refused: 1, reset_sent: 0 }, () => device.refuse(punt, frame, false));
      a.link.send(tcp(ends, port, 80, { sequence: 20 }));
      ({ punt, frame } = await asking.question());
      device.refuse(punt, frame, true);
      const reset = await received(a.link, (seen) => (seen.tcpFlags & tcpFlag.rst) !== 0);
      assert.deepEqual([reset.acknowledgement, reset.checksumValid], [21, true]);
      assert.deepEqual(drained(b.link), []);
      assert.equal(asking.connectionOf(port), undefined);
    });

    test('UDP and ICMP are asked about too', async () => {
      a.link.send(udp(between(a, b, version), port, 53));
      a.link.send(echo(between(a, b, version), 'request', port));
      for (let count = 0; count < 2; count++) {
        const { punt, frame } = await asking.question();
        assert.equal(device.admit(punt, frame, { revision: 1 }), 'sent');
      }
      assert.equal(drained(b.link).length, 2);
    });
  });
}

describe('an answer', () => {
  const ask = async () => {
    a.link.send(tcp(between(a, b), port, 80));
    return asking.question();
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
    assert.deepEqual([asking.connectionOf(port)?.decided, drained(b.link).length], [false, 1]);
  });

  test('for a fenced endpoint passes nothing', async () => {
    const mine = await ask();
    machine.setEndpoint(b, { state: 'fenced' });
    admit(mine);
    assert.deepEqual(drained(b.link), []);
    assert.equal(asking.connectionOf(port), undefined);
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
    assert.equal(asking.connectionOf(port)?.decided, true);
    machine.govern(b, { ingress: new Map([[0, always('ask', 66)]]) });
    await machine.counts({ asked: 1 }, ack);
    assert.equal(drained(b.link).length, 1);
    const again = await asking.question();
    assert.equal(again.punt.ingressRule, 66);
    assert.equal(admit(again), 'sent');
    assert.deepEqual(
      [asking.connectionOf(port)?.decided, asking.connectionOf(port)?.ingressRule, drained(b.link).length],
      [true, 66, 1],
    );
    // Asked by the responder's packet, told in the connection's direction.
    machine.govern(b, { egress: new Map([[0, always('allow')]]), ingress: new Map([[0, always('ask', 67)]]) });
    drained(a.link);
    b.link.send(tcp(between(b, a), 80, port, { flags: tcpFlag.ack }));
    const back = await asking.question();
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
    await until(() => asking.held.length === asked + 1, 'all held packets');
    for (const { punt, frame } of asking.held) device.refuse(punt, frame, false);
  });

  test('may hold so many packets of one endpoint at a time', async () => {
    machine.configure({ puntIfindex: device.ifindex, puntRate: 100_000, puntBurst: 100_000 });
    const most = 512;
    await machine.counts({ asked: most, punt_full: 10 }, () => {
      for (let count = 0; count < most + 10; count++) a.link.send(udp(between(a, b), 20_000 + count, 53));
    });
    await until(() => asking.held.length === most, 'all held packets');
    for (const { punt, frame } of asking.held) device.refuse(punt, frame, false);
    await machine.counts({ asked: 1, punt_full: 0 }, () => a.link.send(udp(between(a, b), 30_000, 53)));
    const last = asking.held.length;
    await until(() => asking.held.length > last, 'one more');
    device.refuse(asking.held.at(-1)!.punt, asking.held.at(-1)!.frame, false);
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
  await until(() => asking.held.length === 512, 'all held packets');
  await machine.counts({ punt_full: 1 }, () => a.link.send(udp(between(a, b), 41_000, 53)));
  const all = Buffer.alloc(14, 1);
  machine.kernel.programs.testRun('sweep_punts', Buffer.alloc(14), { ifindex: a.ifindex });
  await machine.counts({ punt_full: 1 }, () => a.link.send(udp(between(a, b), 41_000, 53)));
  machine.kernel.programs.testRun('sweep_punts', all, { ifindex: a.ifindex });
  assert.equal(device.admit(asking.held[0]!.punt, asking.held[0]!.frame, { revision: 1 }), 'stale');
  asking.held = [];
  await machine.counts({ asked: 1 }, () => a.link.send(udp(between(a, b), 40_000, 53)));
  const { punt, frame } = await asking.question();
  device.refuse(punt, frame, false);
});
