/**
 * Frames that nobody would send: valid ones with bytes changed, cut, and inserted. Whatever an allowed workload makes of them, what gets
 * past its program carries its own MAC and address. `BULKHEAD_SEED` repeats a run.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  addressBytes,
  echo,
  ip,
  macBytes,
  neighbour,
  arp,
  protocols,
  tcp,
  tcpSegment,
  udp,
  udpDatagram,
} from './frames.ts';
import { allowAll, between, Machine, type Workload } from './machine.ts';

const seed = Number(process.env['BULKHEAD_SEED'] ?? 20_261_121);
const framesWanted = 20_000;
const shot = 2;
/** BPF_PROG_TEST_RUN refuses frames without a whole IP header. */
const testRunBytesMin = 54;
const types = { ipv4: 0x0800, arp: 0x0806, ipv6: 0x86dd } as const;

let machine: Machine;
let a: Workload;
let b: Workload;

before(async () => {
  machine = Machine.open();
  a = await machine.addWorkload('a', { connectionsMax: 100_000 });
  b = await machine.addWorkload('b');
  machine.govern(a, allowAll);
  machine.govern(b, allowAll);
});
after(async () => machine[Symbol.asyncDispose]());

/** A small generator of numbers below a bound (mulberry32). */
function seeded(start: number): (bound: number) => number {
  let state = start >>> 0;
  return (bound) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % bound;
  };
}

function examples(): Buffer[] {
  const four = between(a, b);
  const six = between(a, b, 6);
  const out = between(a, '198.51.100.1');
  const fragment = { type: 44, bytes: Buffer.from([0, 0, 0, 1, 0, 0, 0, 7]) };
  return [
    tcp(four, 1, 80),
    tcp(six, 1, 80, { payload: Buffer.alloc(30) }),
    udp(out, 1, 53),
    udp(six, 1, 53),
    echo(four, 'request', 1),
    echo(six, 'request', 1),
    tcp(four, 1, 80, { options: Buffer.from([1, 1, 1, 0]) }),
    ip(four, protocols.udp, udpDatagram(four, 1, 53, Buffer.alloc(64)), { id: 9, more: true }),
    ip(six, protocols.udp, udpDatagram(six, 1, 53, Buffer.alloc(64)), { extensions: [fragment] }),
    ip(six, protocols.tcp, tcpSegment(six, 1, 80), {
      extensions: [
        { type: 0, bytes: Buffer.alloc(8) },
        { type: 60, bytes: Buffer.alloc(16) },
      ],
    }),
    neighbour({ ...six, destination: 'ff02::1:ff00:2' }, 135, b.ipv6, a.mac),
    arp('ff:ff:ff:ff:ff:ff', a.mac, {
      operation: 1,
      senderMac: a.mac,
      sender: a.ipv4,
      targetMac: b.mac,
      target: b.ipv4,
    }),
  ];
}

function mutated(example: Buffer, random: (bound: number) => number): Buffer {
  let frame = Buffer.from(example);
  for (let change = 0; change <= random(4); change++) {
    const at = random(frame.length);
    const kind = random(5);
    // Mostly single bytes, near the headers; bits in them; and frames that are too short or too long for what they say.
    if (kind === 0) frame = Buffer.from(frame.subarray(0, Math.max(testRunBytesMin, at)));
    else if (kind === 1) frame = Buffer.concat([frame.subarray(0, at), Buffer.from([random(256)]), frame.subarray(at)]);
    else if (kind === 2) frame[at] = frame[at]! ^ (1 << random(8));
    else frame[at % Math.min(frame.length, 64)] = random(256);
  }
  return frame;
}

/** Whether the frame says of itself that it is from this workload, to a reader that knows nothing of the programs. */
function isOwn(frame: Buffer): boolean {
  if (!frame.subarray(6, 12).equals(macBytes(a.mac))) return false;
  const type = frame.readUInt16BE(12);
  if (type === types.ipv4) return frame.subarray(26, 30).equals(addressBytes(a.ipv4));
  if (type === types.ipv6) return frame.subarray(22, 38).equals(addressBytes(a.ipv6));
  return false;
}

test('what gets past the program of an interface is from its endpoint', () => {
  const random = seeded(seed);
  const all = examples();
  const results = new Map<number, number>();
  for (let count = 0; count < framesWanted; count++) {
    const frame = mutated(all[random(all.length)]!, random);
    const { result } = machine.kernel.programs.testRun('from_workload', frame, { ifindex: a.ifindex });
    results.set(result, (results.get(result) ?? 0) + 1);
    if (result === shot || isOwn(frame)) continue;
    // What is left are questions about neighbours, which are answered to the asker alone, and claims about its own addresses.
    const type = frame.readUInt16BE(12);
    const isNeighbour =
      type === types.arp ||
      (type === types.ipv6 && frame[20] === protocols.icmpv6 && frame[54]! >= 135 && frame[54]! <= 136);
    assert.ok(isNeighbour, `seed ${seed}, frame ${count}: ${frame.toString('hex')} gave ${result}`);
  }
  assert.ok((results.get(shot) ?? 0) > framesWanted / 10, 'mutations are refused');
  assert.ok((results.get(0) ?? 0) + (results.get(7) ?? 0) > framesWanted / 10, 'mutations pass');
});

test('no frame passes an interface of a workload that denies everything', () => {
  machine.govern(a, {});
  const random = seeded(seed + 1);
  const all = examples().slice(0, -2);
  for (let count = 0; count < framesWanted / 4; count++) {
    const frame = mutated(all[random(all.length)]!, random);
    const { result } = machine.kernel.programs.testRun('from_workload', frame, { ifindex: a.ifindex });
    const isNeighbour =
      frame.readUInt16BE(12) === types.arp || (frame.length > 54 && frame[54]! >= 135 && frame[54]! <= 136);
    assert.ok(result === shot || isNeighbour, `seed ${seed}, frame ${count}: ${frame.toString('hex')} gave ${result}`);
  }
});
