/** Who a packet is from follows from the interface; whatever else it claims is dropped and counted. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { echo, ethernet, icmp, ip, protocols, tcp, tcpSegment, udp } from './frames.ts';
import { allowAll, between, drained, Machine, received, type Workload } from './machine.ts';

let machine: Machine;
let a: Workload;
let b: Workload;

before(async () => {
  machine = Machine.open();
  a = await machine.addWorkload('a');
  b = await machine.addWorkload('b');
  machine.govern(a, allowAll);
  machine.govern(b, allowAll);
});
after(async () => machine[Symbol.asyncDispose]());
beforeEach(() => {
  drained(a.link);
  drained(b.link);
  machine.events();
});

/** Sends frames of which none may arrive, and asserts the counter that each goes to, for the machine and for the sender. */
async function allDropped(reason: string, frames: readonly Uint8Array[]): Promise<void> {
  const before = machine.kernel.maps.endpointCounters(a.slot).get(reason) ?? 0n;
  await machine.counts({ [reason]: frames.length, connections_opened: 0 }, () => {
    for (const frame of frames) a.link.send(frame);
  });
  assert.deepEqual(drained(b.link), []);
  assert.equal((machine.kernel.maps.endpointCounters(a.slot).get(reason) ?? 0n) - before, BigInt(frames.length));
}

describe('a workload', () => {
  test('may not use another MAC or address', async () => {
    const ends = between(a, b);
    const six = between(a, b, 6);
    await allDropped('spoofed', [
      tcp({ ...ends, sourceMac: b.mac }, 1, 80),
      tcp({ ...ends, source: '10.0.0.77' }, 1, 80),
      tcp({ ...ends, source: b.ipv4 }, 1, 80),
      udp({ ...six, source: 'fd00::77' }, 1, 80),
      udp({ ...six, source: 'fe80::1' }, 1, 80),
    ]);
    const reasons = machine.events().map((event) => [event.kind, event.reason, event.slot]);
    assert.deepEqual(
      reasons,
      Array.from({ length: 5 }, () => ['drop', 'spoofed', a.slot]),
    );
  });

  test('may not send what is not IP, ARP or whole', async () => {
    const ends = between(a, b);
    await allDropped('unknown_protocol', [ethernet(a.gatewayMac, a.mac, 0x88cc, Buffer.alloc(50))]);
    await allDropped('vlan', [
      ethernet(a.gatewayMac, a.mac, 0x8100, Buffer.concat([Buffer.from([0, 5, 8, 0]), tcp(ends, 1, 80).subarray(14)])),
      ethernet(a.gatewayMac, a.mac, 0x88a8, Buffer.alloc(60)),
    ]);
    const short = tcp(ends, 1, 80);
    const badLength = Buffer.from(short);
    badLength.writeUInt16BE(1000, 16);
    const badHeader = Buffer.from(short);
    badHeader[14] = 0x44;
    const badVersion = Buffer.from(short);
    badVersion[14] = 0x55;
    const badOffset = tcpSegment(ends, 1, 80);
    badOffset[12] = 4 << 4;
    await allDropped('malformed', [
      badLength,
      badHeader,
      badVersion,
      short.subarray(0, 30),
      ip(ends, protocols.tcp, badOffset),
      ip(ends, protocols.tcp, Buffer.alloc(12)),
      ip(ends, protocols.udp, Buffer.alloc(4)),
      ip(ends, protocols.icmpv6, Buffer.alloc(16)),
      ip(between(a, b, 6), protocols.icmp, Buffer.alloc(16)),
      tcp({ ...between(a, b, 6), destination: '::ffff:a00:2' }, 1, 80),
    ]);
  });

  test('may not speak to many at once', async () => {
    await allDropped('multicast', [
      udp({ ...between(a, '224.0.0.251'), destinationMac: '01:00:5e:00:00:fb' }, 5353, 5353),
      udp({ ...between(a, '255.255.255.255'), destinationMac: 'ff:ff:ff:ff:ff:ff' }, 68, 67),
      udp({ ...between(a, 'ff02::fb'), destinationMac: '33:33:00:00:00:fb' }, 5353, 5353),
    ]);
  });

  test('may not play router', async () => {
    await allDropped('router_advertisement', [
      icmp(between(a, b, 6), 134, 0, Buffer.alloc(12), { ttl: 255 }),
      icmp(between(a, b), 9, 0, Buffer.alloc(8)),
    ]);
    await allDropped('router_solicitation', [
      icmp(between(a, b, 6), 133, 0, Buffer.alloc(8), { ttl: 255 }),
      icmp(between(a, b), 10, 0, Buffer.alloc(8)),
    ]);
    await allDropped('icmp_redirect', [
      icmp(between(a, b, 6), 137, 0, Buffer.alloc(40), { ttl: 255 }),
      icmp(between(a, b), 5, 1, Buffer.alloc(32)),
    ]);
  });

  test('may not hide behind extension headers', async () => {
    const ends = between(a, b, 6);
    const header = (type: number) => ({ type, bytes: Buffer.alloc(8) });
    const segment = tcpSegment(ends, 1, 80);
    await allDropped('extension_headers', [
      ip(ends, protocols.tcp, segment, { extensions: [header(43)] }),
      ip(ends, protocols.tcp, segment, { extensions: [header(51)] }),
      ip(ends, protocols.tcp, segment, { extensions: Array.from({ length: 7 }, () => header(60)) }),
    ]);
    // A few options are walked, and what follows is judged.
    a.link.send(ip(ends, protocols.tcp, tcpSegment(ends, 3000, 80), { extensions: [header(0), header(60)] }));
    await received(b.link, (seen) => seen.type === 0x86dd);
    assert.deepEqual(ports(), [[3000, 80]]);
  });

  test('may use IPv4 options', async () => {
    a.link.send(tcp(between(a, b), 3001, 80, { options: Buffer.from([1, 1, 1, 0]) }));
    const seen = await received(b.link, () => true);
    assert.deepEqual([seen.sourcePort, seen.destinationPort, seen.ttl, seen.checksumValid], [3001, 80, 63, true]);
  });
});

test('an interface without an endpoint passes nothing', async () => {
  const c = await machine.addWorkload('c');
  machine.govern(c, allowAll);
  c.link.send(echo(between(c, b), 'request', 1));
  await received(b.link, (seen) => seen.icmpType === 8);
  machine.kernel.maps.removeEndpoint(c.slot);
  await machine.counts({ unknown_interface: 1 }, () => c.link.send(echo(between(c, b), 'request', 2)));
  // Its address belongs to nobody who may listen.
  await machine.counts({ fenced: 1 }, () => a.link.send(echo(between(a, c), 'request', 3)));
  assert.deepEqual(drained(b.link), []);
  assert.deepEqual(drained(c.link), []);
});

function ports(): [number, number][] {
  return machine
    .events()
    .filter((event) => event.kind === 'new')
    .map((event) => [event.key.sourcePort, event.key.destinationPort]);
}
