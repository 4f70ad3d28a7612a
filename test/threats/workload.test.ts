/** Root inside a workload, with raw sockets and NET_ADMIN: what it forges reaches nobody, what it changes helps it to nothing. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import {
  arp,
  ethernet,
  icmp,
  ip,
  neighbour,
  protocols,
  tcp,
  tcpFlag,
  tcpSegment,
  udp,
  udpDatagram,
  type Ends,
  type Seen,
} from '../kernel/datapath/frames.ts';
import { lanAddress, uplinkAddress } from '../kernel/agent/lan.ts';
import { arrived } from './raw-link.ts';
import { closedPort, gateway, gatewayIpv6, openPort, Stage } from './stage.ts';

const everybody = 'ff:ff:ff:ff:ff:ff';
const strangeMac = '02:13:13:13:13:13';
let stage: Stage;
/** Source port of the marker: the honest packet that shows that all before it has been handled. */
let marker = 20_000;

before(async () => {
  stage = await Stage.open();
});
after(() => stage?.[Symbol.asyncDispose]());
beforeEach(() => {
  for (const name of ['mallory', 'alice', 'vault', 'lan']) arrived(stage.link(name));
});

/** Sends frames from mallory, then an honest one to vault's open port; gives what vault saw before that arrived. */
async function beforeMarker(...frames: readonly Uint8Array[]): Promise<readonly Seen[]> {
  const port = ++marker;
  arrived(stage.link('vault'));
  for (const frame of frames) stage.link('mallory').send(frame);
  stage.link('mallory').send(tcp(stage.between('mallory', 'vault'), port, openPort));
  const seen: Seen[] = [];
  await stage.host.until('the honest packet arrives', async () => {
    seen.push(...arrived(stage.link('vault')));
    return seen.some((each) => each.sourcePort === port);
  });
  const own = new Set([stage.endpoint('mallory').mac, strangeMac]);
  // What the gateway hands on carries the gateway's MAC address, or whatever was forged; vault's own stack sees nothing else.
  return seen.filter((each) => each.sourcePort !== port && (each.type !== 0x0806 || own.has(each.sourceMac)));
}

/** A frame as a line, so that one that should not have come is told shortly. */
const line = (seen: Seen): string =>
  `${seen.type.toString(16)} ${seen.sourceMac} ${seen.source}:${seen.sourcePort} > ${seen.destination}:${seen.destinationPort} protocol ${seen.protocol} flags ${seen.tcpFlags}`;

/** How much each counter grew by an action. */
async function counted(names: readonly string[], action: () => Promise<unknown>): Promise<readonly number[]> {
  const read = () => Promise.all(names.map((name) => stage.host.counter(name)));
  const before = await read();
  await action();
  return (await read()).map((count, index) => count - before[index]!);
}

