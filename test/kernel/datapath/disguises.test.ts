/** Packets that would be taken for something else than what they are: another's, the link's own, a reply. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { echo, ip, neighbour, protocols, tcpFlag, tcpSegment, udp, type Ends } from './frames.ts';
import { allowAll, always, between, drained, Machine, verdict, type Workload } from './machine.ts';

const [pass, shot, redirect] = [0, 2, 7];
let machine: Machine;
let a: Workload;
let b: Workload;
let victim: Workload;

before(async () => {
  machine = Machine.open();
  a = await machine.addWorkload('a');
  b = await machine.addWorkload('b');
  victim = await machine.addWorkload('victim');
  machine.kernel.maps.setAddress('169.254.1.1', { kind: 'host' });
  machine.kernel.maps.setAddress('fd00:2::1', { kind: 'host' });
});
after(async () => machine[Symbol.asyncDispose]());
beforeEach(() => {
  for (const workload of [a, b, victim]) {
    machine.govern(workload, allowAll);
    machine.setEndpoint(workload, { state: 'governed' });
    drained(workload.link);
  }
});

const from = (workload: Workload, frame: Uint8Array): number =>
  machine.kernel.programs.testRun('from_workload', frame, { ifindex: workload.ifindex }).result;

test('an observed endpoint speaks to governed ones in nobody else’s name', () => {
  machine.setEndpoint(a, { state: 'observed' });
  const spoken = (source: string) => from(a, udp({ ...between(a, b, source.includes(':') ? 6 : 4), source }, 4000, 53));
  assert.deepEqual(
    [victim.ipv4, victim.ipv6, '169.254.1.1', 'fd00:2::1'].map(spoken),
    [shot, shot, shot, shot],
    'the mark would make them believed',
  );
  // Nobody of ours: whoever judges it takes it for the world, and what it belongs to may be a network of the observed.
  assert.deepEqual([a.ipv4, a.ipv6, '198.51.100.9'].map(spoken), [pass, pass, pass]);
});

test('an advertisement stays on its link', async () => {
  const own = { sourceMac: a.mac, destinationMac: a.gatewayMac, source: a.ipv6 };
  const to = (destination: string) => from(a, neighbour({ ...own, destination }, 136, a.ipv6, a.mac));
  assert.deepEqual(['fe80::1', 'ff02::1', 'fd00:2::1'].map(to), [pass, pass, pass]);
  machine.govern(a, {});
  await machine.counts({ neighbour_spoofed: 3 }, () =>
    assert.deepEqual(['2001:db8::9', victim.ipv6, 'ff0e::1'].map(to), [shot, shot, shot], 'the host would forward it'),
  );
});

for (const version of [4, 6] as const) {
  test(`a transport header behind the end of the packet is not read (IPv${version})`, async () => {
    const ends: Ends = between(a, b, version);
    const segment = tcpSegment(ends, 4000, 80, { flags: tcpFlag.ack });
    // The packet ends after 8 bytes of it, and so does the fragment; the frame shows flags that the receiver will never see.
    const header = Buffer.alloc(8);
    header.writeUInt16BE(1, 2);
    const frame =
      version === 4
        ? ip(ends, protocols.tcp, segment.subarray(0, 8), { id: 1, more: true })
        : ip(ends, protocols.tcp, segment.subarray(0, 8), { extensions: [{ type: 44, bytes: header }] });
    await machine.counts({ malformed: 1, connections_opened: 0 }, () =>
      assert.equal(from(a, Buffer.concat([frame, segment.subarray(8)])), shot),
    );
  });
}

test('a responder that asks is judged as who it is, also when the rules of the connection changed meanwhile', () => {
  // The identifier of a question from `b` that has the key of the answer to a question from `a`.
  const asks = 8 << 8;
  const icmp = { ranges: [], otherwise: verdict('allow') };
  machine.govern(a, { egress: new Map([[b.identity, icmp]]) });
  machine.govern(b, { ingress: new Map([[a.identity, icmp]]) });
  assert.equal(from(a, echo(between(a, b), 'request', asks)), redirect);
  assert.equal(from(b, echo(between(b, a), 'request', asks)), shot);
  machine.govern(b, { ingress: new Map([[a.identity, always('allow', 5)]]) });
  assert.equal(from(b, echo(between(b, a), 'request', asks)), shot);
});
