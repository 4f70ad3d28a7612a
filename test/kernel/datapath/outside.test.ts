/** Traffic with the host and with what lies beyond it, through the host's own routing, connection tracking and NAT. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { cidrPeerFirst } from '@bulkhead/policy';
import { icmp, ip, protocols, tcp, tcpFlag, tcpSegment, udp, udpDatagram } from './frames.ts';
import { hostAddress, inbound, openWithLan, stranger } from './lan.ts';
import { allowAll, always, between, drained, type Machine, received, type Workload } from './machine.ts';
import { FrameSocket } from './sockets.ts';

let machine: Machine;
let a: Workload;
let b: Workload;
let lan: FrameSocket;
let port = 1000;

before(async () => {
  ({ machine, a, b, lan } = await openWithLan());
});
after(async () => {
  lan[Symbol.dispose]();
  await machine[Symbol.asyncDispose]();
});
beforeEach(() => {
  for (const workload of [a, b]) {
    machine.govern(workload, {});
    drained(workload.link);
  }
  drained(lan);
  machine.events();
  port++;
});

describe('outwards', () => {
  test('nothing leaves without a rule', async () => {
    await machine.counts({ denied: 1 }, () => a.link.send(udp(between(a, stranger), port, 53)));
    assert.deepEqual(drained(lan), []);
  });

  test('what may leave goes through the NAT of the host, and its replies come back', async () => {
    machine.govern(a, { egress: new Map([[2, always('allow', 51)]]) });
    a.link.send(tcp(between(a, stranger), port, 443, { sequence: 4 }));
    const syn = await received(lan, (seen) => seen.tcpFlags === tcpFlag.syn);
    assert.deepEqual([syn.source, syn.destination, syn.ttl, syn.checksumValid], [hostAddress, stranger, 63, true]);
    lan.send(tcp(inbound(), 443, syn.sourcePort!, { flags: tcpFlag.syn | tcpFlag.ack, acknowledgement: 5 }));
    const answer = await received(a.link, (seen) => seen.tcpFlags !== 0);
    assert.deepEqual(
      [answer.source, answer.destination, answer.sourcePort, answer.destinationPort],
      [stranger, a.ipv4, 443, port],
    );
    const [event] = machine.events();
    assert.deepEqual(
      [event?.kind, event?.egressRule, event?.destinationIdentity, event?.destinationSlot],
      ['new', 51, 2, 0],
    );
  });

  test('the longest network that holds an address is its peer', async () => {
    machine.kernel.maps.setCidrs([
      { cidr: '198.51.0.0/16', peer: cidrPeerFirst },
      { cidr: '198.51.100.0/24', peer: cidrPeerFirst + 1 },
    ]);
    machine.govern(a, {
      egress: new Map([
        [2, always('allow')],
        [cidrPeerFirst, always('allow')],
        [cidrPeerFirst + 1, always('deny', 52)],
      ]),
    });
    a.link.send(udp(between(a, stranger), port, 53));
    a.link.send(udp(between(a, '198.51.7.7'), port, 53));
    a.link.send(udp(between(a, '203.0.113.5'), port, 53));
    assert.deepEqual(
      drained(lan).map((seen) => seen.destination),
      ['198.51.7.7', '203.0.113.5'],
    );
    assert.deepEqual(
      machine.events().map((event) => [event.kind, event.destinationIdentity]),
      [
        ['deny', cidrPeerFirst + 1],
        ['new', cidrPeerFirst],
        ['new', 2],
      ],
    );
    machine.kernel.maps.removeCidrs(['198.51.0.0/16', '198.51.100.0/24']);
  });

  test('what was remembered of a network is forgotten with it', async () => {
    machine.govern(a, {
      egress: new Map([
        [2, always('allow')],
        [cidrPeerFirst, always('deny')],
        [cidrPeerFirst + 1, always('allow')],
      ]),
    });
    const attempt = (count: number) =>
      machine.counts({ connections_opened: count, denied: 1 - count }, () =>
        a.link.send(udp(between(a, stranger), ++port, 53)),
      );
    await attempt(1);
    machine.kernel.maps.setCidrs([{ cidr: '198.51.100.0/24', peer: cidrPeerFirst }]);
    await attempt(0);
    await attempt(0);
    machine.kernel.maps.setCidrs([{ cidr: '198.51.100.0/28', peer: cidrPeerFirst + 1 }]);
    await attempt(1);
    machine.kernel.maps.removeCidrs(['198.51.100.0/28']);
    await attempt(0);
    machine.kernel.maps.removeCidrs(['198.51.100.0/24']);
    await attempt(1);
  });

  test('an error from a router on the way comes back to the sender, and to no other', async () => {
    machine.govern(a, { egress: new Map([[2, always('allow')]]) });
    a.link.send(tcp(between(a, stranger), port, 443));
    const left = await received(lan, (seen) => seen.tcpFlags === tcpFlag.syn);
    const router = inbound('203.0.113.1');
    lan.send(icmp(router, 11, 0, Buffer.concat([Buffer.alloc(4), left.frame.subarray(14)])));
    const told = await received(a.link, (seen) => seen.icmpType === 11);
    assert.equal(told.source, '203.0.113.1');
    // About something that nobody sent: aimed at the workload itself.
    const invented = ip(between(a, stranger), protocols.tcp, tcpSegment(between(a, stranger), 7, 7)).subarray(14);
    using beside = new FrameSocket(a.hostName);
    await machine.counts({ icmp_unmatched: 1 }, () =>
      beside.send(
        icmp(
          { sourceMac: a.gatewayMac, destinationMac: a.mac, source: '203.0.113.1', destination: a.ipv4 },
          11,
          0,
          Buffer.concat([Buffer.alloc(4), invented]),
        ),
      ),
    );
    assert.deepEqual(drained(a.link), []);
  });

  test('fragments leave too, of a first packet and of a later one', () => {
    machine.govern(a, { egress: new Map([[2, always('allow')]]) });
    const ends = between(a, stranger);
    const datagram = udpDatagram(ends, port, 53, Buffer.alloc(2000));
    for (const id of [port, port + 5000]) {
      a.link.send(ip(ends, protocols.udp, datagram.subarray(0, 1400), { id, offset: 0, more: true }));
      a.link.send(ip(ends, protocols.udp, datagram.subarray(1400), { id, offset: 1400 }));
    }
    assert.equal(drained(lan).length, 4);
  });

  test('the host itself is a peer of its own', async () => {
    machine.govern(a, { egress: new Map([[2, always('allow')]]) });
    await machine.counts({ denied: 1 }, () => a.link.send(udp(between(a, hostAddress), port, 53)));
    machine.govern(a, { egress: new Map([[1, always('allow')]]) });
    await machine.counts({ connections_opened: 1 }, () => a.link.send(udp(between(a, hostAddress), port, 53)));
  });
});

describe('inwards', () => {
  test('a published port is reached under policy, and answers through the same NAT', async () => {
    await machine.counts({ denied: 1 }, () => lan.send(tcp(inbound(), port, 8080)));
    assert.deepEqual(drained(a.link), []);
    machine.govern(a, { ingress: new Map([[2, always('allow', 61)]]) });
    lan.send(tcp(inbound(), port, 8080, { sequence: 9 }));
    const syn = await received(a.link, (seen) => seen.tcpFlags === tcpFlag.syn);
    assert.deepEqual([syn.source, syn.destinationPort, syn.destinationMac], [stranger, 80, a.mac]);
    a.link.send(tcp(between(a, stranger), 80, port, { flags: tcpFlag.syn | tcpFlag.ack, acknowledgement: 10 }));
    const answer = await received(lan, (seen) => seen.tcpFlags === (tcpFlag.syn | tcpFlag.ack));
    assert.deepEqual([answer.source, answer.sourcePort, answer.destination], [hostAddress, 8080, stranger]);
    const opened = machine.events().find((event) => event.kind === 'new');
    assert.deepEqual(
      [opened?.slot, opened?.sourceSlot, opened?.ingressRule, opened?.sourceIdentity],
      [a.slot, 0, 61, 2],
    );
  });

  test('a rejection reaches the stranger, as from the published address', async () => {
    machine.govern(a, { ingress: new Map([[2, always('reject')]]) });
    lan.send(tcp(inbound(), port, 8080, { sequence: 30 }));
    const reset = await received(lan, (seen) => (seen.tcpFlags & tcpFlag.rst) !== 0);
    assert.deepEqual(
      [reset.source, reset.sourcePort, reset.acknowledgement, reset.checksumValid],
      [hostAddress, 8080, 31, true],
    );
    assert.deepEqual(drained(a.link), []);
  });

  test('one workload reaches another by its published port under both their policies, there and back by the host', async () => {
    machine.govern(b, { egress: new Map([[1, always('allow')]]) });
    await machine.counts({ denied: 1 }, () => b.link.send(tcp(between(b, hostAddress), port, 8080)));
    port++;
    machine.govern(b, {
      egress: new Map([
        [1, always('allow')],
        [a.identity, always('allow')],
      ]),
    });
    machine.govern(a, { ingress: new Map([[b.identity, always('allow')]]) });
    b.link.send(tcp(between(b, hostAddress), port, 8080, { sequence: 2 }));
    const syn = await received(a.link, (seen) => seen.tcpFlags === tcpFlag.syn);
    assert.equal(syn.source, b.ipv4);
    a.link.send(tcp(between(a, b), 80, port, { flags: tcpFlag.syn | tcpFlag.ack, acknowledgement: 3 }));
    const answer = await received(b.link, (seen) => seen.tcpFlags === (tcpFlag.syn | tcpFlag.ack));
    assert.deepEqual([answer.source, answer.sourcePort], [hostAddress, 8080]);
  });

  test('the host reaches a workload under policy', async () => {
    const result = () =>
      machine.kernel.programs.testRun(
        'to_workload',
        udp({ sourceMac: a.gatewayMac, destinationMac: a.mac, source: hostAddress, destination: a.ipv4 }, port, 53),
        {
          ifindex: a.ifindex,
        },
      ).result;
    machine.govern(a, { ingress: new Map([[2, always('allow')]]) });
    assert.equal(result(), 2);
    machine.govern(a, { ingress: new Map([[1, always('allow')]]) });
    assert.equal(result(), 0);
  });

  test('packets for another address do not enter', async () => {
    machine.govern(a, allowAll);
    using beside = new FrameSocket(a.hostName);
    await machine.counts({ misdirected: 1, multicast: 1 }, () => {
      beside.send(
        udp({ sourceMac: a.gatewayMac, destinationMac: a.mac, source: stranger, destination: '10.0.0.99' }, port, 53),
      );
      beside.send(
        udp(
          { sourceMac: a.gatewayMac, destinationMac: '01:00:5e:00:00:01', source: stranger, destination: '224.0.0.1' },
          port,
          53,
        ),
      );
    });
    assert.deepEqual(drained(a.link), []);
  });
});