describe('forged packets', () => {
  test('another source address or MAC address: nothing arrives, all are counted', async () => {
    const honest = stage.between('mallory', 'vault');
    const honest6 = stage.between('mallory', 'vault', 6);
    const forged: readonly Ends[] = [
      { ...honest, sourceMac: strangeMac },
      { ...honest, sourceMac: stage.endpoint('alice').mac },
      ...['alice', 'vault'].map((name) => ({ ...honest, source: stage.address(name) })),
      ...[gateway, uplinkAddress, lanAddress, '127.0.0.1', '0.0.0.0', '255.255.255.255', '10.224.9.9'].map(
        (source) => ({
          ...honest,
          source,
        }),
      ),
      ...[stage.address('alice', 6), gatewayIpv6, '::1', 'fe80::1'].map((source) => ({ ...honest6, source })),
    ];
    const [spoofed] = await counted(['spoofed'], async () => {
      assert.deepEqual(
        (await beforeMarker(...forged.map((ends, index) => tcp(ends, 1000 + index, openPort)))).map(line),
        [],
      );
    });
    assert.ok(spoofed! >= forged.length - 1, `${spoofed} of ${forged.length} are counted as spoofed`);
  });

  test('tags and strange frames around an honest packet: nothing arrives', async () => {
    const { mac, gatewayMac } = stage.endpoint('mallory');
    const packet = tcp(stage.between('mallory', 'vault'), 1, openPort).subarray(14);
    const tagged = (type: number, tag: readonly number[]) =>
      ethernet(gatewayMac, mac, type, Buffer.concat([Buffer.from(tag), Buffer.from([8, 0]), packet]));
    const ipInIp = ip(stage.between('mallory', 'vault'), 4, packet);
    const frames = [
      tagged(0x8100, [0, 7]),
      tagged(0x88a8, [0, 7, 0x81, 0, 0, 9]),
      tagged(0x8847, [0, 1, 0x41, 64]),
      ethernet(gatewayMac, mac, 0x88cc, packet),
      ethernet(gatewayMac, mac, 0x0800, packet.subarray(0, 25)),
      ethernet(gatewayMac, mac, 0x0800, Buffer.concat([Buffer.from([0x4f]), packet.subarray(1)])),
      ethernet(stage.endpoint('vault').mac, mac, 0x86dd, packet),
      ipInIp,
    ];
    assert.deepEqual((await beforeMarker(...frames)).map(line), []);
  });

  test('fragments that hide or rewrite what was judged: nothing of a denied datagram arrives', async () => {
    const ends = stage.between('mallory', 'vault');
    const datagram = udpDatagram(ends, 1, 53, Buffer.alloc(1600));
    const denied = [
      ip(ends, protocols.udp, datagram.subarray(0, 800), { id: 1, offset: 0, more: true }),
      ip(ends, protocols.udp, datagram.subarray(800), { id: 1, offset: 800 }),
      ip(ends, protocols.udp, datagram.subarray(800), { id: 2, offset: 800 }),
    ];
    assert.deepEqual((await beforeMarker(...denied)).map(line), []);
    // The head of a permitted one, then pieces over its ports; and a head too short to have flags.
    const permitted = tcpSegment(ends, 3, openPort, { payload: Buffer.alloc(64) });
    const other = tcpSegment(ends, 3, closedPort, { payload: Buffer.alloc(64) });
    const seen = await beforeMarker(
      ip(ends, protocols.tcp, permitted.subarray(0, 48), { id: 3, offset: 0, more: true }),
      ip(ends, protocols.tcp, other.subarray(8), { id: 3, offset: 8 }),
      ip(ends, protocols.tcp, other.subarray(0, 48), { id: 3, offset: 0, more: true }),
      ip(ends, protocols.tcp, permitted.subarray(0, 8), { id: 4, offset: 0, more: true }),
      ip(ends, protocols.tcp, other.subarray(8), { id: 4, offset: 8 }),
    );
    assert.ok(
      seen.every(({ frame }) => frame.readUInt16BE(18) === 3 && (frame.readUInt16BE(20) & 0x1fff) === 0),
      'no piece but the permitted head arrives',
    );
    assert.ok(seen.every(({ destinationPort }) => destinationPort === null || destinationPort === openPort));
  });

  test('redirects, router advertisements and errors about what others said: nobody hears them', async () => {
    const ends = stage.between('mallory', 'vault');
    const ends6 = stage.between('mallory', 'vault', 6);
    const overheard = tcp(stage.between('vault', 'alice'), openPort, 40_000).subarray(14);
    const everyNode = { ...ends6, destination: 'ff02::1', destinationMac: '33:33:00:00:00:01' };
    const linkLocal = { ...everyNode, source: 'fe80::1' };
    const prefix = Buffer.from(`${'40000708'}${'00000000'.repeat(3)}`, 'hex');
    const frames = [
      icmp(ends, 5, 1, Buffer.concat([Buffer.from([10, 224, 0, 2]), overheard])),
      icmp(ends, 3, 1, Buffer.concat([Buffer.alloc(4), overheard])),
      icmp(ends, 3, 4, Buffer.concat([Buffer.from([0, 0, 2, 88]), overheard])),
      icmp(ends, 11, 0, Buffer.concat([Buffer.alloc(4), overheard])),
      icmp(linkLocal, 134, 0, prefix, { ttl: 255 }),
      icmp(everyNode, 134, 0, prefix, { ttl: 255 }),
      icmp({ ...ends6, source: 'fe80::1' }, 137, 0, Buffer.alloc(36), { ttl: 255 }),
      udp({ ...ends, destination: '255.255.255.255', destinationMac: everybody }, 67, 68),
    ];
    assert.deepEqual((await beforeMarker(...frames)).map(line), []);
    assert.deepEqual(arrived(stage.link('alice')).map(line), []);
  });
});

