/** Connections between workloads of one host: who may open one, what belongs to it, when it ends. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { echo, protocols, tcp, tcpFlag, udp } from './frames.ts';
import { allowAll, always, between, denyRule, drained, Machine, received, verdict, type Workload } from './machine.ts';

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
});

for (const version of [4, 6] as const) {
  /** Both families share one table of ports in these tests' eyes. */
  const first = version * 1000;
  describe(`IPv${version}`, () => {
    test('nothing passes without a rule', async () => {
      machine.govern(a, {});
      machine.govern(b, {});
      machine.events();
      await machine.counts({ denied: 1, connections_opened: 0 }, () =>
        a.link.send(tcp(between(a, b, version), 1000, 80)),
      );
      assert.deepEqual(drained(b.link), []);
      const [event] = machine.events();
      assert.equal(event?.kind, 'deny');
      assert.equal(event?.reason, 'denied');
      assert.equal(event?.egressRule, denyRule);
      assert.deepEqual([event?.sourceIdentity, event?.destinationIdentity], [a.identity, b.identity]);
    });

    test('an allowed TCP connection passes both ways, with both rules recorded, TTL decremented, MACs of the gateway', async () => {
      machine.govern(a, { egress: new Map([[b.identity, always('allow', 21)]]) });
      machine.govern(b, {
        ingress: new Map([
          [
            a.identity,
            {
              ranges: [{ protocol: 6, from: 80, to: 80, verdict: verdict('allow', 22) }],
              otherwise: verdict('deny', 23),
            },
          ],
        ]),
      });
      const there = between(a, b, version);
      const back = between(b, a, version);
      a.link.send(tcp(there, first, 80, { sequence: 5 }));
      const syn = await received(b.link, (seen) => seen.tcpFlags === tcpFlag.syn);
      assert.deepEqual(
        [syn.ttl, syn.sourceMac, syn.destinationMac, syn.checksumValid],
        [63, b.gatewayMac, b.mac, true],
      );
      b.link.send(tcp(back, 80, first, { flags: tcpFlag.syn | tcpFlag.ack, sequence: 50, acknowledgement: 6 }));
      await received(a.link, (seen) => seen.tcpFlags === (tcpFlag.syn | tcpFlag.ack));
      a.link.send(tcp(there, first, 80, { flags: tcpFlag.ack, sequence: 6, acknowledgement: 51 }));
      await received(b.link, (seen) => seen.tcpFlags === tcpFlag.ack);
      const entry = connectionOf(first);
      assert.deepEqual(
        [entry?.state, entry?.egressRule, entry?.ingressRule, entry?.packets, entry?.source],
        ['established', 21, 22, [2n, 1n], there.source],
      );
      // Another port of the same pair is another verdict.
      a.link.send(tcp(there, first + 1, 81));
      assert.deepEqual(drained(b.link), []);
    });

    test('a closed connection makes room at once, and tells its end once', async () => {
      const there = between(a, b, version);
      const back = between(b, a, version);
      machine.events();
      a.link.send(tcp(there, first, 80, { flags: tcpFlag.fin | tcpFlag.ack, sequence: 6, acknowledgement: 51 }));
      assert.equal(connectionOf(first)?.state, 'closing');
      b.link.send(tcp(back, 80, first, { flags: tcpFlag.fin | tcpFlag.ack, sequence: 51, acknowledgement: 7 }));
      a.link.send(tcp(there, first, 80, { flags: tcpFlag.ack, sequence: 7, acknowledgement: 52 }));
      assert.equal(connectionOf(first)?.state, 'closed');
      const closed = machine.events().filter((event) => event.kind === 'close');
      assert.equal(closed.length, 1);
      assert.deepEqual(closed[0]?.totalPackets, [4n, 2n]);
      drained(b.link);
      a.link.send(tcp(there, first, 80, { sequence: 900 }));
      await received(b.link, (seen) => seen.tcpFlags === tcpFlag.syn && seen.sequence === 900);
      assert.deepEqual([connectionOf(first)?.state, connectionOf(first)?.packets], ['syn-sent', [1n, 0n]]);
      b.link.send(tcp(back, 80, first, { flags: tcpFlag.rst | tcpFlag.ack, acknowledgement: 901 }));
      assert.equal(connectionOf(first)?.state, 'closed');
    });

    test('the other side may not open a connection backwards, not even on the same ports', async () => {
      a.link.send(tcp(between(a, b, version), first + 2, 80, { sequence: 5 }));
      await machine.counts({ denied: 1 }, () =>
        b.link.send(tcp(between(b, a, version), 80, first + 2, { sequence: 7 })),
      );
      assert.deepEqual(drained(a.link), []);
      assert.equal(connectionOf(first + 2)?.source, between(a, b, version).source);
    });

    test('mid-stream TCP without an entry is judged', async () => {
      await machine.counts({ denied: 1 }, () =>
        b.link.send(tcp(between(b, a, version), 80, first + 3, { flags: tcpFlag.ack })),
      );
      a.link.send(tcp(between(a, b, version), first + 4, 80, { flags: tcpFlag.ack }));
      await received(b.link, (seen) => seen.sourcePort === first + 4);
      assert.equal(connectionOf(first + 4)?.state, 'established');
    });

    test('UDP without an entry is never a reply', async () => {
      machine.govern(a, { egress: new Map([[b.identity, always('allow')]]) });
      machine.govern(b, { ingress: new Map([[a.identity, always('allow')]]) });
      await machine.counts({ denied: 1 }, () => b.link.send(udp(between(b, a, version), 53, 4000)));
      a.link.send(udp(between(a, b, version), 4000, 53));
      await received(b.link, (seen) => seen.protocol === protocols.udp);
      drained(a.link);
      b.link.send(udp(between(b, a, version), 53, 4000));
      await received(a.link, (seen) => seen.sourcePort === 53);
    });

    test('echo: replies belong to requests; a request is no reply', async () => {
      await machine.counts({ icmp_unmatched: 1 }, () => b.link.send(echo(between(b, a, version), 'reply', 7)));
      a.link.send(echo(between(a, b, version), 'request', 7));
      await received(b.link, (seen) => seen.icmpType === (version === 4 ? 8 : 128));
      drained(a.link);
      b.link.send(echo(between(b, a, version), 'reply', 7));
      await received(a.link, (seen) => seen.icmpType === (version === 4 ? 0 : 129));
      await machine.counts({ denied: 1 }, () => b.link.send(echo(between(b, a, version), 'request', 7)));
      // The one identifier that makes both keys the same.
      const same = version === 4 ? 0x0800 : 0x8000;
      a.link.send(echo(between(a, b, version), 'request', same));
      await machine.counts({ denied: 1 }, () => b.link.send(echo(between(b, a, version), 'request', same)));
    });
  });
}

test('flags that no stack sends are dropped', async () => {
  machine.govern(a, allowAll);
  machine.govern(b, allowAll);
  drained(b.link);
  const bad = [0, tcpFlag.syn | tcpFlag.fin, tcpFlag.syn | tcpFlag.rst, tcpFlag.fin, tcpFlag.fin | tcpFlag.psh];
  await machine.counts({ tcp_flags: bad.length }, () => {
    for (const flags of bad) a.link.send(tcp(between(a, b), 2100, 80, { flags }));
  });
  assert.deepEqual(drained(b.link), []);
});

function connectionOf(port: number) {
  let found: import('@bulkhead/kernel').Connection | undefined;
  machine.kernel.maps.forEachConnection((connection) => {
    if (connection.sourcePort === port || connection.destinationPort === port) found = { ...connection };
  });
  return found;
}
