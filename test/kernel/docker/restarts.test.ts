/** Agent and engine restarted, in every order: what runs goes on as it was judged, nothing unknown passes, nobody waits for anybody. */
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { Harness, outsideAddress, until } from '../../engine/harness.ts';

const image = 'bulkhead/busybox:1';
const open = ['--label', 'bulkhead.open=yes'];
let harness: Harness;

before(async () => {
  harness = await Harness.start('dkres', { liveRestore: false });
  await harness.startHost();
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
  await harness?.[Symbol.asyncDispose]();
});

const start = (name: string, ...flags: readonly string[]) =>
  harness.docker(
    'run',
    '-d',
    '--name',
    name,
    '--network',
    'front',
    '--stop-signal',
    'SIGKILL',
    ...flags,
    image,
    'sleep',
    '10000',
  );
const pings = (from: string, where: string) =>
  harness.docker('exec', from, 'ping', '-c1', '-W1', where).then(
    () => true,
    () => false,
  );
const snapshot = () => harness.host!.snapshot();
const addressOf = (name: string) =>
  harness.docker('inspect', '-f', '{{.NetworkSettings.Networks.front.IPAddress}}', name);

test('agent killed: what was allowed goes on, what was denied stays denied, no container starts unjudged', async () => {
  await start('alpha', ...open, '--restart', 'always');
  await start('beta', ...open);
  await start('shut');
  const [beta, shut] = await Promise.all(['beta', 'shut'].map(addressOf));
  await until('alpha reaches beta', () => pings('alpha', beta!));
  assert.equal(await pings('alpha', shut!), false);
  const before = await snapshot();

  await harness.host!.stop('SIGKILL');
  assert.equal(await pings('alpha', beta!), true);
  assert.equal(await pings('alpha', shut!), false);
  assert.equal(await pings('shut', outsideAddress), false);
  // The engine tries for some seconds to reach the plugin; the container starts once the agent is back, and not before.
  const late = start('late', ...open);
  let started = false;
  void late.then(() => (started = true));
  assert.equal(await harness.docker('ps', '-q', '--filter', 'name=late', '--filter', 'status=running'), '');
  assert.equal(started, false);

  await harness.startHost();
  await late;
  await until('late reaches beta', () => pings('late', beta!));
  const now = await until('the engine was compared', async () => {
    const found = await snapshot();
    return found.workloads.length === 4 && found.endpoints.every((endpoint) => endpoint.workload !== null) && found;
  });
  for (const endpoint of before.endpoints) {
    const same = now.endpoints.find((candidate) => candidate.endpoint === endpoint.endpoint);
    assert.deepEqual([same?.ipv4, same?.slot, same?.workload], [endpoint.ipv4, endpoint.slot, endpoint.workload]);
  }
  for (const workload of before.workloads) {
    assert.equal(now.workloads.find(({ name }) => name === workload.name)?.generation, workload.generation);
  }
});

test('a container removed while the agent was away is forgotten, its address rests', async () => {
  const address = await addressOf('late');
  await harness.host!.stop('SIGKILL');
  const removed = harness.docker('rm', '-f', 'late');
  await harness.startHost();
  await removed;
  await until('it is forgotten', async () => (await snapshot()).workloads.every(({ name }) => name !== 'late'));
  assert.ok((await snapshot()).endpoints.every((endpoint) => endpoint.ipv4 !== address));
  await start('next', ...open);
  assert.notEqual(await addressOf('next'), address);
});

test('engine restarted: a container with restart=always comes back as the next generation, judged from its first packet', async () => {
  const generationOf = async (name: string) =>
    (await snapshot()).workloads.find((workload) => workload.name === name)?.generation;
  const before = await generationOf('alpha');
  await harness.engine.stopDockerd();
  await harness.engine.startDockerd();
  await until('the next generation runs', async () => {
    const { endpoints, workloads } = await snapshot();
    const alpha = workloads.find(({ name, startedMs }) => name === 'alpha' && startedMs !== null);
    return alpha?.generation === before! + 1 && endpoints.some((endpoint) => endpoint.workload === alpha.workload);
  });
  await harness.docker('start', 'beta');
  const beta = await addressOf('beta');
  await until('alpha reaches beta', () => pings('alpha', beta));
  // The others do not run: nothing of theirs is left.
  const running = (await harness.docker('ps', '-q')).split('\n').length;
  await until('endpoints of the dead are gone', async () => (await snapshot()).endpoints.length === running);
});

test('engine before agent, as after a boot: the engine comes up, nothing unjudged runs, and all is well once the agent is there', async () => {
  await harness.engine.stopDockerd();
  await harness.host!.stop();
  // It asks for the plugin once per thing of ours that it has to put in order, 15 s each time: slow, but it does come up.
  await harness.engine.startDockerd({ readyMs: 120_000 });
  assert.equal(await harness.docker('inspect', '-f', '{{.State.Running}}', 'alpha'), 'false');
  await harness.startHost();
  await harness.docker('start', 'alpha', 'beta');
  const beta = await addressOf('beta');
  await until('alpha reaches beta', () => pings('alpha', beta));
});

test('agent before engine, as the units order it: the engine finds the plugin, and restart=always needs no help', async () => {
  await harness.engine.stopDockerd();
  await harness.host!.stop();
  await harness.startHost();
  await harness.engine.startDockerd();
  await until(
    'alpha runs',
    async () => (await harness.docker('inspect', '-f', '{{.State.Running}}', 'alpha')) === 'true',
  );
  await until('alpha is known', async () => {
    const { endpoints, workloads } = await snapshot();
    const alpha = workloads.find(({ name }) => name === 'alpha');
    return endpoints.some((endpoint) => endpoint.workload === alpha?.workload);
  });
});

test('the host’s table comes back when somebody flushes it', async () => {
  await harness.onHost('nft', 'delete', 'table', 'inet', 'bulkhead');
  await harness.host!.request({ kind: 'resync' });
  assert.match(await harness.onHost('nft', 'list', 'table', 'inet', 'bulkhead'), /chain unjudged_forward/);
});
