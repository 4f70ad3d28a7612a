/**
 * No window at the start: a container that policy denies sends SYNs and datagrams from its first instruction on, again and again, also
 * while the agent is away or just coming back; a capture at the destination sees none of them.
 */
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Harness, run, until } from '../../engine/harness.ts';

const starts = 200;
const atOnce = 4;
const knockMs = 40;
const port = 7777;
let harness: Harness;
let target: string;

before(async () => {
  harness = await Harness.start('dkwin');
  await harness.startHost();
  const context = await mkdtemp(join(tmpdir(), 'bulkhead-knock-'));
  try {
    const source = fileURLToPath(new URL('knock/knock.c', import.meta.url));
    await run('gcc', ['-O2', '-static', '-o', join(context, 'knock'), source]);
    await writeFile(join(context, 'Dockerfile'), 'FROM bulkhead/busybox:1\nCOPY knock /knock\n');
    await harness.docker('build', '--quiet', '--tag', 'knock:1', context);
  } finally {
    await rm(context, { recursive: true, force: true });
  }
  await harness.docker(
    'network',
    'create',
    '-d',
    'bulkhead',
    '--ipam-driver',
    'bulkhead',
    '--subnet',
    '10.77.0.0/16',
    'front',
  );
  await harness.docker(
    'run',
    '-d',
    '--name',
    'target',
    '--network',
    'front',
    '--label',
    'bulkhead.open=yes',
    'bulkhead/busybox:1',
    'sleep',
    '10000',
  );
  target = await harness.docker('inspect', '-f', '{{.NetworkSettings.Networks.front.IPAddress}}', 'target');
});
after(async () => {
  await harness?.[Symbol.asyncDispose]();
});

/** Packets for the port that arrive inside the target, since the call, as lines of tcpdump. */
async function capture(): Promise<{ readonly lines: readonly string[]; readonly stop: () => void }> {
  const pid = await harness.docker('inspect', '-f', '{{.State.Pid}}', 'target');
  const child = spawn('nsenter', ['-t', pid, '-n', 'tcpdump', '-nlp', '-i', 'eth0', `dst port ${port}`], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const lines: string[] = [];
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => lines.push(...chunk.split('\n').filter(Boolean)));
  await new Promise<void>((resolve) =>
    child.stderr.on('data', (chunk: Buffer) => String(chunk).includes('listening on') && resolve()),
  );
  return { lines, stop: () => void child.kill('SIGKILL') };
}

const knock = (...flags: readonly string[]) =>
  harness.docker(
    'run',
    '--rm',
    '--network',
    'front',
    ...flags,
    'knock:1',
    '/knock',
    target,
    String(port),
    String(knockMs),
  );

test('the capture sees what is allowed', async () => {
  const seen = await capture();
  await knock('--label', 'bulkhead.open=yes');
  await until('something arrives', () => Promise.resolve(seen.lines.length > 0));
  seen.stop();
});

test(`${starts} starts of a denied container: nothing arrives`, async () => {
  const seen = await capture();
  const before = (await harness.host!.snapshot()).counters;
  let left = starts;
  const worker = async () => {
    while (left-- > 0) await knock();
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  const counters = Object.fromEntries((await harness.host!.snapshot()).counters);
  const denied =
    counters['denied']! +
    counters['held']! -
    Object.fromEntries(before)['denied']! -
    Object.fromEntries(before)['held']!;
  assert.ok(denied > starts, `they did knock: ${denied} were held or denied`);
  assert.deepEqual(seen.lines, []);
  seen.stop();
});

test('restarted by the engine while the agent is killed and comes back: nothing arrives', async () => {
  const seen = await capture();
  await harness.docker(
    'run',
    '-d',
    '--name',
    'again',
    '--restart',
    'always',
    '--network',
    'front',
    'knock:1',
    '/knock',
    target,
    String(port),
    String(knockMs),
  );
  const restarts = async () => Number(await harness.docker('inspect', '-f', '{{.RestartCount}}', 'again'));
  for (let round = 0; round < 2; round++) {
    await harness.host!.stop('SIGKILL');
    await harness.startHost();
    await harness.docker('start', 'again');
    const count = await restarts();
    await until('it was restarted', async () => (await restarts()) > count, 60_000);
  }
  await harness.docker('rm', '-f', 'again');
  assert.deepEqual(seen.lines, []);
  seen.stop();
});
