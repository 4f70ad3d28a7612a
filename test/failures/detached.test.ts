/** Each program detached in turn, under traffic that only it lets through or keeps out: nothing passes, and a resync puts it back. */
import assert from 'node:assert/strict';
import { closeSync, existsSync, readdirSync, rmSync } from 'node:fs';
import { after, before, beforeEach, describe, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { detachLink, getPinned } from '../../packages/kernel/src/linux/bpf.ts';
import { lanAddress, uplinkAddress } from '../kernel/agent/lan.ts';
import { icmp, tcp, udp, type Ends } from '../kernel/datapath/frames.ts';
import { attempts } from '../threats/attempts.ts';
import { arrived } from '../threats/raw-link.ts';
import { askedPorts, closedPort, gateway, openPort, policy, Stage } from '../threats/stage.ts';

const publishedPort = 8443;
const outsideAskedPort = 7001;
const outsideRefusedPort = 7002;
const heldPorts = new Set<number>([askedPorts.from, outsideAskedPort, outsideRefusedPort]);
let stage: Stage;
let lanEnds: Ends;

before(async () => {
  stage = await Stage.open();
  const { host } = stage;
  const macOf = (where: string | null, name: string): string =>
    (JSON.parse(host.run(where, 'ip', '-j', 'link', 'show', name)) as readonly { address: string }[])[0]!.address;
  const [sourceMac, destinationMac] = [macOf('lan', 'eth0'), macOf(null, 'up0')];
  lanEnds = { sourceMac, destinationMac, source: lanAddress, destination: stage.address('vault') };
  host.run('lan', 'ip', 'route', 'add', '10.224.0.0/16', 'via', uplinkAddress);
  // As a published port of an engine does: whoever asks the host for it is sent on to the workload.
  const rule = `tcp dport ${publishedPort} dnat ip to ${stage.address('vault')}:${openPort}`;
  const chain = `add chain ip publish in { type nat hook prerouting priority dstnat; }`;
  host.run(null, 'nft', `add table ip publish; ${chain}; add rule ip publish in ${rule}`);
  await host.listen('lan', openPort, outsideAskedPort);
  const ask = { from: { segment: 'web' }, to: { cidr: '198.51.100.0/24' } };
  await host.apply(
    policy(
      'outside',
      { name: 'out', action: 'allow', ...ask, ports: [{ protocol: 'tcp', port: openPort }] },
      { name: 'asked', action: 'ask', ...ask, ports: [{ protocol: 'tcp', port: outsideAskedPort }], when: 'true' },
      { name: 'refused', action: 'ask', ...ask, ports: [{ protocol: 'tcp', port: outsideRefusedPort }], when: 'false' },
    ),
  );
});
after(() => stage?.[Symbol.asyncDispose]());
beforeEach(() => {
  for (const link of stage.links.values()) arrived(link);
});

/** The pin of a link: `workload-IFINDEX-ingress` and so on. Without it the kernel detaches the program. */
function pinOf(place: string): string {
  const root = `/sys/fs/bpf/${stage.host.name}`;
  const directory = ['links', ...readdirSync(root).map((entry) => `${entry}/links`)].find((each) =>
    existsSync(`${root}/${each}`),
  );
  assert.ok(directory !== undefined, `no links below ${root}: ${readdirSync(root).join()}`);
  return `${root}/${directory}/${place}`;
}

async function without(place: string, action: () => Promise<void>): Promise<void> {
  const pin = pinOf(place);
  const link = getPinned(pin);
  assert.ok(link !== null, `${place} is attached`);
  // At once; removing the pin alone takes effect a little later.
  detachLink(link);
  closeSync(link);
  rmSync(pin);
  try {
    await action();
  } finally {
    await stage.host.command('resync', null);
  }
  await stage.host.until(`${place} is back`, async () => existsSync(pin));
}

const ifindexOf = (name: string): number => stage.endpoint(name).ifindex;

/** What the others and the LAN got that mallory or the LAN sent. */
function passed(ports: ReadonlySet<number>): readonly string[] {
  return ['alice', 'vault', 'lan'].flatMap((name) =>
    arrived(stage.link(name)).flatMap((seen) =>
      seen.sourcePort !== null && ports.has(seen.sourcePort)
        ? [`${name}: ${seen.source}:${seen.sourcePort} > ${seen.destination}:${seen.destinationPort}`]
        : [],
    ),
  );
}

/** Everything that mallory could send somewhere, forged or not, allowed or not. */
function fromMallory(port: number): readonly Uint8Array[] {
  const destinations = [stage.address('vault'), stage.address('alice'), lanAddress, gateway, uplinkAddress];
  const honest = destinations.flatMap((to) => {
    const ends = stage.between('mallory', to);
    return [
      tcp(ends, port, openPort),
      tcp(ends, port, closedPort),
      udp(ends, port, 53),
      icmp(ends, 8, 0, Buffer.alloc(4)),
    ];
  });
  const forged = destinations.map((to) =>
    tcp({ ...stage.between('mallory', to), source: stage.address('alice') }, port, openPort),
  );
  const direct = tcp(
    { ...stage.between('mallory', 'vault'), destinationMac: stage.endpoint('vault').mac },
    port,
    openPort,
  );
  const six = tcp(stage.between('mallory', 'vault', 6), port, openPort);
  return [...honest, ...forged, direct, six];
}

test('the control: with every program in place the same traffic gets through where it may', async () => {
  for (const frame of fromMallory(3000)) stage.link('mallory').send(frame);
  await setImmediate();
  const seen = passed(new Set([3000]));
  assert.ok(
    seen.some((each) => each.startsWith('vault')),
    seen.join(),
  );
  assert.ok(
    seen.every((each) => each.endsWith(`:${openPort}`)),
    seen.join(),
  );
  assert.deepEqual(await attempts(stage.host, 'alice', [{ address: lanAddress, port: outsideAskedPort }], 5000), [
    'connected',
  ]);
});

describe('the program at a workload’s way out', () => {
  test('nothing of it arrives anywhere, the others go on', async () => {
    await without(`workload-${ifindexOf('mallory')}-ingress`, async () => {
      for (const frame of fromMallory(3001)) stage.link('mallory').send(frame);
      assert.deepEqual(await attempts(stage.host, 'mallory', [{ address: stage.address('vault'), port: openPort }]), [
        'timeout',
      ]);
      assert.deepEqual(
        await attempts(stage.host, 'alice', [{ address: stage.address('vault'), port: openPort }], 5000),
        ['connected'],
      );
      assert.deepEqual(passed(new Set([3001])), []);
    });
    assert.deepEqual(
      await attempts(stage.host, 'mallory', [{ address: stage.address('vault'), port: openPort }], 5000),
      ['connected'],
    );
  });
});

describe('the program at a workload’s way in', () => {
  test('the host, the LAN and a published port do not get further than before', async () => {
    const { host } = stage;
    const tries = async () => ({
      host: await attempts(host, null, [{ address: stage.address('vault'), port: openPort }]),
      lan: await attempts(host, 'lan', [
        { address: stage.address('vault'), port: openPort },
        { address: uplinkAddress, port: publishedPort },
      ]),
      forged: passed(new Set([3002])),
    });
    const send = () => {
      stage.link('lan').send(tcp(lanEnds, 3002, openPort));
      stage.link('lan').send(tcp({ ...lanEnds, destination: uplinkAddress }, 3002, publishedPort));
      stage.link('lan').send(tcp({ ...lanEnds, source: stage.address('alice') }, 3002, openPort));
      stage.link('lan').send(udp(lanEnds, 3002, 53));
    };
    const nothing = { host: ['timeout'], lan: ['timeout', 'timeout'], forged: [] };
    send();
    assert.deepEqual(await tries(), nothing, 'policy lets nobody in from there');
    await without(`workload-${ifindexOf('vault')}-egress`, async () => {
      send();
      assert.deepEqual(await tries(), nothing);
    });
  });
});

test('the program at the uplink: nobody is taken for a workload', async () => {
  const { ifindex } = (
    JSON.parse(stage.host.run(null, 'ip', '-j', 'link', 'show', 'up0')) as readonly { ifindex: number }[]
  )[0]!;
  await without(`uplink-${ifindex}-ingress`, async () => {
    for (const source of ['alice', 'mallory', 'vault'].map((name) => stage.address(name))) {
      for (const destination of [stage.address('vault'), stage.address('alice')]) {
        stage.link('lan').send(tcp({ ...lanEnds, source, destination }, 3003, openPort));
        stage.link('lan').send(udp({ ...lanEnds, source, destination }, 3003, 53));
      }
      stage.link('lan').send(tcp({ ...lanEnds, source, destination: uplinkAddress }, 3003, publishedPort));
    }
    assert.deepEqual(passed(new Set([3003])), []);
  });
});

test('the program at the punt device: what was asked about stays held, also where the answer was allow', async () => {
  const { host } = stage;
  const name = 'bhFpunt';
  const { ifindex } = (
    JSON.parse(host.run(null, 'ip', '-j', 'link', 'show', name)) as readonly { ifindex: number }[]
  )[0]!;
  const targets = [
    { address: stage.address('vault'), port: askedPorts.from },
    { address: lanAddress, port: outsideAskedPort },
  ];
  assert.deepEqual(await attempts(host, 'alice', targets, 5000), ['connected', 'connected'], 'the control');
  for (const link of stage.links.values()) arrived(link);
  await without(`punt-${ifindex}-ingress`, async () => {
    const refused = { address: lanAddress, port: outsideRefusedPort };
    assert.deepEqual(await attempts(host, 'alice', [...targets, refused], 1500), ['timeout', 'timeout', 'timeout']);
    const seen = ['vault', 'lan'].flatMap((each) =>
      arrived(stage.link(each)).flatMap(({ destinationPort }) =>
        heldPorts.has(destinationPort ?? 0) ? [`${each}: ${destinationPort}`] : [],
      ),
    );
    assert.deepEqual(seen, []);
  });
  assert.deepEqual(await attempts(host, 'alice', targets, 5000), ['connected', 'connected']);
});
