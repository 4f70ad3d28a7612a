/** What becomes of live connections when another rule decides about them: kept, judged, or reset at both ends. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import type { VerdictAction, VerdictLive } from '@bulkhead/kernel';
import { chunk, sctp, tcp, tcpFlag, udp, type Ends, type Seen } from './frames.ts';
import { hostAddress, inbound, openWithLan, stranger } from './lan.ts';
import { allowAll, always, between, drained, type Machine, type Policy, received, type Workload } from './machine.ts';
import type { FrameSocket } from './sockets.ts';

let machine: Machine;
let a: Workload;
let b: Workload;
let lan: FrameSocket;
let port = 3000;
let epoch = 1;

before(async () => {
  ({ machine, a, b, lan } = await openWithLan());
});
after(async () => {
  lan[Symbol.dispose]();
  await machine[Symbol.asyncDispose]();
});
beforeEach(() => {
  for (const workload of [a, b]) govern(workload, allowAll);
  for (const link of [a.link, b.link, lan]) drained(link);
  machine.events();
  port++;
});

/** As the agent does it: other rows, and one flip that makes live connections be judged again. */
function govern(workload: Workload, policy: Policy): void {
  machine.setEndpoint(workload, { ruleset: machine.addRules(policy), epoch: ++epoch });
}
function rules(action: VerdictAction, rule: number, live?: VerdictLive): Policy {
  const table = { ranges: [], otherwise: live === undefined ? { action, rule } : { action, rule, live } };
  return { egress: new Map([[0, table]]), ingress: new Map([[0, table]]) };
}
const data = { flags: tcpFlag.ack | tcpFlag.psh, sequence: 1001, acknowledgement: 5001, payload: Buffer.from('data') };
const reply = {
  flags: tcpFlag.ack | tcpFlag.psh,
  sequence: 5001,
  acknowledgement: 1001,
  payload: Buffer.from('reply'),
};
const isReset = (seen: Seen): boolean => (seen.tcpFlags & tcpFlag.rst) !== 0;

function establish(version: 4 | 6 = 4): void {
  a.link.send(tcp(between(a, b, version), port, 80, { sequence: 1000 }));
  b.link.send(
    tcp(between(b, a, version), 80, port, { flags: tcpFlag.syn | tcpFlag.ack, sequence: 5000, acknowledgement: 1001 }),
  );
  a.link.send(tcp(between(a, b, version), port, 80, { ...data, payload: Buffer.alloc(0) }));
  for (const link of [a.link, b.link]) drained(link);
}
function sent(from: Workload, ends: Ends, options: typeof data): Seen[] {
  const [source, destination] = from === a ? [port, 80] : [80, port];
  from.link.send(tcp(ends, source, destination, options));
  return drained(from === a ? b.link : a.link);
}

describe('keep', () => {
  test('a live connection goes on both ways, over several changes; a new one is denied', async () => {
    establish();
    govern(b, rules('deny', 71, 'keep'));
    await machine.counts({ connections_kept: 1 }, () => {
      assert.equal(sent(a, between(a, b), data).length, 1);
      assert.equal(sent(b, between(b, a), reply).length, 1);
    });
    govern(b, rules('reject', 72, 'keep'));
    govern(a, allowAll);
    assert.equal(sent(b, between(b, a), reply).length, 1);
    await machine.counts({ rejected: 1 }, () => a.link.send(tcp(between(a, b), port + 500, 80)));
    await machine.counts({ rejected: 1 }, () => a.link.send(tcp(between(a, b), port, 80, { sequence: 99 })));
  });

  test("the other end's denial is stronger", async () => {
    establish();
    govern(a, rules('deny', 73, 'keep'));
    govern(b, rules('deny', 74));
    await machine.counts({ denied: 1, connections_kept: 0 }, () => assert.deepEqual(sent(a, between(a, b), data), []));
  });
});

describe('judge', () => {
  test('a live connection that is denied ends without a word', async () => {
    establish();
    govern(b, rules('deny', 75));
    await machine.counts({ denied: 1, reset_sent: 0 }, () => assert.deepEqual(sent(a, between(a, b), data), []));
    assert.deepEqual(drained(a.link), []);
  });
});

