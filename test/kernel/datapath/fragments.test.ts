/** Fragments inherit the verdict of their first one; whatever could be read in two ways is dropped. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { ip, protocols, tcpSegment, udpDatagram, type Ends } from './frames.ts';
import { always, between, drained, Machine, verdict, type Workload } from './machine.ts';

let machine: Machine;
let a: Workload;
let b: Workload;
let nextId = 1;

before(async () => {
  machine = Machine.open();
  a = await machine.addWorkload('a');
  b = await machine.addWorkload('b');
  const dnsOnly = {
    ranges: [{ protocol: 17, from: 53, to: 53, verdict: verdict('allow') }],
    otherwise: verdict('deny'),
  };
  machine.govern(a, { egress: new Map([[b.identity, dnsOnly]]) });
  machine.govern(b, { ingress: new Map([[a.identity, always('allow')]]) });
});
after(async () => machine[Symbol.asyncDispose]());
beforeEach(() => {
  drained(a.link);
  drained(b.link);
});

function fragment(ends: Ends, protocol: number, whole: Uint8Array, id: number, from: number, to: number): Buffer {
  const more = to < whole.length;
  const part = whole.subarray(from, to);
  if (!ends.source.includes(':')) return ip(ends, protocol, part, { id, offset: from, more });
  const header = Buffer.alloc(8);
  header.writeUInt16BE(from | (more ? 1 : 0), 2);
  header.writeUInt32BE(id, 4);
  return ip(ends, protocol, part, { extensions: [{ type: 44, bytes: header }] });
}

for (const version of [4, 6] as const) {
  describe(`IPv${version}`, () => {
    const datagram = (port: number) => udpDatagram(between(a, b, version), 4000, port, Buffer.alloc(3000, 'abcdefgh'));
    const send = (whole: Uint8Array, id: number, ...ranges: readonly (readonly [number, number])[]) => {
      for (const [from, to] of ranges)
        a.link.send(fragment(between(a, b, version), protocols.udp, whole, id, from, Math.min(to, whole.length)));
    };

    test('all pieces of an allowed datagram pass, and count on one connection', () => {
      send(datagram(53), nextId++, [0, 1400], [1400, 2800], [2800, 9999]);
      assert.equal(drained(b.link).length, 3);
      const packets: bigint[] = [];
      machine.kernel.maps.forEachConnection((connection) => {
        if (connection.source === between(a, b, version).source) packets.push(connection.packets[0]);
      });
      assert.deepEqual(packets, [3n]);
      // The id may come again once its datagram is complete.
      send(datagram(53), nextId - 1, [0, 1400], [1400, 2800], [2800, 9999]);
      assert.equal(drained(b.link).length, 3);
    });

    test('no piece of a denied datagram passes', async () => {
      await machine.counts({ denied: 1, fragment_unknown: 1 }, () =>
        send(datagram(54), nextId++, [0, 1400], [1400, 2800]),
      );
      assert.deepEqual(drained(b.link), []);
    });

    test('pieces that overlap, repeat or leave gaps are dropped', async () => {
      await machine.counts({ fragment_overlap: 5 }, () => {
        const id = nextId++;
        send(
          datagram(53),
          id,
          [0, 1400],
          [1392, 2800],
          [0, 1400],
          [1408, 2800],
          [8, 1400],
          [1400, 2800],
          [1400, 2800],
          [2800, 9999],
        );
      });
      assert.equal(drained(b.link).length, 3);
    });

    test('a piece without its first is dropped, and so is one of another sender or id', async () => {
      const id = nextId++;
      await machine.counts({ fragment_unknown: 3 }, () => {
        send(datagram(53), id, [1400, 2800], [0, 1400]);
        send(datagram(53), nextId++, [1400, 2800]);
        b.link.send(fragment(between(b, a, version), protocols.udp, datagram(53), id, 1400, 2800));
      });
      assert.equal(drained(b.link).length, 1);
    });

    test('a first piece that does not hold the whole transport header is dropped', async () => {
      const segment = tcpSegment(between(a, b, version), 4000, 53, { payload: Buffer.alloc(100) });
      await machine.counts({ malformed: 1 }, () =>
        a.link.send(fragment(between(a, b, version), protocols.tcp, segment, nextId++, 0, 8)),
      );
    });
  });
}
