/** What is not on a network of ours: told with the reason, adopted live, released; and namespaces that somebody made by hand. */
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { Harness, run, until, type AttachHost } from '../../engine/harness.ts';

const image = 'bulkhead/busybox:1';
let harness: Harness;
let host: AttachHost;
const byHand = 'bh-dkfor-hand';

before(async () => {
  harness = await Harness.start('dkfor');
  // These are older than the install.
  await harness.docker('run', '-d', '--name', 'older', '--label', 'bulkhead.open=no', image, 'sleep', '10000');
  await harness.docker('run', '-d', '--name', 'neighbour', '--label', 'bulkhead.open=yes', image, 'sleep', '10000');
  host = await harness.startHost();
  await harness.docker(
    'network',
    'create',
    '-d',
    'bulkhead',
    '--ipam-driver',
    'bulkhead',
    '--subnet',
    '10.77.0.0/24',
    'front',
  );
});
after(async () => {
  await run('ip', ['netns', 'delete', byHand]).catch(() => undefined);
  await harness?.[Symbol.asyncDispose]();
});

const workloadOf = (name: string) =>
  until(`${name} is known`, async () => (await host.snapshot()).workloads.find((workload) => workload.name === name));
const bridgeAddress = (name: string) =>
  harness.docker('inspect', '-f', '{{.NetworkSettings.Networks.bridge.IPAddress}}', name);
const pings = (from: string, where: string) =>
  harness.docker('exec', from, 'ping', '-c1', '-W1', where).then(
    () => true,
    () => false,
  );

test('every container is told: governed, or why not', async () => {
  await harness.docker('run', '-d', '--name', 'hostly', '--network', 'host', image, 'sleep', '10000');
  await harness.docker('run', '-d', '--name', 'nothing', '--network', 'none', image, 'sleep', '10000');
  await harness.docker('run', '-d', '--name', 'both', '--network', 'front', image, 'sleep', '10000');
  await harness.docker('network', 'connect', 'bridge', 'both');
  const because = async (name: string) => (await workloadOf(name)).ungovernedBecause ?? 'governed';
  assert.match(await because('older'), /network bridge \(driver bridge\) is not ours/);
  assert.match(await because('hostly'), /network host/);
  assert.match(await because('nothing'), /network none/);
  await until('the second network is seen', async () => /bridge/.test(await because('both')));
  await harness.docker('network', 'disconnect', 'bridge', 'both');
  await until('it is governed again', async () => (await because('both')) === 'governed');
  await host.request({ kind: 'command', name: 'divergence-now', argument: null });
  const told = (await host.snapshot()).divergences.filter(({ kind, resolved }) => kind === 'ungoverned' && !resolved);
  const expected = await Promise.all(
    ['hostly', 'neighbour', 'nothing', 'older'].map(async (name) => (await workloadOf(name)).workload),
  );
  assert.deepEqual(told.map(({ workload }) => workload).sort(), expected.sort());
});

test('a bridge container is adopted live: observed, enforced, released', async () => {
  const { workload } = await workloadOf('older');
  const neighbour = await bridgeAddress('neighbour');
  const older = await bridgeAddress('older');
  assert.equal(await pings('older', neighbour), true);
  const adopt = (mode: 'observe' | 'enforce' | 'release') => host.request({ kind: 'adopt', workload, mode });

  assert.equal(await adopt('observe'), true);
  assert.equal((await workloadOf('older')).governance, 'observed');
  assert.equal(await pings('older', neighbour), true, 'observing lets everything pass');
  await adopt('enforce');
  assert.equal((await workloadOf('older')).governance, 'governed');
  assert.equal(await pings('older', neighbour), false);
  assert.equal(await pings('neighbour', older), false);
  await adopt('release');
  assert.equal((await workloadOf('older')).governance, 'ungoverned');
  assert.equal(await pings('older', neighbour), true);
  assert.deepEqual(
    (await host.snapshot()).endpoints.filter(({ endpoint }) => endpoint.startsWith('adopted-')),
    [],
  );
});