for (const version of [4, 6] as const) {
  describe(`reset, IPv${version}`, () => {
    test('both ends are told when they speak, nothing passes, and a new attempt is judged', async () => {
      establish(version);
      govern(b, rules('allow', 76, 'reset'));
      await machine.counts({ connections_reset: 1, live_reset: 3, reset_sent: 3 }, () => {
        assert.deepEqual(sent(a, between(a, b, version), data), []);
        const [toA, ...moreA] = drained(a.link);
        assert.deepEqual(moreA, []);
        assert.deepEqual([toA?.tcpFlags, toA?.sequence, toA?.checksumValid], [tcpFlag.rst, 5001, true]);
        assert.deepEqual(sent(b, between(b, a, version), reply), []);
        const [toB, ...moreB] = drained(b.link);
        assert.deepEqual(moreB, []);
        assert.deepEqual([toB?.tcpFlags, toB?.sequence, toB?.checksumValid], [tcpFlag.rst, 1001, true]);
        assert.deepEqual(sent(a, between(a, b, version), data), []);
      });
      drained(a.link);
      const told = machine.events().filter(({ key }) => key.sourcePort === port);
      assert.deepEqual(
        told.map(({ kind, reason, ingressRule }) => [kind, reason, ingressRule]),
        [
          ['new', 'connections_opened', 12],
          ['deny', 'live_reset', 76],
          ['close', 'connections_closed', 12],
        ],
      );
      // Neither a reset of the sender's own nor any other word passes; only a beginning is judged.
      a.link.send(tcp(between(a, b, version), port, 80, { flags: tcpFlag.rst, sequence: 1001 }));
      assert.deepEqual([...drained(a.link), ...drained(b.link)], []);
      a.link.send(tcp(between(a, b, version), port, 80, { sequence: 7000 }));
      assert.deepEqual(
        drained(b.link).map(({ tcpFlags }) => tcpFlags),
        [tcpFlag.syn],
      );
    });
  });
}

test('a rule that admitted a connection does not reset it', () => {
  govern(b, rules('allow', 77, 'reset'));
  establish();
  govern(b, rules('allow', 77, 'reset'));
  assert.equal(sent(a, between(a, b), data).length, 1);
});

test('reset beats keep, and a connection that stays between two rulesets is reset by the last', () => {
  establish();
  govern(a, rules('deny', 78, 'keep'));
  govern(b, rules('deny', 79, 'stay'));
  assert.equal(sent(a, between(a, b), data).length, 1);
  govern(b, rules('allow', 79, 'reset'));
  assert.deepEqual(sent(a, between(a, b), data), []);
  assert.ok(isReset(drained(a.link)[0]!));
});

test('datagrams: the sender is told unreachable once, and what comes next is judged', async () => {
  a.link.send(udp(between(a, b), port, 53));
  b.link.send(udp(between(b, a), 53, port));
  drained(a.link);
  drained(b.link);
  govern(b, { ...rules('allow', 80, 'reset'), egress: new Map([[0, always('deny', 81)]]) });
  await machine.counts({ connections_reset: 1, icmp_sent: 1 }, () => a.link.send(udp(between(a, b), port, 53)));
  assert.deepEqual(drained(b.link), []);
  assert.deepEqual(
    drained(a.link).map(({ icmpType, icmpCode }) => [icmpType, icmpCode]),
    [[3, 3]],
  );
  // A reply of what is over is no reply.
  await machine.counts({ denied: 1 }, () => b.link.send(udp(between(b, a), 53, port)));
  a.link.send(udp(between(a, b), port, 53));
  assert.equal(drained(b.link).length, 1);
});

test('associations: both ends get an ABORT with their own tag', async () => {
  a.link.send(sctp(between(a, b), port, 9899, chunk.init));
  b.link.send(sctp(between(b, a), 9899, port, chunk.initAck));
  a.link.send(sctp(between(a, b), port, 9899, chunk.cookieEcho));
  b.link.send(sctp(between(b, a), 9899, port, chunk.cookieAck));
  for (const link of [a.link, b.link]) drained(link);
  govern(a, rules('deny', 82, 'reset'));
  await machine.counts({ connections_reset: 1, live_reset: 2, reset_sent: 2 }, () => {
    a.link.send(sctp(between(a, b), port, 9899, chunk.data, { tag: 0x11 }));
    b.link.send(sctp(between(b, a), 9899, port, chunk.data, { tag: 0x22 }));
  });
  const aborts = [...drained(a.link), ...drained(b.link)];
  assert.deepEqual(
    aborts.map((seen) => [seen.chunk, seen.chunkFlags, seen.tag, seen.checksumValid]),
    [
      [chunk.abort, 1, 0x11, true],
      [chunk.abort, 1, 0x22, true],
    ],
  );
});

test('whoever speaks from outside is told through the NAT', async () => {
  lan.send(tcp(inbound(), port, 8080, { sequence: 1000 }));
  const syn = await received(a.link, (seen) => seen.tcpFlags === tcpFlag.syn);
  a.link.send(
    tcp(between(a, stranger), 80, syn.sourcePort!, {
      flags: tcpFlag.syn | tcpFlag.ack,
      sequence: 5000,
      acknowledgement: 1001,
    }),
  );
  await received(lan, (seen) => seen.tcpFlags === (tcpFlag.syn | tcpFlag.ack));
  lan.send(tcp(inbound(), port, 8080, { flags: tcpFlag.ack, sequence: 1001, acknowledgement: 5001 }));
  drained(a.link);
  govern(a, rules('deny', 83, 'reset'));
  lan.send(tcp(inbound(), port, 8080, data));
  const reset = await received(lan, isReset);
  assert.deepEqual(
    [reset.source, reset.sourcePort, reset.sequence, reset.checksumValid],
    [hostAddress, 8080, 5001, true],
  );
  assert.deepEqual(drained(a.link), []);
});
