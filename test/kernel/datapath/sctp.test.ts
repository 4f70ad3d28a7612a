/**
 * SCTP by hand: the datapath needs nothing of the kernel's own, which may lack it. Associations by their chunks, what is refused, pieces,
 * and what comes through the host's NAT.
 */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { chunk, ip, protocols, sctp, sctpMessage, type Seen } from './frames.ts';
import { hostAddress, inbound, openWithLan, stranger } from './lan.ts';
import { allowAll, always, between, drained, type Machine, received, verdict, type Workload } from './machine.ts';
import type { FrameSocket } from './sockets.ts';

let machine: Machine;
let a: Workload;
let b: Workload;
let lan: FrameSocket;
let port = 2000;

before(async () => {
  ({ machine, a, b, lan } = await openWithLan());
});
after(async () => {
  lan[Symbol.dispose]();
  await machine[Symbol.asyncDispose]();
});
beforeEach(() => {
  for (const workload of [a, b]) machine.govern(workload, allowAll);
  forgetAll();
  for (const link of [a.link, b.link, lan]) drained(link);
  machine.events();
  port++;
});

function states(): (readonly [string, number, number])[] {
  const found: (readonly [string, number, number])[] = [];
  machine.kernel.maps.forEachConnection(({ state, egressRule, ingressRule }) =>
    found.push([state, egressRule, ingressRule]),
  );
  return found;
}
function forgetAll(): void {
  const keys: Parameters<typeof machine.kernel.maps.removeConnections>[0][number][] = [];
  machine.kernel.maps.forEachConnection((connection) => keys.push({ ...connection }));
  machine.kernel.maps.removeConnections(keys);
}
const chunks = (seen: readonly Seen[]): number[] => seen.map((each) => each.chunk);

for (const version of [4, 6] as const) {
  describe(`IPv${version}`, () => {
    const there = (type: number, rest = {}) => a.link.send(sctp(between(a, b, version), port, 36412, type, rest));
    const back = (type: number, rest = {}) => b.link.send(sctp(between(b, a, version), 36412, port, type, rest));

    test('an association of an allowed port goes both ways, is one flow, and ends', () => {
      const only = {
        ranges: [{ protocol: 132, from: 36412, to: 36412, verdict: verdict('allow', 41) }],
        otherwise: verdict('deny'),
      };
      machine.govern(a, { egress: new Map([[b.identity, only]]) });
      machine.govern(b, { ingress: new Map([[a.identity, only]]) });
      there(chunk.init);
      back(chunk.initAck);
      there(chunk.cookieEcho);
      assert.deepEqual(states(), [['syn-sent', 41, 41]]);
      back(chunk.cookieAck);
      there(chunk.data);
      back(chunk.sack);
      assert.deepEqual(states(), [['established', 41, 41]]);
      there(chunk.shutdown);
      assert.deepEqual(states(), [['closing', 41, 41]]);
      back(chunk.shutdownAck);
      there(chunk.shutdownComplete);
      assert.deepEqual(states(), [['closed', 41, 41]]);
      assert.deepEqual(chunks(drained(b.link)), [
        chunk.init,
        chunk.cookieEcho,
        chunk.data,
        chunk.shutdown,
        chunk.shutdownComplete,
      ]);
      assert.deepEqual(chunks(drained(a.link)), [chunk.initAck, chunk.cookieAck, chunk.sack, chunk.shutdownAck]);
      const told = machine
        .events()
        .map(({ kind, key, totalPackets }) => [kind, key.protocol, key.destinationPort, ...totalPackets]);
      assert.deepEqual(told, [
        ['new', 132, 36412, 0n, 0n],
        ['close', 132, 36412, 5n, 4n],
      ]);
    });

    test('INIT is judged anew on the same ports, its repetition is not, and the other end may not begin', async () => {
      machine.govern(b, { ingress: allowAll.ingress! });
      await machine.counts({ connections_opened: 1 }, () => {
        there(chunk.init);
        there(chunk.init);
      });
      await machine.counts({ connections_opened: 1 }, () =>
        there(chunk.init, { body: Buffer.from([9, 9, 9, 9, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 9]) }),
      );
      drained(b.link);
      await machine.counts({ denied: 1 }, () => back(chunk.init));
      assert.deepEqual(drained(a.link), []);
    });

    test('an abort ends it, and what is not allowed is never there', async () => {
      there(chunk.init);
      back(chunk.abort);
      assert.deepEqual(states(), [['closed', 11, 12]]);
      machine.govern(b, {});
      await machine.counts({ denied: 2 }, () => {
        port++;
        there(chunk.init);
        there(chunk.data);
      });
      assert.deepEqual(chunks(drained(b.link)), [chunk.init]);
    });

    test('reject answers with an ABORT that the sender believes', async () => {
      machine.govern(b, { ingress: new Map([[0, always('reject', 32)]]) });
      const ends = between(a, b, version);
      there(chunk.init);
      const fresh = await received(a.link, (seen) => seen.protocol === protocols.sctp);
      assert.deepEqual(
        [fresh.chunk, fresh.chunkFlags, fresh.tag, fresh.source, fresh.sourcePort, fresh.destinationPort],
        [chunk.abort, 0, 0x1234, ends.destination, 36412, port],
      );
      assert.ok(fresh.checksumValid);
      // In the midst of an association the tag comes back with the T bit.
      there(chunk.data, { tag: 0xabcdef01 });
      const late = await received(a.link, (seen) => seen.protocol === protocols.sctp);
      assert.deepEqual([late.chunk, late.chunkFlags, late.tag, late.checksumValid], [chunk.abort, 1, 0xabcdef01, true]);
      await machine.counts({ reset_sent: 0, rejected: 1 }, () => there(chunk.abort));
      assert.deepEqual(drained(b.link), []);
    });

    test('a packet that ends before its first chunk is dropped', async () => {
      const short = sctpMessage(port, 36412, chunk.init).subarray(0, 12);
      await machine.counts({ malformed: 1 }, () => a.link.send(ip(between(a, b, version), protocols.sctp, short)));
    });

    test('all pieces of an allowed packet pass', () => {
      there(chunk.init);
      drained(b.link);
      const whole = sctpMessage(port, 36412, chunk.data, { body: Buffer.alloc(2000, 'abcdefgh') });
      for (const [from, to] of [
        [0, 1400],
        [1400, whole.length],
      ] as const) {
        const more = to < whole.length;
        const ends = between(a, b, version);
        if (version === 4)
          a.link.send(ip(ends, protocols.sctp, whole.subarray(from, to), { id: port, offset: from, more }));
        else {
          const header = Buffer.alloc(8);
          header.writeUInt16BE(from | (more ? 1 : 0), 2);
          header.writeUInt32BE(port, 4);
          a.link.send(
            ip(ends, protocols.sctp, whole.subarray(from, to), { extensions: [{ type: 44, bytes: header }] }),
          );
        }
      }
      assert.equal(drained(b.link).length, 2);
    });
  });
}