test('what cannot be adopted says why; an adoption outlives the agent and ends with its interface', async () => {
  const hostly = await workloadOf('hostly');
  await assert.rejects(
    host.request({ kind: 'adopt', workload: hostly.workload, mode: 'observe' }),
    /no interface of its own/,
  );
  assert.equal(await host.request({ kind: 'adopt', workload: 'test-host/docker/none', mode: 'observe' }), false);
  const { workload } = await workloadOf('older');
  const neighbour = await bridgeAddress('neighbour');
  await host.request({ kind: 'adopt', workload, mode: 'enforce' });
  await host.stop('SIGKILL');
  assert.equal(await pings('older', neighbour), false);
  host = await harness.startHost();
  await until('the engine was compared', async () => (await workloadOf('older')).governance === 'governed');
  assert.equal(await pings('older', neighbour), false);
  await harness.docker('restart', '-t', '0', 'older');
  await host.request({ kind: 'resync' });
  await until('it is ungoverned again', async () => (await workloadOf('older')).governance === 'ungoverned');
});

test('a namespace made by hand is a workload: attached, judged, detached', async () => {
  await run('ip', ['netns', 'add', byHand]);
  const attach = (argument: object) => host.request<{ ipv4: string }>({ kind: 'command', name: 'attach', argument });
  const request = { kind: 'netns', path: `/run/netns/${byHand}`, name: 'machine', labels: { open: 'yes' } };
  await harness.docker(
    'run',
    '-d',
    '--name',
    'peer',
    '--network',
    'front',
    '--label',
    'bulkhead.open=yes',
    image,
    'sleep',
    '10000',
  );
  const peer = await harness.docker('inspect', '-f', '{{.NetworkSettings.Networks.front.IPAddress}}', 'peer');
  const attached = await attach(request);
  assert.deepEqual(await attach(request), attached, 'the same again changes nothing');
  const inside = (...args: readonly string[]) => run('nsenter', [`--net=/run/netns/${byHand}`, ...args]);
  await until('the machine reaches the container', () => inside('busybox', 'ping', '-c1', '-W1', peer));
  assert.equal(await pings('peer', attached.ipv4), true);
  await harness.docker('run', '-d', '--name', 'closed', '--network', 'front', image, 'sleep', '10000');
  assert.equal(await pings('closed', attached.ipv4), false);
  await host.stop('SIGKILL');
  host = await harness.startHost();
  await inside('busybox', 'ping', '-c1', '-W1', peer);
  await assert.rejects(attach({ ...request, labels: { open: 'no' } }), /attached already/);
  await assert.rejects(attach({ ...request, name: 'other', path: '/run/netns/bh-none' }), /no network namespace/);
  await assert.rejects(
    attach({ ...request, name: 'facts', labels: { 'bulkhead.dev/host': 'x' } }),
    /facts that nobody can claim/,
  );
  await assert.rejects(attach({ kind: 'tap', name: 'tapless', tap: 'uplink0', mac: '02:00:00:00:00:09' }), /not a tap/);
  await host.request({ kind: 'command', name: 'detach', argument: { name: 'machine' } });
  await assert.rejects(inside('busybox', 'ping', '-c1', '-W1', peer));
  assert.ok(!(await host.snapshot()).workloads.some(({ engine }) => engine === 'netns'));
});

test('a tap is a workload as long as it is attached, and stays its owner’s', async () => {
  await harness.onHost('ip', 'tuntap', 'add', 'dev', 'tapvm', 'mode', 'tap');
  const argument = {
    kind: 'tap',
    tap: 'tapvm',
    name: 'guest',
    mac: '02:00:00:00:00:99',
    ipv4: '10.99.0.5',
    labels: { open: 'yes' },
  };
  await host.request({ kind: 'command', name: 'attach', argument });
  const { endpoints, workloads } = await host.snapshot();
  const workload = workloads.find(({ name }) => name === 'guest');
  assert.deepEqual([workload?.engine, workload?.isolationClass], ['tap', 'vm']);
  const endpoint = endpoints.find((candidate) => candidate.workload === workload?.workload);
  assert.deepEqual([endpoint?.kind, endpoint?.mac, endpoint?.ipv4], ['tap', '02:00:00:00:00:99', '10.99.0.5']);
  assert.match(await harness.onHost('nft', 'list', 'table', 'inet', 'bulkhead'), /iifname "tapvm" .*drop/);
  assert.match(await harness.onHost('ip', 'route', 'get', '10.99.0.5'), /dev tapvm/);
  await host.request({ kind: 'command', name: 'detach', argument: { name: 'guest' } });
  assert.doesNotMatch(await harness.onHost('nft', 'list', 'table', 'inet', 'bulkhead'), /tapvm/);
  await harness.onHost('ip', 'link', 'show', 'dev', 'tapvm');
});
