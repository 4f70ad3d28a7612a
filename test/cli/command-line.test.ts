/** The `bulkhead` command as a process, against a real manager as a process. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { bulkhead, ManagedCommandLine, type Ended } from './managed-command-line.ts';

const floor = fileURLToPath(new URL('../../examples/trading-floor/policy', import.meta.url));

describe('the command line', { timeout: 120_000 }, () => {
  let line: ManagedCommandLine;
  let directory = '';
  let environment: NodeJS.ProcessEnv = {};

  before(async () => {
    line = await ManagedCommandLine.start();
    ({ directory, environment } = line);
  });
  after(() => line[Symbol.asyncDispose]());

  const runWith = (extra: NodeJS.ProcessEnv, ...args: readonly string[]): Promise<Ended> =>
    line.runWith(extra, ...args);
  const run = (...args: readonly string[]): Promise<Ended> => line.run(...args);
  const json = (...args: readonly string[]): Promise<Record<string, unknown>> => line.json(...args);
  const names = async (kind: string): Promise<readonly string[]> =>
    (await run('get', kind, '-o', 'name')).out.trim().split('\n').toSorted();

  test('a dry run changes nothing, an apply everything at once', async () => {
    const dry = await json('apply', '-f', floor, '--dry-run');
    assert.equal(dry['dryRun'], true);
    assert.deepEqual(await names('policies'), ['']);
    const applied = await json('apply', '-f', floor, '--wait');
    assert.ok((applied['changes'] as readonly unknown[]).length >= 14);
    assert.deepEqual(await names('policies'), [
      'Policy/floor',
      'Policy/orders',
      'Policy/payments',
      'Policy/signals-apart',
    ]);
    const again = await json('apply', '-f', floor);
    assert.ok(
      (again['changes'] as readonly { readonly change: string }[]).every((change) => change.change === 'unchanged'),
    );
  });

  test('a wrong document is refused whole, with its path, and exit code 3', async () => {
    const file = join(directory, 'wrong.yaml');
    const text = await readFile(join(floor, '30-floor.yaml'), 'utf8');
    await writeFile(file, text.replace('port: 8080', 'port: 80808').replace('name: floor', 'name: other'));
    const ended = await run('apply', '-f', file);
    assert.equal(ended.code, 3);
    assert.match(ended.err, /wrong\.yaml: Policy\/other: spec\.rules\[0\]\.ports\[0\]\.port/);
    assert.ok(!(await names('policies')).includes('Policy/other'));
  });

  test('a file that is no YAML never reaches the manager', async () => {
    const file = join(directory, 'broken.yaml');
    await writeFile(file, 'kind: [1\n');
    const ended = await run('apply', '-f', file);
    assert.equal(ended.code, 3);
    assert.match(ended.err, /broken\.yaml:\d+:\d+/);
  });

  test('diff shows the lines, and tells a pipeline', async () => {
    const file = join(directory, 'changed.yaml');
    await writeFile(file, (await readFile(join(floor, '30-floor.yaml'), 'utf8')).replace('port: 8080', 'port: 8081'));
    const ended = await run('diff', '-f', file);
    assert.equal(ended.code, 1);
    assert.match(ended.out, /^- +port: 8080$/m);
    assert.match(ended.out, /^\+ +port: 8081$/m);
    assert.equal((await run('diff', '-f', floor)).code, 0);
  });

  test('explain says the verdict and the rule', async () => {
    const denied = await json('explain', '--from', 'app=web', '--to', 'app=orders', '--port', '5432');
    assert.equal(denied['action'], 'deny');
    const asked = await json('explain', '--from', 'app=trading-desk', '--to', 'app=orders', '--port', '5432');
    assert.equal(asked['action'], 'ask');
    assert.match(JSON.stringify(asked), /application\/orders\/desk-to-orders/);
  });

  test('what others refer to is not removed', async () => {
    const ended = await run('delete', 'segment', 'web');
    assert.equal(ended.code, 3);
    assert.match(ended.err, /there is no segment "web"/);
    assert.ok((await names('segments')).includes('Segment/web'));
  });

  test('lists of every kind are objects with items', async () => {
    for (const kind of [
      'workloads',
      'hosts',
      'segments',
      'policies',
      'tiers',
      'identities',
      'flows',
      'questions',
      'divergences',
      'revisions',
      'audit',
      'tokens',
      'enrolments',
    ])
      assert.ok(Array.isArray((await json('get', kind))['items']), kind);
  });

  test('a viewer reads and changes nothing, with exit code 4', async () => {
    const made = await run('token', 'create', 'viewer', '--role', 'viewer');
    const viewer = { BULKHEAD_TOKEN: made.out.trim() };
    assert.equal((await runWith(viewer, 'get', 'policies')).code, 0);
    assert.equal((await runWith(viewer, 'apply', '-f', floor)).code, 4);
    assert.equal((await runWith(viewer, 'off', '--because', 'x', '--yes')).code, 4);
    assert.equal((await runWith({ BULKHEAD_TOKEN: 'wrong' }, 'status')).code, 4);
  });

  test('the switch is explicit, shown, and taken back', async () => {
    assert.equal((await run('off', '--because', 'test')).code, 2);
    assert.equal((await run('off', '--because', 'a test', '--yes')).code, 0);
    assert.match((await run('status')).out, /OFF since .* by person\/admin: a test/);
    assert.equal((await run('on')).code, 0);
    assert.match((await run('status')).out, /Enforcement: +on/);
  });

  test('the audit log is exported and verified without the manager', async () => {
    const [log, key, heads] = ['audit.log', 'key.pem', 'heads'].map((name) => join(directory, name)) as [
      string,
      string,
      string,
    ];
    assert.equal((await run('audit', 'key', key, heads)).code, 0);
    await writeFile(log, (await run('audit', 'export')).out);
    const offline = { BULKHEAD_SERVER: 'unix:///nowhere' };
    assert.equal((await runWith(offline, 'audit', 'verify', log, '--key', key, '--witness', heads)).code, 0);
    await writeFile(log, (await readFile(log, 'utf8')).replace('person/admin', 'person/other'));
    const ended = await runWith(offline, 'audit', 'verify', log, '--key', key);
    assert.equal(ended.code, 1);
    assert.match(ended.err, /line \d+ was changed/);
  });

  test('what is not there has codes of its own', async () => {
    assert.equal((await run('describe', 'workload', 'nobody')).code, 6);
    assert.equal((await run('approve', 'nobody:1')).code, 6);
    assert.equal((await run('approve', 'only')).code, 7);
    assert.equal((await run('get', 'nonsense')).code, 2);
    assert.equal((await run('flows', '--port', 'many')).code, 2);
    assert.equal((await run('nonsense')).code, 2);
    const nowhere = await runWith({ BULKHEAD_SERVER: 'unix:///nowhere/api.sock' }, 'status');
    assert.equal(nowhere.code, 5);
    assert.match(nowhere.err, /bulkhead up/);
  });

  test('names are completed from the manager', async () => {
    const offers = await run('__complete', '--', 'describe', 'policy', 'o');
    assert.deepEqual(offers.out.trim().split('\n'), ['orders']);
    assert.match((await run('completion', 'bash')).out, /complete -F _bulkhead bulkhead/);
  });

  test('a watch ends well when it is interrupted', async () => {
    const watching = spawn(bulkhead, ['questions', '-f', '-o', 'json'], {
      env: environment,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const ended = once(watching, 'exit');
    // Its handler is there once it has begun; until then the signal ends it the hard way. Asked again until it has gone.
    const again = setInterval(() => watching.kill('SIGINT'), 300);
    const [code, signal] = (await ended) as [number | null, string | null];
    clearInterval(again);
    assert.ok(code === 0 || signal === 'SIGINT', `exit ${code}, signal ${signal}`);
  });
});