describe('through the host', () => {
  test('a published port is the ingress of its workload, and the replies go back under its name', async () => {
    machine.govern(a, { ingress: new Map([[2, always('allow', 61)]]) });
    lan.send(sctp(inbound(), port, 8080, chunk.init));
    const init = await received(a.link, (seen) => seen.protocol === protocols.sctp);
    assert.deepEqual([init.source, init.destinationPort, init.checksumValid], [stranger, 80, true]);
    a.link.send(sctp(between(a, stranger), 80, port, chunk.initAck, { tag: 0x1234 }));
    const answer = await received(lan, (seen) => seen.protocol === protocols.sctp);
    assert.deepEqual(
      [answer.source, answer.sourcePort, answer.chunk, answer.checksumValid],
      [hostAddress, 8080, chunk.initAck, true],
    );
    machine.govern(a, { ingress: new Map([[2, always('reject', 62)]]) });
    lan.send(sctp(inbound(), port + 100, 8080, chunk.init));
    const abort = await received(lan, (seen) => seen.protocol === protocols.sctp);
    assert.deepEqual(
      [abort.source, abort.sourcePort, abort.chunk, abort.checksumValid],
      [hostAddress, 8080, chunk.abort, true],
    );
  });

  test('what may leave goes through the NAT, and its replies come back', async () => {
    machine.govern(a, { egress: new Map([[2, always('allow', 63)]]) });
    a.link.send(sctp(between(a, stranger), port, 9899, chunk.init));
    const init = await received(lan, (seen) => seen.protocol === protocols.sctp);
    assert.deepEqual([init.source, init.chunk, init.checksumValid], [hostAddress, chunk.init, true]);
    lan.send(sctp(inbound(), 9899, init.sourcePort!, chunk.initAck, { tag: 0x1234 }));
    const answer = await received(a.link, (seen) => seen.protocol === protocols.sctp);
    assert.deepEqual([answer.source, answer.destinationPort, answer.checksumValid], [stranger, port, true]);
  });
});
