/** ARP and neighbour discovery: the programs answer, and believe nobody about others. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { arp, neighbour, type Ends } from './frames.ts';
import { drained, Machine, received, type Workload } from './machine.ts';

const broadcast = 'ff:ff:ff:ff:ff:ff';
const nobody = '00:00:00:00:00:00';

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

test('every address is at the gateway (ARP), asked of nobody else', async () => {
  for (const target of [b.ipv4, '10.0.0.254', '8.8.8.8']) {
    a.link.send(arp(broadcast, a.mac, { operation: 1, senderMac: a.mac, sender: a.ipv4, targetMac: nobody, target }));
    const answer = await received(a.link, (seen) => seen.type === 0x0806);
    assert.deepEqual(
      [
        answer.sourceMac,
        answer.destinationMac,
        answer.source,
        answer.destination,
        answer.frame.subarray(20, 22).toString('hex'),
      ],
      [a.gatewayMac, a.mac, target, a.ipv4, '0002'],
    );
    assert.equal(answer.frame.subarray(22, 28).toString('hex'), a.gatewayMac.replaceAll(':', ''));
  }
  assert.deepEqual(drained(b.link), []);
});

test('false claims are dropped (ARP)', async () => {
  const claim = { operation: 1, senderMac: a.mac, sender: a.ipv4, targetMac: nobody, target: b.ipv4 } as const;
  await machine.counts({ neighbour_spoofed: 4, neighbour_answered: 0 }, () => {
    a.link.send(arp(broadcast, a.mac, { ...claim, senderMac: b.mac }));
    a.link.send(arp(broadcast, a.mac, { ...claim, sender: b.ipv4 }));
    a.link.send(arp(broadcast, a.mac, { ...claim, operation: 2, sender: '10.0.0.254', target: b.ipv4 }));
    a.link.send(arp(broadcast, a.mac, { ...claim, operation: 2, senderMac: b.mac }));
  });
  await machine.counts({ neighbour_swallowed: 3, neighbour_answered: 0 }, () => {
    // Gratuitous, and the two forms of asking whether an address is taken.
    a.link.send(arp(broadcast, a.mac, { ...claim, target: a.ipv4 }));
    a.link.send(arp(broadcast, a.mac, { ...claim, operation: 2, target: a.ipv4 }));
    a.link.send(arp(broadcast, a.mac, { ...claim, sender: '0.0.0.0', target: a.ipv4 }));
  });
  assert.deepEqual(drained(a.link), []);
  assert.deepEqual(drained(b.link), []);
});

function solicit(source: string, target: string): Ends {
  return {
    sourceMac: a.mac,
    destinationMac: '33:33:ff:00:00:02',
    source,
    destination: `ff02::1:ff00:${target.at(-1)}`,
  };
}

test('every address is at the gateway (neighbour discovery)', async () => {
  for (const source of [a.ipv6, 'fe80::1234']) {
    for (const option of [a.mac, null]) {
      a.link.send(neighbour(solicit(source, b.ipv6), 135, b.ipv6, option));
      const answer = await received(a.link, (seen) => seen.icmpType === 136);
      assert.deepEqual(
        [
          answer.sourceMac,
          answer.destinationMac,
          answer.source,
          answer.destination,
          answer.ttl,
          answer.checksumValid,
          answer.payload.length,
        ],
        [a.gatewayMac, a.mac, b.ipv6, source, 255, true, 32],
      );
      assert.equal(answer.payload.subarray(26).toString('hex'), a.gatewayMac.replaceAll(':', ''));
      assert.equal(answer.payload.readUInt32BE(4), 0x60000000);
    }
  }
  assert.deepEqual(drained(b.link), []);
});

test('false claims are dropped (neighbour discovery)', async () => {
  await machine.counts({ neighbour_spoofed: 4, neighbour_answered: 0 }, () => {
    a.link.send(neighbour(solicit(b.ipv6, b.ipv6), 135, 'fd00::9', a.mac));
    a.link.send(neighbour(solicit(a.ipv6, b.ipv6), 135, b.ipv6, b.mac));
    a.link.send(neighbour(solicit(a.ipv6, b.ipv6), 136, b.ipv6, a.mac));
    a.link.send(neighbour(solicit(a.ipv6, b.ipv6), 136, 'fe80::1', a.mac));
  });
  // Where a hop limit below 255 says that a router was in between, or duplicates are looked for.
  await machine.counts({ malformed: 1, neighbour_swallowed: 2 }, () => {
    a.link.send(neighbour(solicit(a.ipv6, b.ipv6), 135, b.ipv6, a.mac, 254));
    a.link.send(neighbour(solicit('::', a.ipv6), 135, a.ipv6, null));
    a.link.send(neighbour(solicit('::', a.ipv6), 135, 'fe80::ff:fe00:1', null));
  });
  assert.deepEqual(drained(a.link), []);
});

test('the host hears a workload about its own addresses', () => {
  const run = (frame: Uint8Array) =>
    machine.kernel.programs.testRun('from_workload', frame, { ifindex: a.ifindex }).result;
  const pass = 0;
  const own = { ...solicit(a.ipv6, a.ipv6), destination: 'fe80::1', destinationMac: a.gatewayMac };
  assert.equal(
    run(
      arp(a.gatewayMac, a.mac, {
        operation: 2,
        senderMac: a.mac,
        sender: a.ipv4,
        targetMac: a.gatewayMac,
        target: '169.254.1.1',
      }),
    ),
    pass,
  );
  assert.equal(run(neighbour(own, 136, a.ipv6, a.mac)), pass);
  assert.equal(run(neighbour(own, 136, 'fe80::ff:fe00:1', a.mac)), pass);
});

test('the gateway may ask a workload for its MAC, and nobody else is heard', () => {
  const run = (frame: Uint8Array) =>
    machine.kernel.programs.testRun('to_workload', frame, { ifindex: a.ifindex }).result;
  const request = (senderMac: string, target: string, operation: 1 | 2 = 1) =>
    run(arp(broadcast, senderMac, { operation, senderMac, sender: '169.254.1.1', targetMac: nobody, target }));
  assert.deepEqual(
    [
      request(a.gatewayMac, a.ipv4),
      request(a.gatewayMac, b.ipv4),
      request(b.mac, a.ipv4),
      request(a.gatewayMac, a.ipv4, 2),
    ],
    [0, 2, 2, 2],
  );
  const solicitation = (sourceMac: string, target: string, type: 135 | 136 = 135) =>
    run(
      neighbour({ sourceMac, destinationMac: a.mac, source: 'fe80::1', destination: a.ipv6 }, type, target, sourceMac),
    );
  assert.deepEqual(
    [
      solicitation(a.gatewayMac, a.ipv6),
      solicitation(a.gatewayMac, 'fe80::ff:fe00:1'),
      solicitation(a.gatewayMac, b.ipv6),
      solicitation(b.mac, a.ipv6),
      solicitation(a.gatewayMac, a.ipv6, 136),
    ],
    [0, 0, 2, 2, 2],
  );
});
