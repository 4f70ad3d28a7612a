/** What a sender is told: rejections, hops that ran out, packets too big; and which ICMP errors are believed. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { echo, icmp, ip, protocols, tcp, tcpFlag, udp, udpDatagram, type Ends, type Seen } from './frames.ts';
import { allowAll, always, between, drained, Machine, received, type Policy, type Workload } from './machine.ts';

const rejectAll: Policy = {
  egress: new Map([[0, always('reject', 31)]]),
  ingress: new Map([[0, always('reject', 32)]]),
};

let machine: Machine;
let a: Workload;
let b: Workload;

before(async () => {
  machine = Machine.open();
  a = await machine.addWorkload('a');
  b = await machine.addWorkload('b');
});
after(async () => machine[Symbol.asyncDispose]());
beforeEach(() => {
  drained(a.link);
  drained(b.link);
  machine.events();
});

/** The packet that an ICMP error quotes, without its Ethernet header. */
function quoted(seen: Seen): string {
  return seen.payload.subarray(8).toString('hex');
}

for (const version of [4, 6] as const) {
  describe(`IPv${version}`, () => {
    test('reject answers TCP with a reset that the sender believes', async () => {
      machine.govern(a, rejectAll);
      machine.govern(b, allowAll);
      const ends = between(a, b, version);
      a.link.send(tcp(ends, 1000, 80, { sequence: 70 }));
      const reset = await received(a.link, (seen) => (seen.tcpFlags & tcpFlag.rst) !== 0);
      assert.deepEqual(
        [
          reset.source,
          reset.destination,
          reset.sourcePort,
          reset.destinationPort,
          reset.tcpFlags,
          reset.acknowledgement,
          reset.checksumValid,
          reset.destinationMac,
        ],
        [ends.destination, ends.source, 80, 1000, tcpFlag.rst | tcpFlag.ack, 71, true, a.mac],
      );
      a.link.send(
        tcp(ends, 1001, 80, { flags: tcpFlag.ack, sequence: 70, acknowledgement: 4000, payload: Buffer.from('data!') }),
      );
      const other = await received(a.link, (seen) => (seen.tcpFlags & tcpFlag.rst) !== 0);
      assert.deepEqual([other.tcpFlags, other.sequence, other.checksumValid], [tcpFlag.rst, 4000, true]);
      // A reset is never answered by a reset.
      await machine.counts({ reset_sent: 0, rejected: 1 }, () =>
        a.link.send(tcp(ends, 1002, 80, { flags: tcpFlag.rst })),
      );
      assert.deepEqual(drained(b.link), []);
      const denials = machine.events().map((event) => [event.kind, event.reason, event.egressRule]);
      assert.deepEqual(
        denials,
        Array.from({ length: 3 }, () => ['deny', 'rejected', 31]),
      );
    });

    test('reject answers other protocols with unreachable, quoting the packet', async () => {
      machine.govern(a, allowAll);
      machine.govern(b, rejectAll);
      const ends = between(a, b, version);
      const datagram = udp(ends, 1003, 53, { payload: Buffer.from('a question of some length, for the quote') });
      a.link.send(datagram);
      const unreachable = await received(a.link, (seen) => seen.icmpType === (version === 4 ? 3 : 1));
      assert.deepEqual(
        [unreachable.icmpCode, unreachable.source, unreachable.checksumValid],
        [version === 4 ? 3 : 4, ends.destination, true],
      );
      assert.ok(datagram.subarray(14).toString('hex').startsWith(quoted(unreachable)));
      a.link.send(echo(ends, 'request', 9));
      const prohibited = await received(a.link, (seen) => seen.icmpType === (version === 4 ? 3 : 1));
      assert.deepEqual([prohibited.icmpCode, prohibited.checksumValid], [version === 4 ? 13 : 1, true]);
      assert.deepEqual(drained(b.link), []);
    });

    test('a hop limit that runs out is told by the gateway', async () => {
      machine.govern(b, allowAll);
      const ends = between(a, b, version);
      a.link.send(udp(ends, 1004, 53, { ttl: 2 }));
      assert.equal((await received(b.link, (seen) => seen.protocol === protocols.udp)).ttl, 1);
      await machine.counts({ ttl_exceeded: 1 }, () => a.link.send(udp(ends, 1004, 53, { ttl: 1 })));
      const exceeded = await received(a.link, (seen) => seen.icmpType === (version === 4 ? 11 : 3));
      assert.deepEqual(
        [exceeded.icmpCode, exceeded.source, exceeded.checksumValid],
        [0, version === 4 ? '169.254.1.1' : 'fe80::1', true],
      );
      assert.deepEqual(drained(b.link), []);
    });

    test('a packet that does not fit is told the size that does', async () => {
      machine.setEndpoint(b, { mtu: 1400 });
      const ends = between(a, b, version);
      const options = { dontFragment: true, payload: Buffer.alloc(1450) };
      await machine.counts({ too_big: 1 }, () => a.link.send(udp(ends, 1004, 53, options)));
      const big = await received(a.link, (seen) => seen.icmpType === (version === 4 ? 3 : 2));
      assert.deepEqual([big.icmpCode, big.checksumValid], [version === 4 ? 4 : 0, true]);
      assert.equal(version === 4 ? big.payload.readUInt16BE(6) : big.payload.readUInt32BE(4), 1400);
      assert.deepEqual(drained(b.link), []);
      // Without "don't fragment" the host's stack cuts it.
      if (version === 4) {
        const result = machine.kernel.programs.testRun(
          'from_workload',
          udp(ends, 1004, 53, { payload: Buffer.alloc(1450) }),
          { ifindex: a.ifindex },
        );
        assert.equal(result.result, 0);
      }
      machine.setEndpoint(b, { mtu: 1500 });
    });

    test('an ICMP error passes only about a packet of an open connection, and only back to its sender', async () => {
      machine.govern(a, { egress: new Map([[b.identity, always('allow')]]) });
      machine.govern(b, { ingress: new Map([[a.identity, always('allow')]]) });
      const there = between(a, b, version);
      const back = between(b, a, version);
      const unreachable = version === 4 ? 3 : 1;
      const quote = (ends: Ends, from: number, to: number) =>
        ip(ends, protocols.udp, udpDatagram(ends, from, to, Buffer.from('x'))).subarray(14);
      const about = (packet: Uint8Array) => icmp(back, unreachable, 3, Buffer.concat([Buffer.alloc(4), packet]));
      a.link.send(udp(there, 1005, 53));
      await received(b.link, (seen) => seen.sourcePort === 1005);
      b.link.send(about(quote(there, 1005, 53)));
      const told = await received(a.link, (seen) => seen.icmpType === unreachable);
      assert.equal(told.source, back.source);
      await machine.counts({ icmp_unmatched: 5 }, () => {
        b.link.send(about(quote(there, 1006, 53)));
        // As if a had not sent it, but b or a third.
        b.link.send(about(quote(back, 53, 1005)));
        b.link.send(about(quote({ ...there, source: version === 4 ? '10.0.0.9' : 'fd00::9' }, 1005, 53)));
        b.link.send(about(Buffer.alloc(20)));
        a.link.send(icmp(there, unreachable, 3, Buffer.concat([Buffer.alloc(4), quote(there, 1005, 53)])));
      });
      assert.deepEqual(drained(a.link), []);
      assert.deepEqual(drained(b.link), []);
      // Nor about a connection that is no longer what it was when it was judged.
      machine.govern(b, {});
      await machine.counts({ icmp_unmatched: 1 }, () => b.link.send(about(quote(there, 1005, 53))));
    });
  });
}

test('answers are bounded per endpoint', async () => {
  machine.govern(a, rejectAll);
  const sent = 600;
  await machine.counts({ rejected: sent }, () => {
    for (let port = 0; port < sent; port++) a.link.send(tcp(between(a, b), 5000 + port, 80));
  });
  const answers = drained(a.link).length;
  assert.ok(answers >= 250 && answers < sent, `${answers} answers`);
  assert.ok(machine.counter('answer_rate') > 0n);
});
