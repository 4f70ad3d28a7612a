/**
 * A real engine with the real agent and manager: labels of an image, and the host rebooted. A reboot is played: containers and processes
 * end, pins, tables and interfaces are gone, the boot has another number; then the engine comes first and the agent late.
 */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { importBusybox, startEngine, type Engine } from '@bulkhead/cli';
import { run } from '../engine/harness.ts';
import { GovernedHost } from '../kernel/agent/governed-host.ts';
import { lanAddress } from '../kernel/agent/lan.ts';
import type { FrameSocket } from '../kernel/datapath/sockets.ts';
import { arrived, rawLink } from '../threats/raw-link.ts';
import { policy, segment } from '../threats/stage.ts';

const deniedPort = 7777;
const allowedPort = 7778;
/** How long knockers knock: until they are killed. */
const foreverMs = 1_000_000_000;
const knockSource = fileURLToPath(new URL('../kernel/docker/knock/knock.c', import.meta.url));
let engine: Engine;
let host: GovernedHost;
let lan: FrameSocket;
let work: string;

const docker = (...args: readonly string[]) => engine.docker(...args);
const knocker = (name: string, app: string, port: number) =>
  docker(
    ...['run', '-d', '--name', name, '--restart', 'always', '--network', 'front', '--label', `bulkhead.app=${app}`],
    ...[
      '--cap-add',
      'NET_ADMIN',
      '--cap-add',
      'NET_RAW',
      'knock:1',
      '/knock',
      lanAddress,
      String(port),
      String(foreverMs),
    ],
  );

before(async () => {
  work = mkdtempSync(join(tmpdir(), 'bhT-reboot-'));
  engine = await startEngine({ name: 'bhtreboot' });
  host = await GovernedHost.start({
    ...{ prefix: 'bhT', namespace: engine.netns, uplink: true },
    agentOptions: ['--docker', engine.socket, '--plugin', join(engine.pluginDirectory, 'bulkhead.sock')],
  });
  lan = rawLink(host.pathOf('lan'));
  await importBusybox(engine);
  await importBusybox(engine, {
    tag: 'labelled:1',
    changes: ['LABEL bulkhead.app=talker bulkhead.bulkhead.dev/host=elsewhere'],
  });
  await run('gcc', ['-O2', '-static', '-o', join(work, 'knock'), knockSource]);
  writeFileSync(join(work, 'Dockerfile'), 'FROM bulkhead/busybox:1\nCOPY knock /knock\n');
  await docker('build', '--quiet', '--tag', 'knock:1', work);
  await docker(...'network create -d bulkhead --ipam-driver bulkhead --subnet 10.77.0.0/24 front'.split(' '));
  const to = { cidr: `${lanAddress}/32` };
  const ports = [
    { protocol: 'tcp', port: allowedPort },
    { protocol: 'udp', port: allowedPort },
  ];
  const rule = { name: 'talk', action: 'allow', from: { segment: 'talker' }, to, ports };
  await host.apply(segment('talker'), segment('silent'), policy('talkers', rule));
});
after(async () => {
  lan?.[Symbol.dispose]();
  await host?.[Symbol.asyncDispose]();
  await engine?.stop();
  rmSync(work, { recursive: true, force: true });
});

interface Heard {
  readonly allowed: number;
  readonly denied: number;
}
const heard = (): Heard => {
  const ports = arrived(lan).map(({ destinationPort }) => destinationPort);
  return {
    allowed: ports.filter((port) => port === allowedPort).length,
    denied: ports.filter((port) => port === deniedPort).length,
  };
};

const labelsOf = async (name: string): Promise<Readonly<Record<string, string>> | undefined> => {
  const { items } = (await host.api('GET', '/v1/workloads?limit=1000')) as {
    readonly items: readonly { readonly name: string; readonly labels: Readonly<Record<string, string>> }[];
  };
  return items.find((item) => item.name === name)?.labels;
};

