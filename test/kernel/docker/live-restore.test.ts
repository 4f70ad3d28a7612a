/** Live restore: containers run on while the engine is away, also when the agent is away with it. */
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { Harness, until } from '../../engine/harness.ts';

const image = 'bulkhead/busybox:1';
let harness: Harness;

before(async () => {
  harness = await Harness.start('dklive', { liveRestore: true });
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
  for (const name of ['alpha', 'beta']) {
    await harness.docker(
      'run',
      '-d',
      '--name',
      name,
      '--network',
      'front',
      '--label',
      'bulkhead.open=yes',
      image,
      'sleep',
      '10000',
    );
  }
});
after(async () => {
  await harness?.[Symbol.asyncDispose]();
});

const pidOf = (name: string) => harness.docker('inspect', '-f', '{{.State.Pid}}', name);
const enter = async (pid: string, ...args: readonly string[]) => harness.onHost('nsenter', '-t', pid, '-n', ...args);

for (const hard of [false, true]) {
  test(`the engine ${hard ? 'killed' : 'restarted'}: connections and workloads stay as they are`, async () => {
    const [alpha, beta] = await Promise.all(['alpha', 'beta'].map(pidOf));
    const address = await harness.docker('inspect', '-f', '{{.NetworkSettings.Networks.front.IPAddress}}', 'beta');
    const before = await until('both are bound', async () => {
      const found = await harness.host!.snapshot();
      return found.endpoints.length === 2 && found.endpoints.every(({ workload }) => workload !== null) && found;
    });
    await harness.engine.stopDockerd({ hard });
    await enter(alpha!, 'busybox', 'ping', '-c1', '-W1', address);
    await harness.host!.stop('SIGKILL');
    await enter(alpha!, 'busybox', 'ping', '-c1', '-W1', address);
    await harness.startHost();
    await enter(alpha!, 'busybox', 'ping', '-c1', '-W1', address);
    await harness.engine.startDockerd();
    assert.deepEqual(await Promise.all(['alpha', 'beta'].map(pidOf)), [alpha, beta]);
    await harness.host!.request({ kind: 'resync' });
    const now = await harness.host!.snapshot();
    assert.deepEqual(now.endpoints, before.endpoints);
    assert.deepEqual(
      now.workloads.map(({ generation }) => generation),
      before.workloads.map(({ generation }) => generation),
    );
    await enter(alpha!, 'busybox', 'ping', '-c1', '-W1', address);
  });
}

test('new containers start after it', async () => {
  // The first packets of a container are held until its labels are known, which on a busy machine is longer than ping waits for one.
  await harness.docker(
    'run',
    '--rm',
    '--network',
    'front',
    '--label',
    'bulkhead.open=yes',
    image,
    'ping',
    '-c5',
    'beta',
  );
});
