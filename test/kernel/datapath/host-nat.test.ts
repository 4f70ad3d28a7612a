/** What has the host's address by NAT, and connections that are older than the host's rules. */
import assert from 'node:assert/strict';
import { type Socket } from 'node:net';
import { once } from 'node:events';
import { after, before, beforeEach, describe, test } from 'node:test';
import type { KernelPortTable } from '@bulkhead/kernel';
import { protocols, tcp, tcpFlag, udp } from './frames.ts';
import { HostSide, listening, only, outOfHost, toHost } from './host-side.ts';
import { hostAddress, inbound, stranger } from './lan.ts';
import { always, between, drained, type Machine, received, until, type Workload } from './machine.ts';
import { type FrameSocket, run } from './sockets.ts';

let side: HostSide;
let machine: Machine;
let lan: FrameSocket;
let a: Workload;
let port = 30_000;

before(async () => {
  side = await HostSide.open();
  ({ machine, lan, a } = side);
});
after(async () => side[Symbol.asyncDispose]());
beforeEach(() => {
  side.reset();
  port++;
});

describe('what has the host’s address by NAT', () => {
  /** A workload's connection to the stranger; the port that the host gave it. */
  async function leave(): Promise<number> {
    machine.govern(a, { egress: new Map([[2, always('allow')]]) });
    a.link.send(tcp(between(a, stranger), port, 443, { sequence: 4 }));
    const syn = await received(lan, (seen) => seen.tcpFlags === tcpFlag.syn);
    assert.equal(syn.source, hostAddress);
    return syn.sourcePort!;
  }

  test('is no affair of the host’s: out, and back to the workload', async () => {
    side.govern({});
    await machine.counts({ denied: 0, connections_opened: 1 }, async () => {
      const given = await leave();
      lan.send(tcp(inbound(), 443, given, { flags: tcpFlag.syn | tcpFlag.ack, acknowledgement: 5 }));
      await received(a.link, (seen) => seen.tcpFlags === (tcpFlag.syn | tcpFlag.ack));
    });
    assert.deepEqual(
      machine.events().map((event) => [event.kind, event.sourceSlot, event.destinationSlot]),
      [['new', a.slot, 0]],
    );
  });

  test('opens nothing of the host’s own, not even under the very same ports', async () => {
    side.govern({});
    machine.govern(a, { egress: new Map([[2, always('allow')]]) });
    // A workload that conspires with the stranger, from the port at which the host itself listens, and a NAT that remembers nothing: what
    // comes back is the host's.
    run('nft', 'flush', 'chain', 'inet', 'bha', 'postrouting');
    const chain =
      'chain post { type filter hook postrouting priority 0; ip saddr 10.0.0.0/24 ip saddr set 192.0.2.1; }';
    run('nft', `table inet bhastateless { ${chain}; }`);
    a.link.send(udp(between(a, stranger), listening, 443));
    const out = await received(lan, outOfHost);
    assert.equal(out.sourcePort, listening);
    await machine.counts({ connections_opened: 0 }, () => lan.send(udp(inbound(), 443, listening)));
    assert.deepEqual(side.heard, []);
    run('nft', 'delete', 'table', 'inet', 'bhastateless');
    const rule = ['oifname', 'up0', 'ip', 'saddr', '10.0.0.0/24', 'masquerade'];
    run('nft', 'add', 'rule', 'inet', 'bha', 'postrouting', ...rule);
  });

  test('a published port is the workload’s, whatever the host’s rules are', async () => {
    side.govern({});
    machine.govern(a, { ingress: new Map([[2, only(protocols.tcp, 80)]]) });
    await machine.counts({ denied: 1, connections_opened: 0 }, () => lan.send(tcp(inbound(), port, 8080)));
    machine.kernel.maps.setHostPorts([{ kind: 'published', protocol: 6, port: 8080, address: '0.0.0.0' }]);
    await machine.counts({ denied: 0, connections_opened: 1 }, async () => {
      lan.send(tcp(inbound(), ++port, 8080, { sequence: 4 }));
      await received(a.link, (seen) => seen.destinationPort === 80);
      a.link.send(tcp(between(a, stranger), 80, port, { flags: tcpFlag.syn | tcpFlag.ack, acknowledgement: 5 }));
      assert.equal((await received(lan, (seen) => seen.tcpFlags !== 0)).sourcePort, 8080);
      lan.send(tcp(inbound(), port, 8080, { flags: tcpFlag.ack, sequence: 5, acknowledgement: 1001 }));
      await received(a.link, (seen) => seen.tcpFlags === tcpFlag.ack);
    });
    // A port that is said to be published, and is not: the host's socket hears nothing.
    machine.kernel.maps.setHostPorts([{ kind: 'published', protocol: 17, port: listening, address: hostAddress }]);
    lan.send(udp(inbound(), port, listening));
    a.link.send(udp(between(a, hostAddress), port, listening));
    assert.deepEqual(side.heard, []);
  });

  test('a connection that is older than the host’s rules goes on through NAT', async () => {
    const given = await leave();
    side.govern({});
    await machine.counts({ host_unclaimed: 1 }, async () => {
      lan.send(tcp(inbound(), 443, given, { flags: tcpFlag.syn | tcpFlag.ack, acknowledgement: 5 }));
      await received(a.link, (seen) => seen.tcpFlags === (tcpFlag.syn | tcpFlag.ack));
    });
  });
});