test('labels that an image carries make a container a member of nothing', async () => {
  await docker(
    ...`run -d --name pretender --network front labelled:1 sh -c`.split(' '),
    `while :; do echo x | nc -w 1 ${lanAddress} ${allowedPort}; done`,
  );
  await host.until('the manager knows it', async () => (await labelsOf('pretender')) !== undefined);
  const labels = (await labelsOf('pretender'))!;
  assert.equal(labels['app'], undefined);
  assert.equal(labels['bulkhead.dev/host'], 'h1');
  await host.until('it was denied', async () =>
    (await host.flows()).some(
      ({ source, destination, verdict }) =>
        source.workload?.includes('/docker/') === true && destination.port === allowedPort && verdict === 'deny',
    ),
  );
  assert.deepEqual(heard(), { allowed: 0, denied: 0 });
  await docker('rm', '-f', 'pretender');
});

test('containers that send from their first instruction: what is denied never arrives, what is allowed does', async () => {
  await knocker('mute', 'silent', deniedPort);
  await knocker('talker', 'talker', allowedPort);
  let allowed = 0;
  await host.until('the allowed one is heard', async () => {
    const now = heard();
    assert.equal(now.denied, 0);
    allowed += now.allowed;
    return allowed > 0;
  });
});

test('dockerd killed and started again: nothing denied arrives meanwhile, and what is allowed is heard again', async () => {
  await engine.stopDockerd({ hard: true });
  await engine.startDockerd({ readyMs: 60_000 });
  await host.until('both run', async () => (await docker('ps', '-q')).split('\n').filter(Boolean).length === 2);
  assert.equal(heard().denied, 0);
  await host.until('the allowed one is heard', async () => {
    const now = heard();
    assert.equal(now.denied, 0);
    return now.allowed > 0;
  });
});

/** What a reboot takes away in a namespace. Disks stay: the engine's data, the agent's and the manager's state. */
async function reboot(): Promise<void> {
  await engine.stopDockerd();
  await host.kill('agent');
  await host.kill('manager');
  rmSync(`/sys/fs/bpf/${host.name}`, { recursive: true, force: true });
  host.run(null, 'nft', 'flush', 'ruleset');
  const links = JSON.parse(host.run(null, 'ip', '-j', 'link', 'show')) as readonly { readonly ifname: string }[];
  for (const { ifname } of links)
    if (ifname !== 'lo' && ifname !== 'up0') host.run(null, 'ip', 'link', 'delete', ifname);
}

test('rebooted, the engine first: nothing passes until the agent is there, nobody waits for ever, then all is as before', async () => {
  await reboot();
  heard();
  const log = () => readFileSync(engine.logFile, 'utf8');
  const before = log().length;
  const up = engine.startDockerd({ readyMs: 80_000 }).then(() => Date.now());
  await host.until('the engine looks for the plugin', async () => /plugin/i.test(log().slice(before)));
  assert.deepEqual(heard(), { allowed: 0, denied: 0 }, 'without an agent nothing of ours runs, or nothing passes');

  const bootId = join(work, 'boot_id');
  writeFileSync(bootId, `${randomUUID()}\n`);
  await host.startManager();
  const script = 'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"';
  const agentMs = Date.now();
  await host.startAgent(['unshare', '--mount', 'sh', '-c', script, bootId]);
  const upMs = await up;
  assert.ok(upMs - agentMs < 40_000, `the engine was up ${upMs - agentMs} ms after the agent began`);
  await host.until('the link', async () => (await host.status()).link.isReady);
  // The engine tries a container a few times only; one that it gave up before the agent was there is started by hand, as it says.
  for (const name of ['mute', 'talker']) {
    if ((await docker('inspect', '-f', '{{.State.Running}}', name)) !== 'true') await docker('start', name);
  }
  await host.until('the allowed one is heard', async () => {
    const now = heard();
    assert.equal(now.denied, 0);
    return now.allowed > 0;
  });
  await host.until('both are governed', async () => {
    const states = (await host.endpoints()).map(({ state }) => state);
    return states.length === 2 && states.every((state) => state === 'governed');
  });
  const mute = (await host.endpoints()).find(({ name }) => name === 'mute');
  assert.ok((mute?.counters['denied'] ?? 0) > 0, 'the denied one did knock');
  assert.equal(heard().denied, 0);
});