test('ARP and neighbour discovery cannot be poisoned: the host and the others keep what they knew', async () => {
  const { host } = stage;
  const { mac, gatewayMac } = stage.endpoint('mallory');
  assert.equal(await host.connect('alice', 'vault', openPort), 'connected');
  const claims = [stage.address('alice'), stage.address('vault'), gateway, uplinkAddress];
  const lies = claims.flatMap((sender) =>
    [everybody, gatewayMac, stage.endpoint('vault').mac].flatMap((to) =>
      ([1, 2] as const).map((operation) =>
        arp(to, mac, { operation, senderMac: mac, sender, targetMac: to, target: stage.address('vault') }),
      ),
    ),
  );
  const target = stage.address('alice', 6);
  const lies6 = (['vault', 'ff02::1'] as const).map((to) =>
    neighbour(
      { ...stage.between('mallory', to === 'vault' ? stage.address('vault', 6) : to), source: target },
      136,
      target,
      mac,
    ),
  );
  const own6 = neighbour(stage.between('mallory', gatewayIpv6), 136, target, mac);
  assert.deepEqual((await beforeMarker(...lies, ...lies6, own6)).map(line), []);
  const table = host.run(null, 'ip', 'neigh', 'show');
  for (const line of table.split('\n').filter((each) => each.includes(mac))) {
    const isOwn = line.startsWith(`${stage.address('mallory')} `) || line.startsWith(`${stage.address('mallory', 6)} `);
    const isLinkLocal = line.startsWith('fe80:');
    assert.ok((isOwn || isLinkLocal) && line.includes(stage.endpoint('mallory').interfaceName), line);
  }
  assert.equal(await host.connect('alice', 'vault', openPort), 'connected');
});

test('what goes on between others is not disturbed: resets, data and acknowledgements in their name are dropped', async () => {
  const { host } = stage;
  const alive = host.spawn(
    'alice',
    process.execPath,
    '-e',
    `const socket = require('node:net').connect({ host: ${JSON.stringify(stage.address('vault'))}, port: ${openPort}, localPort: 33333 });
     socket.on('data', (data) => process.stdout.write(data));
     socket.on('close', () => process.exit(0));
     process.stdin.on('data', (data) => socket.write(data));
     socket.on('connect', () => socket.write('hello'));`,
  );
  let heard = '';
  alive.stdout!.setEncoding('utf8').on('data', (part: string) => (heard += part));
  await host.until('alice is answered', async () => heard === 'hello');
  const asAlice = { ...stage.between('mallory', 'vault'), source: stage.address('alice') };
  const asVault = { ...stage.between('mallory', 'alice'), source: stage.address('vault') };
  const frames: Buffer[] = [];
  for (const flags of [tcpFlag.rst, tcpFlag.rst | tcpFlag.ack, tcpFlag.fin | tcpFlag.ack, tcpFlag.ack, tcpFlag.syn]) {
    for (const sequence of [0, 1001, 2 ** 31]) {
      frames.push(
        tcp(asAlice, 33_333, openPort, { flags, sequence }),
        tcp(asVault, openPort, 33_333, { flags, sequence }),
      );
    }
  }
  // And in the middle of nothing, in mallory's own name.
  const ends = stage.between('mallory', 'vault');
  for (const flags of [tcpFlag.ack, tcpFlag.syn | tcpFlag.ack, tcpFlag.fin, tcpFlag.rst, 0]) {
    frames.push(tcp(ends, 33_333, closedPort, { flags }));
  }
  assert.deepEqual((await beforeMarker(...frames)).map(line), []);
  assert.equal(alive.exitCode, null, 'the connection is still there');
  const flows = await host.connect('alice', 'vault', openPort);
  assert.equal(flows, 'connected');
  alive.kill('SIGKILL');
});

test('a flood fills only the flooder’s own share of the connection table', async () => {
  const { host } = stage;
  // Root inside a workload can keep its own kernel from ending what it began.
  host.run('mallory', 'nft', 'add table inet quiet; add chain inet quiet out { type filter hook output priority 0; }');
  host.run('mallory', 'nft', 'add rule inet quiet out tcp flags rst drop');
  const ends = stage.between('mallory', 'vault');
  const [budget] = await counted(['budget'], async () => {
    for (let port = 1024; port < 1024 + 40_000; port += 1) {
      stage.link('mallory').send(tcp(ends, port, openPort));
      if (port % 512 === 0) {
        arrived(stage.link('vault'));
        arrived(stage.link('mallory'));
        await setImmediate();
      }
    }
  });
  assert.ok(budget! > 0, 'the flooder met its bound');
  assert.equal(await host.connect('alice', 'vault', openPort, 5000), 'connected');
});