describe('connections that were there before the rules', () => {
  /** An open connection of the stranger to the host's server, by hand. */
  async function established(): Promise<{ readonly socket: Socket; readonly sequence: number }> {
    lan.send(tcp(toHost(), port, listening, { sequence: 100 }));
    const answer = await received(lan, (seen) => seen.tcpFlags === (tcpFlag.syn | tcpFlag.ack));
    const before = side.accepted.length;
    lan.send(
      tcp(toHost(), port, listening, { flags: tcpFlag.ack, sequence: 101, acknowledgement: answer.sequence + 1 }),
    );
    await until(() => side.accepted.length > before, 'the side.accepted connection');
    return { socket: side.accepted.at(-1)!, sequence: answer.sequence + 1 };
  }

  test('are judged by whoever opened them, whichever end speaks first', async () => {
    for (const speaks of ['host', 'stranger'] as const) {
      machine.kernel.maps.removeEndpoint(side.hostSlot);
      port++;
      const { socket, sequence } = await established();
      side.govern({ ingress: new Map([[2, only(protocols.tcp, listening)]]) });
      if (speaks === 'host') {
        socket.write('hello');
        assert.equal((await received(lan, outOfHost)).destinationPort, port);
      } else {
        const payload = Buffer.from('hello');
        const flags = tcpFlag.ack | tcpFlag.psh;
        lan.send(tcp(toHost(), port, listening, { flags, sequence: 101, acknowledgement: sequence, payload }));
        await until(() => side.heard.length > 0, 'data');
      }
      const entry = side.connectionOf(port);
      assert.deepEqual([entry?.sourceSlot, entry?.destinationSlot, entry?.ingressRule], [0, side.hostSlot, 61]);
      socket.resetAndDestroy();
    }
  });

  test('end where the rules forbid them, and no segment that looks like one gets in', async () => {
    const { socket, sequence } = await established();
    side.govern({});
    await machine.counts({ denied: 2, host_unclaimed: 1 }, async () => {
      const payload = Buffer.from('hello');
      const flags = tcpFlag.ack | tcpFlag.psh;
      lan.send(tcp(toHost(), port, listening, { flags, sequence: 101, acknowledgement: sequence, payload }));
      socket.write('hello');
      await until(() => machine.kernel.maps.endpointCounters(side.hostSlot).get('denied') !== undefined, 'counters');
    });
    assert.deepEqual([side.heard, drained(lan).filter(outOfHost)], [[], []]);
    socket.resetAndDestroy();
  });

  test('are judged again when the rules change', async () => {
    side.govern({ ingress: new Map([[2, only(protocols.tcp, listening)]]) });
    const { socket, sequence } = await established();
    side.govern({});
    const flags = tcpFlag.ack | tcpFlag.psh;
    const payload = Buffer.from('hello');
    await machine.counts({ denied: 1, connections_closed: 1 }, () =>
      lan.send(tcp(toHost(), port, listening, { flags, sequence: 101, acknowledgement: sequence, payload })),
    );
    assert.deepEqual(side.heard, []);
    socket.resetAndDestroy();
  });

  test('are reset where the rule that forbids them says so: both ends are told', async () => {
    side.govern({ ingress: new Map([[2, only(protocols.tcp, listening)]]) });
    const { socket, sequence } = await established();
    const closed = once(socket, 'error');
    const reset: KernelPortTable = { ranges: [], otherwise: { action: 'deny', rule: 63, live: 'reset' } };
    side.govern({ ingress: new Map([[2, reset]]) });
    const flags = tcpFlag.ack | tcpFlag.psh;
    const payload = Buffer.from('hello');
    await machine.counts({ connections_reset: 1 }, async () => {
      lan.send(tcp(toHost(), port, listening, { flags, sequence: 101, acknowledgement: sequence, payload }));
      assert.equal((await received(lan, outOfHost)).tcpFlags & tcpFlag.rst, tcpFlag.rst);
    });
    socket.write('anybody there?');
    assert.equal(((await closed) as [NodeJS.ErrnoException])[0].code, 'ECONNRESET');
    assert.deepEqual(side.heard, []);
  });
});
