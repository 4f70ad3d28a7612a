import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { CommandFailure } from '../exit.ts';
import { killService, serviceState, startService, stopService, type Service } from './service.ts';

describe('a process in the background', () => {
  let directory = '';
  const service = (name: string, script: string): Service => ({
    name,
    command: ['sh', '-c', script],
    pidFile: join(directory, `${name}.pid`),
    logFile: join(directory, `${name}.log`),
  });
  const exists = (name: string) => async (): Promise<boolean> =>
    stat(join(directory, name)).then(
      () => true,
      () => false,
    );

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'bulkhead-service-'));
  });
  after(() => rm(directory, { recursive: true, force: true }));

  test('starts once, is found again, and stops', async () => {
    const sleeper = service('sleeper', `touch ${directory}/up; exec sleep 60`);
    const first = await startService(sleeper, { ready: exists('up'), readyMs: 5000 });
    const second = await startService(sleeper, { ready: exists('up'), readyMs: 5000 });
    assert.equal(first.started, true);
    assert.deepEqual(second, { pid: first.pid, started: false });
    assert.equal(await stopService(sleeper), 'stopped');
    assert.deepEqual(await serviceState(sleeper), { kind: 'stopped' });
    assert.equal(await stopService(sleeper), null);
  });

  test('a pid that was given to another process is not ours', async () => {
    const stale = service('stale', 'true');
    await writeFile(stale.pidFile, `${process.pid} 12345\n`);
    assert.deepEqual(await serviceState(stale), { kind: 'stopped' });
    assert.equal(await stopService(stale), null);
  });

  test('one that ends while it starts is a failure that shows its log', async () => {
    const broken = service('broken', 'echo the reason; exit 3');
    await assert.rejects(startService(broken, { ready: exists('never'), readyMs: 5000 }), (error) => {
      assert.ok(error instanceof CommandFailure);
      assert.match(error.message, /broken ended while it started/);
      assert.deepEqual(
        error.faults.map((fault) => fault.what),
        ['the reason'],
      );
      return true;
    });
    assert.match(await readFile(broken.logFile, 'utf8'), /the reason/);
  });

  test('one that never gets ready is told apart, and can be killed', async () => {
    const slow = service('slow', 'trap "" TERM; while true; do sleep 1; done');
    await assert.rejects(startService(slow, { ready: async () => false, readyMs: 200 }), /not ready after 0.2 s/);
    await killService(slow);
    assert.deepEqual(await serviceState(slow), { kind: 'stopped' });
  });
});
