/** The host itself as an endpoint: what comes to it and leaves it by its uplink. */
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect } from 'node:net';
import { after, before, beforeEach, describe, test } from 'node:test';
import { echo, icmp, ip, protocols, tcp, tcpFlag, udp, udpDatagram } from './frames.ts';
import { HostSide, fragmentSix, hostSix, listening, only, outOfHost, strangerSix, toHost } from './host-side.ts';
import { inbound, stranger } from './lan.ts';
import { always, denyRule, drained, type Machine, received, until } from './machine.ts';
import type { FrameSocket } from './sockets.ts';

const guardRule = 77;
let side: HostSide;
let machine: Machine;
let lan: FrameSocket;
let port = 20_000;

before(async () => {
  side = await HostSide.open();
  ({ machine, lan } = side);
});
after(async () => side[Symbol.asyncDispose]());
beforeEach(() => {
  side.reset();
  port++;
});

test('a host that is no subject is judged nowhere', async () => {
  await machine.counts({ denied: 0, connections_opened: 0 }, async () => {
    lan.send(tcp(toHost(), port, 9));
    // Nobody listens there: the host's own stack answers.
    assert.equal((await received(lan, outOfHost)).tcpFlags, tcpFlag.rst | tcpFlag.ack);
  });
});

for (const version of [4, 6] as const) {
  describe(`IPv${version}`, () => {
    test('what its rules let in comes in, and is answered; the rest is denied, and told', async () => {
      side.govern({ ingress: new Map([[2, only(protocols.tcp, listening)]]) });
      await machine.counts({ denied: 1, connections_opened: 1 }, async () => {
        lan.send(tcp(toHost(version), port, 9));
        lan.send(tcp(toHost(version), port, listening, { sequence: 5 }));
        const answer = await received(lan, outOfHost);
        assert.deepEqual(
          [answer.tcpFlags, answer.sourcePort, answer.destinationPort],
          [tcpFlag.syn | tcpFlag.ack, listening, port],
        );
      });
      const [denied, opened] = machine.events();
      assert.deepEqual(
        [denied?.kind, denied?.slot, denied?.destinationSlot, denied?.destinationIdentity, denied?.ingressRule],
        ['deny', side.hostSlot, side.hostSlot, 1, denyRule],
      );
      assert.deepEqual(
        [opened?.kind, opened?.sourceSlot, opened?.destinationSlot, opened?.ingressRule, opened?.egressRule],
        ['new', 0, side.hostSlot, 61, 0],
      );
      assert.equal(side.connectionOf(port)?.packets[1], 1n);
    });

    test('what it sends is judged where it leaves, and answers come in without a rule', async () => {
      side.govern({ egress: new Map([[2, only(protocols.udp, 4000)]]) });
      const there = version === 4 ? stranger : strangerSix;
      const sender = createSocket({ type: version === 4 ? 'udp4' : 'udp6' });
      sender.on('error', () => undefined);
      sender.on('message', (message) => side.heard.push(message.toString()));
      sender.bind(port);
      await once(sender, 'listening');
      await machine
        .counts({ denied: 1, connections_opened: 1 }, async () => {
          sender.send('no', 4001, there, () => undefined);
          sender.send('yes', 4000, there);
          const sent = await received(lan, outOfHost);
          assert.deepEqual([sent.destinationPort, sent.payload.subarray(8).toString()], [4000, 'yes']);
          lan.send(udp(toHost(version), 4000, port, { payload: Buffer.from('answer') }));
          await until(() => side.heard.length > 0, 'the answer');
        })
        .finally(() => sender.close());
      // From elsewhere it is no answer.
      const elsewhere = version === 4 ? inbound('198.51.100.7') : inbound('fd98::7', hostSix);
      await machine.counts({ denied: 1 }, () => lan.send(udp(elsewhere, 4000, port)));
      assert.deepEqual(side.heard, ['answer']);
    });

    test('a rejection tells whoever asked: outside, and the host’s own sockets', async () => {
      side.govern({ ingress: new Map([[0, always('reject')]]), egress: new Map([[0, always('reject')]]) });
      lan.send(tcp(toHost(version), port, listening, { sequence: 5 }));
      const reset = await received(lan, outOfHost);
      assert.deepEqual(
        [reset.tcpFlags, reset.acknowledgement, reset.checksumValid, reset.destinationMac],
        [tcpFlag.rst | tcpFlag.ack, 6, true, '02:00:00:00:02:02'],
      );
      lan.send(udp(toHost(version), port, listening));
      assert.equal((await received(lan, outOfHost)).icmpType, version === 4 ? 3 : 1);
      const client = connect({ host: version === 4 ? stranger : strangerSix, port: 81 });
      const [error] = (await once(client, 'error')) as [NodeJS.ErrnoException];
      assert.equal(error.code, 'ECONNREFUSED');
      assert.deepEqual(drained(lan).filter(outOfHost), []);
    });

    test('the guard is above the rules, in both directions', async () => {
      side.govern({});
      const every = version === 4 ? '0.0.0.0' : '::';
      const far = version === 4 ? stranger : strangerSix;
      machine.kernel.maps.setHostPorts([
        { kind: 'guard', direction: 'ingress', protocol: 6, port: listening, address: every, rule: guardRule },
        { kind: 'guard', direction: 'egress', protocol: 6, port: 7443, address: far, rule: guardRule },
      ]);
      lan.send(tcp(toHost(version), port, listening));
      assert.equal((await received(lan, outOfHost)).tcpFlags, tcpFlag.syn | tcpFlag.ack);
      assert.equal(side.connectionOf(port)?.ingressRule, guardRule);
      const client = connect({ host: far, port: 7443 });
      client.on('error', () => undefined);
      const syn = await received(lan, (seen) => outOfHost(seen) && seen.tcpFlags === tcpFlag.syn);
      assert.deepEqual([syn.destination, syn.destinationPort], [far, 7443]);
      client.destroy();
      const [, opened] = machine.events();
      assert.deepEqual([opened?.kind, opened?.egressRule, opened?.sourceSlot], ['new', guardRule, side.hostSlot]);
      await machine.counts({ denied: 1 }, () => lan.send(udp(toHost(version), port, listening)));
    });

    test('its ICMP: asked and answered by rule; errors only about its own connections', async () => {
      const [protocol, request, reply] = version === 4 ? [1, 8, 0] : [58, 128, 129];
      side.govern({ ingress: new Map([[2, only(protocol, request * 256)]]) });
      lan.send(echo(toHost(version), 'request', port));
      assert.equal((await received(lan, outOfHost)).icmpType, reply);
      side.govern({});
      await machine.counts({ denied: 1 }, () => lan.send(echo(toHost(version), 'request', port + 1)));
      await machine.counts({ icmp_unmatched: 1 }, () => lan.send(echo(toHost(version), 'reply', port + 1)));
      const quoted = tcp(
        { ...toHost(version), source: toHost(version).destination, destination: toHost(version).source },
        9,
        9,
      );
      const error = icmp(
        toHost(version),
        version === 4 ? 3 : 1,
        1,
        Buffer.concat([Buffer.alloc(4), quoted.subarray(14)]),
      );
      await machine.counts({ icmp_unmatched: 1 }, () => lan.send(error));
      assert.deepEqual(drained(lan).filter(outOfHost), []);
    });

    test('fragments come in with their first, also out of order, and with a first that was denied not at all', async () => {
      side.govern({ ingress: new Map([[2, only(protocols.udp, listening)]]) });
      const send = (to: number, order: readonly number[], id: number): void => {
        const datagram = udpDatagram(toHost(version), port, to, Buffer.from(`to ${to} ${id} `.padEnd(3000, 'x')));
        const pieces = [0, 1400, 2800].map((offset) => {
          const options = { id, offset, more: offset < 2800 };
          const piece = datagram.subarray(offset, offset + 1400);
          return version === 4
            ? ip(toHost(version), protocols.udp, piece, options)
            : fragmentSix(toHost(version), protocols.udp, piece, options);
        });
        for (const index of order) lan.send(pieces[index]!);
      };
      send(listening + 1, [0, 1, 2], 70);
      send(listening, [0, 1, 2], 71);
      send(listening, [2, 0, 1], 72);
      await until(() => side.heard.length === 2, 'both datagrams');
      assert.deepEqual(
        side.heard.map((text) => text.split('x')[0]),
        [`to ${listening} 71 `, `to ${listening} 72 `],
      );
    });
  });
}
