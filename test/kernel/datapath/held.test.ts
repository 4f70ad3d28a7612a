/** Endpoints that nobody knows yet, and questions about traffic with outside. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import type { PuntDevice } from '@bulkhead/kernel';
import { Asking } from './asking.ts';
import { tcp, tcpFlag, udp } from './frames.ts';
import { allowAll, always, between, drained, type Machine, received, until, type Workload } from './machine.ts';
import { FrameSocket } from './sockets.ts';

let asking: Asking;
let machine: Machine;
let a: Workload;
let b: Workload;
let device: PuntDevice;
let port = 1000;

before(async () => {
  asking = await Asking.open();
  ({ machine, a, b, device } = asking);
});
after(async () => asking[Symbol.asyncDispose]());
beforeEach(() => {
  asking.reset();
  port++;
});

describe('a held endpoint', () => {
  test('keeps first packets back, to it and from it, until it is known', async () => {
    machine.setEndpoint(b, { state: 'held' });
    await machine.counts({ held: 2, asked: 0 }, async () => {
      a.link.send(tcp(between(a, b), port, 80));
      b.link.send(tcp(between(b, a), port, 80));
      await until(() => asking.held.length === 2, 'two held packets');
    });
    assert.deepEqual(
      asking.held.map(({ punt }) => [punt.reason, punt.sourceIdentity, punt.destinationIdentity]),
      [
        ['held', a.identity, 3],
        ['held', 3, a.identity],
      ],
    );
    machine.setEndpoint(b, { state: 'governed' });
    machine.govern(b, allowAll);
    for (const { punt, frame } of asking.held) assert.equal(device.judge(punt, frame), 'sent');
    assert.deepEqual([drained(a.link).length, drained(b.link).length], [1, 1]);
    assert.equal(asking.connectionOf(port)?.decided, false);
  });

  test('is asked about, or refused, when it becomes known', async () => {
    machine.setEndpoint(b, { state: 'held' });
    a.link.send(tcp(between(a, b), port, 80));
    const first = await asking.question();
    machine.setEndpoint(b, { state: 'governed' });
    device.judge(first.punt, first.frame);
    const asked = await asking.question();
    assert.deepEqual([asked.punt.reason, asked.punt.ingressRule], ['ask', 41]);
    assert.notEqual(asked.punt.id, first.punt.id);
    assert.equal(device.admit(asked.punt, asked.frame, { revision: 1 }), 'sent');
    assert.equal(drained(b.link).length, 1);
    port++;
    machine.setEndpoint(b, { state: 'held' });
    a.link.send(tcp(between(a, b), port, 80));
    const second = await asking.question();
    machine.setEndpoint(b, { state: 'governed' });
    machine.govern(b, {});
    await machine.counts({ denied: 1 }, () => device.judge(second.punt, second.frame));
    assert.deepEqual(drained(b.link), []);
  });

  test('is not let through by admitting what it was held for', async () => {
    machine.setEndpoint(b, { state: 'held' });
    a.link.send(tcp(between(a, b), port, 80));
    const { punt, frame } = await asking.question();
    device.admit(punt, frame, { revision: 1 });
    // It is held anew.
    const again = await asking.question();
    assert.equal(again.punt.reason, 'held');
    device.refuse(again.punt, again.frame, false);
    assert.deepEqual(drained(b.link), []);
    assert.equal(asking.connectionOf(port), undefined);
  });
});

describe('questions with outside', () => {
  test('a workload asks to leave: admitted, its packet goes to the host as if just sent', async () => {
    machine.govern(a, { egress: new Map([[2, always('ask', 45)]]) });
    a.link.send(udp(between(a, '198.51.100.1'), port, 53));
    const { punt, frame } = await asking.question();
    assert.deepEqual([punt.egressRule, punt.destinationSlot, punt.destinationIdentity], [45, 0, 2]);
    assert.equal(device.admit(punt, frame, { revision: 1 }), 'sent');
    // Counted by from_workload, which it passed once more.
    await until(() => asking.connectionOf(port)?.packets[0] === 1n, 'the packet at the host');
  });

  test('outside asks to come in', async () => {
    using uplink = new FrameSocket(b.hostName);
    uplink.send(
      tcp({ sourceMac: b.gatewayMac, destinationMac: b.mac, source: '198.51.100.1', destination: b.ipv4 }, port, 80, {
        sequence: 3,
      }),
    );
    const { punt, frame } = await asking.question();
    assert.deepEqual(
      [punt.sourceSlot, punt.sourceIdentity, punt.destinationSlot, punt.ingressRule],
      [0, 2, b.slot, 41],
    );
    assert.equal(device.admit(punt, frame, { revision: 1 }), 'sent');
    const syn = await received(b.link, (seen) => seen.tcpFlags === tcpFlag.syn);
    assert.equal(syn.source, '198.51.100.1');
    assert.equal(asking.connectionOf(port)?.decided, true);
  });
});
