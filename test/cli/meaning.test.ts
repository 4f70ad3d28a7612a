/** What documents mean before they are applied, and what they meant: the commands of that, as processes against a real manager. */
import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { stringify } from 'yaml';
import { ManagedCommandLine } from './managed-command-line.ts';

const named = (
  kind: string,
  name: string,
  spec: unknown,
  metadata: Readonly<Record<string, unknown>> = {},
): unknown => ({
  apiVersion: 'bulkhead.dev/v1',
  kind,
  metadata: { name, ...metadata },
  spec,
});
const segment = (name: string): unknown => named('Segment', name, { selector: { matchLabels: { app: name } } });
const policy = (name: string, port: number, labels: Readonly<Record<string, string>> = {}): unknown =>
  named(
    'Policy',
    name,
    {
      rules: [
        {
          ...{ name: 'in', action: 'allow', from: { segment: 'web' }, to: { segment: 'db' } },
          ports: [{ protocol: 'tcp', port }],
        },
      ],
    },
    { labels },
  );
const networkPolicy = {
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name: 'web', namespace: 'shop' },
  spec: { podSelector: {}, policyTypes: ['Ingress'] },
};

describe('the command line about meaning', { timeout: 300_000 }, () => {
  let line: ManagedCommandLine;
  before(async () => {
    line = await ManagedCommandLine.start();
    await apply('base.yaml', segment('web'), segment('db'), policy('p', 5432));
  });
  after(() => line[Symbol.asyncDispose]());

  async function write(name: string, ...documents: readonly unknown[]): Promise<string> {
    const file = join(line.directory, name);
    await mkdir(join(file, '..'), { recursive: true });
    await writeFile(file, documents.map((document) => `---\n${stringify(document)}`).join(''));
    return file;
  }
  /** Documents that are to be taken. */
  async function apply(file: string, ...documents: readonly unknown[]): Promise<void> {
    const ended = await line.run('apply', '-f', await write(file, ...documents));
    assert.equal(ended.code, 0, ended.err);
  }
  async function revision(): Promise<number> {
    return Number((await line.json('status'))['revision']);
  }

  test('a refused apply of several files changes nothing, and names file, document, path and what is allowed', async () => {
    const before = await revision();
    const folder = join(line.directory, 'several');
    await write('several/1-good.yaml', segment('other'));
    await write('several/2-bad.yaml', segment('third'), policy('bad', 70_000));
    await write(
      'several/3-dangling.yaml',
      named('Policy', 'dangling', { rules: [{ name: 'r', action: 'allow', to: { segment: 'dbb' } }] }),
    );
    const ended = await line.run('apply', '-f', folder);
    assert.equal(ended.code, 3);
    assert.match(ended.err, /2-bad\.yaml: Policy\/bad: spec\.rules\[0\]\.ports\[0\]\.port: .+\n +allowed: .*65535/);
    assert.equal(await revision(), before);
    await write('several/2-bad.yaml', segment('third'));
    const dangling = await line.run('apply', '-f', folder);
    assert.equal(dangling.code, 3);
    assert.match(
      dangling.err,
      /3-dangling\.yaml: Policy\/dangling: spec\.rules\[0\]\.to\.segment: .*did you mean "db"/,
    );
    assert.match(dangling.err, /allowed: .*db/);
    assert.equal(await revision(), before);
    assert.equal((await line.run('apply', '-f', folder, '--dry-run')).code, 3);
  });

  test('two applies at once: both are whole, and of two that expect one revision one is told', async () => {
    const files = await Promise.all([1, 2].map((port) => write(`at-once-${port}.yaml`, policy('p', port))));
    const ended = await Promise.all(files.map((file) => line.run('apply', '-f', file)));
    assert.deepEqual(
      ended.map(({ code }) => code),
      [0, 0],
    );
    const at = String(await revision());
    const raced = await Promise.all(
      files.map(async (_, index) => {
        const file = await write(`raced-${index}.yaml`, policy('p', 100 + index));
        return line.run('apply', '-f', file, '--expect-revision', at);
      }),
    );
    assert.deepEqual(
      raced.map(({ code }) => code).toSorted((a, b) => a - b),
      [0, 7],
      raced.map(({ err }) => err).join(),
    );
  });

  test('documents of any revision are read back, and explain goes by them', async () => {
    await apply('first.yaml', policy('p', 5432));
    const first = await revision();
    await apply('second.yaml', policy('p', 5433));
    const old = (await line.run('get', 'policy', 'p', '--revision', String(first))).out;
    assert.match(old, /port: 5432/);
    assert.match((await line.run('get', 'documents', '--revision', String(first), '-o', 'yaml')).out, /port: 5432/);
    const asked = ['explain', '--from', 'app=web', '--to', 'app=db', '--port', '5432'];
    assert.equal((await line.json(...asked))['action'], 'deny');
    assert.equal((await line.json(...asked, '--revision', String(first)))['action'], 'allow');
    const ahead = await line.run(...asked, '--revision', '9999');
    assert.equal(ahead.code, 6);
    assert.match(ahead.err, /no revision 9999 yet/);
  });

  test('explain takes hosts, names and named ports', async () => {
    await apply('numbered.yaml', policy('p', 5433));
    const outside = named('Policy', 'names', {
      rules: [
        { name: 'api', action: 'allow', applies: 'egress', from: { segment: 'web' }, to: { dns: '*.example.com' } },
      ],
    });
    await apply('names.yaml', outside);
    const asked = await line.json('explain', '--from', 'app=web', '--to', 'dns:api.example.com', '--port', '443');
    assert.equal(asked['action'], 'allow');
    assert.equal(
      (await line.json('explain', '--from', 'app=web', '--to', 'dns:example.com', '--port', '443'))['action'],
      'deny',
    );
    const named5433 = ['explain', '--from', 'app=web', '--to', 'app=db,ports.bulkhead.dev/pg=tcp-5433', '--port', 'pg'];
    assert.deepEqual(
      [(await line.json(...named5433))['action'], (await line.json(...named5433))['port']],
      ['allow', 5433],
    );
    const missing = await line.run('explain', '--from', 'app=web', '--to', 'app=db', '--port', 'pg');
    assert.equal(missing.code, 6);
    assert.equal((await line.json('explain', '--from', 'app=web', '--to', 'host', '--port', '22'))['action'], 'deny');
    assert.equal((await line.run('explain', '--from', 'host:nobody', '--to', 'app=db')).code, 6);
    assert.equal((await line.run('explain', '--flow', 'none')).code, 6);
  });

  test('diff in meaning: 0 when nothing changes, 1 with the connections when something does', async () => {
    await apply('start.yaml', policy('p', 5433));
    const file = await write('meaning.yaml', policy('p', 5434));
    const ended = await line.run('diff', '--semantic', '-f', file);
    assert.equal(ended.code, 1);
    assert.match(ended.out, /5434/);
    assert.match(ended.out, /5433/);
    const value = JSON.parse((await line.run('diff', '--semantic', '-f', file, '-o', 'json')).out) as {
      readonly groups: readonly {
        readonly kind: string;
        readonly ports: { readonly spans: readonly { readonly from: number }[] };
      }[];
    };
    assert.deepEqual(value.groups.map(({ kind, ports }) => [kind, ports.spans[0]?.from]).toSorted(), [
      ['gained', 5434],
      ['lost', 5433],
    ]);
    const same = await write('same.yaml', policy('p', 5433, { note: 'x' }));
    assert.equal((await line.run('diff', '--semantic', '-f', same)).code, 0);
    assert.equal((await line.run('diff', '-f', same)).code, 1);
    const before = await revision();
    await apply('meaning.yaml', policy('p', 5434));
    assert.equal((await line.run('diff', '--semantic', '--from', String(before))).code, 1);
    assert.equal((await line.run('diff', '--semantic', '--from', String(before), '--to', String(before))).code, 0);
    assert.equal((await line.run('diff', '--from', '1')).code, 2);
    const byName = named('Policy', 'by-name', {
      rules: [{ name: 'r', action: 'allow', applies: 'egress', from: { segment: 'db' }, to: { dns: '*.backup.test' } }],
    });
    const difference = await line.run('diff', '--semantic', '-f', await write('by-name.yaml', byName));
    assert.equal(difference.code, 1, difference.err);
    assert.match(difference.out, /backup\.test/);
  });

  test('invariants: refused with a witness, proven line by line', async () => {
    const apart = named('Invariant', 'apart', { never: { from: { segment: 'db' }, to: { segment: 'web' } } });
    await apply('apart.yaml', apart);
    const proof = await line.run('prove');
    assert.equal(proof.code, 0, proof.err);
    assert.match(proof.out, /apart \(never\): holds[^]*1\. /);
    const back = named('Policy', 'back', {
      rules: [{ name: 'r', action: 'allow', from: { segment: 'db' }, to: { segment: 'web' } }],
    });
    const file = await write('back.yaml', back);
    const refused = await line.run('apply', '-f', file);
    assert.equal(refused.code, 3);
    assert.match(refused.err, /Invariant\/apart: spec\.never: [^]*application\/back\/r/);
    assert.equal((await line.run('prove', '-f', file)).code, 1);
    assert.equal((await line.run('prove', 'nothing')).code, 6);
    assert.equal((await line.run('get', 'invariants', '-o', 'name')).out.trim(), 'Invariant/apart');
  });

  test('simulate and recommend say so when nothing was recorded', async () => {
    const simulated = await line.json('simulate', '-f', await write('sim.yaml', policy('p', 1)), '--since', '1h');
    assert.deepEqual([simulated['flows'], simulated['changed']], [0, 0]);
    const recommended = await line.run('recommend', '--segment', 'db', '--from-flows', '1h');
    assert.equal(recommended.code, 0, recommended.err);
    assert.equal((await line.run('recommend', '--segment', 'nowhere')).code, 6);
  });

  test('documents of Kubernetes by namespace', async () => {
    const namespace = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } };
    await apply('shop.yaml', namespace, networkPolicy);
    assert.equal((await line.run('get', 'netpol', '-o', 'name')).out.trim(), 'NetworkPolicy/shop/web');
    assert.equal((await line.run('get', 'netpol', '-n', 'shop', '-o', 'name')).out.trim(), 'NetworkPolicy/shop/web');
    assert.equal((await line.run('get', 'netpol', '-n', 'other', '-o', 'name')).out.trim(), '');
    assert.match((await line.run('describe', 'netpol', 'web', '-n', 'shop')).out, /podSelector/);
    assert.match((await line.run('get', 'networkpolicy', 'shop/web')).out, /podSelector/);
    const asked = await line.json(
      'explain',
      '--from',
      'app=x',
      '--to',
      'io.kubernetes.pod.namespace=shop',
      '--port',
      '80',
    );
    assert.match(JSON.stringify(asked['ingress']), /NetworkPolicy:shop\/web/);
    const without = { ...networkPolicy, spec: { ...networkPolicy.spec, policyTypes: ['Egress'] } };
    assert.equal((await line.run('diff', '-f', await write('without.yaml', without))).code, 1);
    assert.equal((await line.run('delete', 'netpol', 'web')).code, 6);
    assert.equal((await line.run('delete', 'netpol', 'web', '-n', 'shop')).code, 0);
  });

  test('prune removes what its labels select and nothing else', async () => {
    const labels = { team: 'a' };
    await apply('prune/1.yaml', policy('kept', 1, labels), policy('gone', 2, labels));
    const folder = join(line.directory, 'prune');
    await write('prune/1.yaml', policy('kept', 1, labels));
    assert.equal((await line.run('apply', '-f', folder, '--prune')).code, 2);
    const dry = await line.run('apply', '-f', folder, '--prune', '-l', 'team=a', '--dry-run');
    assert.match(dry.out, /Policy\/gone removed/);
    assert.equal((await line.run('apply', '-f', folder, '--prune', '-l', 'team=a')).code, 0);
    const names = (await line.run('get', 'policies', '-o', 'name')).out;
    assert.match(names, /Policy\/kept/);
    assert.match(names, /Policy\/p$/m);
    assert.doesNotMatch(names, /Policy\/gone/);
  });

  test('schemas need no manager', async () => {
    const offline = { BULKHEAD_SERVER: 'unix:///nowhere' };
    const ended = await line.runWith(offline, 'schema', 'netpol');
    assert.equal(ended.code, 0, ended.err);
    assert.match((JSON.parse(ended.out) as { readonly title: string }).title, /NetworkPolicy/);
    assert.equal((await line.runWith(offline, 'schema', 'nonsense')).code, 2);
    assert.ok(JSON.parse((await line.runWith(offline, 'schema')).out));
  });

  test('a viewer may ask all of this and apply nothing', async () => {
    const made = await line.run('token', 'create', 'viewer', '--role', 'viewer');
    const viewer = { BULKHEAD_TOKEN: made.out.trim() };
    const file = await write('viewer.yaml', policy('p', 1));
    for (const words of [
      ['diff', '--semantic', '-f', file],
      ['simulate', '-f', file],
      ['prove'],
      ['recommend'],
      ['explain', '--from', 'app=web', '--to', 'app=db', '--revision', '1'],
      ['get', 'documents', '--revision', '2'],
    ]) {
      const ended = await line.runWith(viewer, ...words);
      assert.ok(ended.code <= 1, `${words.join(' ')}: ${ended.code} ${ended.err}`);
    }
    assert.equal((await line.runWith(viewer, 'apply', '-f', file)).code, 4);
  });
});
