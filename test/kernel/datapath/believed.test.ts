/** A workload's address is believed from its own interface, and otherwise only with the mark that the programs give. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { tcp, udp } from './frames.ts';
import { hostAddress, inbound, openWithLan, stranger } from './lan.ts';
import { allowAll, between, drained, type Machine, type Workload } from './machine.ts';
import { FrameSocket } from './sockets.ts';

let machine: Machine;
let a: Workload;
let b: Workload;
let lan: FrameSocket;
let uplink: number;
let port = 1000;

before(async () => {
  ({ machine, a, b, lan, uplink } = await openWithLan());
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

describe("a workload's address", () => {
  test('is not believed from outside, at the uplink or behind it', async () => {
    machine.govern(a, allowAll);
    machine.govern(b, allowAll);
    const forged = (n: number) => tcp(inbound(b.ipv4), n, 8080);
    await machine.counts({ spoofed: 1, uplink_spoofed: 0 }, () => lan.send(forged(port)));
    machine.kernel.links.attach(uplink, 'uplink');
    await machine.counts({ spoofed: 0, uplink_spoofed: 3 }, () => {
      lan.send(forged(port));
      lan.send(udp({ ...inbound(), source: b.ipv6, destination: a.ipv6 }, 1, 1));
      lan.send(udp(inbound(hostAddress, hostAddress), 1, 1));
    });
    await machine.counts({ connections_opened: 1 }, () => lan.send(tcp(inbound(), port, 8080)));
    machine.kernel.links.detach(uplink, 'uplink');
    assert.equal(drained(a.link).length, 1);
  });

  test('is believed from the host only with the mark of the programs', async () => {
    machine.govern(a, allowAll);
    machine.govern(b, allowAll);
    using beside = new FrameSocket(a.hostName);
    const frame = () =>
      udp({ sourceMac: a.gatewayMac, destinationMac: a.mac, source: b.ipv4, destination: a.ipv4 }, port, 53);
    await machine.counts({ spoofed: 1 }, () => beside.send(frame()));
    beside.mark(0x0200);
    await machine.counts({ spoofed: 1 }, () => beside.send(frame()));
    beside.mark(0x2000);
    await machine.counts({ spoofed: 0, connections_opened: 1 }, () => beside.send(frame()));
    // Also the second packet, which has an entry.
    beside.mark(0);
    await machine.counts({ spoofed: 1 }, () => beside.send(frame()));
    assert.equal(drained(a.link).length, 1);
  });

  test('a workload cannot set the mark', async () => {
    machine.govern(b, allowAll);
    for (const mark of [0x1000, 0x2000, 0x3000]) {
      b.link.mark(mark);
      await machine.counts({ spoofed: 1 }, () =>
        b.link.send(udp({ ...between(b, stranger), source: a.ipv4 }, port, 53)),
      );
    }
    b.link.mark(0);
    assert.deepEqual(drained(lan), []);
  });

  test('without its program an interface passes nothing', async () => {
    machine.govern(a, allowAll);
    machine.kernel.links.detach(a.ifindex, 'workload');
    a.link.send(udp(between(a, stranger), port, 53));
    lan.send(tcp(inbound(stranger, a.ipv4), port, 80));
    assert.deepEqual(drained(lan), []);
    assert.deepEqual(drained(a.link), []);
    machine.kernel.links.attach(a.ifindex, 'workload');
    a.link.send(udp(between(a, stranger), port, 53));
    assert.equal(drained(lan).length, 1);
  });
});
