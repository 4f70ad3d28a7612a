import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openCore } from '../core.ts';
import { approverRoles } from './approvers.ts';
import { documentBytesMax } from './apply-request.ts';
import { defaultLifetimes } from '../hosts/authority.ts';
import { makeAgentKeys } from '../testing/agent-client.ts';
import { workloadReport } from '../testing/link-fixture.ts';
import type { Actor } from '../services.ts';
import type { Core } from '../core.ts';

const author: Actor = { name: 'ann', role: 'author', scope: null };

async function withCore(body: (core: Core, reopen: () => Promise<Core>) => Promise<void>): Promise<void> {
  const dataDirectory = mkdtempSync(join(tmpdir(), 'bulkhead-policies-'));
  const open = () => openCore({ dataDirectory, nowMs: Date.now, lifetimes: defaultLifetimes, onFault: assert.ifError });
  let core = await open();
  try {
    await body(core, async () => {
      await core[Symbol.asyncDispose]();
      core = await open();
      return core;
    });
  } finally {
    await core[Symbol.asyncDispose]();
    rmSync(dataDirectory, { recursive: true });
  }
}

function segment(name: string, matchLabels: Record<string, string>) {
  return { apiVersion: 'bulkhead.dev/v1', kind: 'Segment', metadata: { name }, spec: { selector: { matchLabels } } };
}

const networkPolicy = (ingress: readonly unknown[]) => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name: 'n', namespace: 'shop' },
  spec: { podSelector: {}, policyTypes: ['Ingress'], ingress },
});

function policy(name: string, rule: Record<string, unknown>, tier?: string) {
  const spec = { rules: [{ name: 'r', action: 'allow', ...rule }], ...(tier === undefined ? {} : { tier }) };
  return { apiVersion: 'bulkhead.dev/v1', kind: 'Policy', metadata: { name }, spec };
}

function apply(
  core: Core,
  values: readonly unknown[],
  options: { removed?: { kind: string; name: string }[]; dryRun?: boolean; force?: boolean; actor?: Actor } = {},
) {
  const { removed = [], dryRun = false, force = false, actor = author } = options;
  return core.policies.apply(actor, `person/${actor.name}`, {
    documents: values.map((value) => ({ value })),
    removed,
    dryRun,
    force,
  });
}

async function enrol(core: Core, host: string): Promise<void> {
  const created = await core.enrolment.createToken('person/test', { host, labelsAllowed: null, forMs: 60_000 });
  const { request } = await makeAgentKeys(host);
  await core.enrolment.enrol(host, { id: created!.token.id, secret: created!.secret }, request);
}

test('all or nothing, with every problem by its path', async () => {
  await withCore(async (core) => {
    const before = core.committer.state.revision;
    const result = await apply(core, [
      segment('good', { app: 'a' }),
      { ...segment('bad', { app: 'a' }), spec: { selectr: {} } },
      policy('dangling', { from: { segment: 'nowhere' }, to: { any: true } }),
    ]);
    assert.ok(result.kind === 'refused');
    assert.ok(result.problems.some((problem) => problem.document === 'Segment/bad' && problem.path.startsWith('spec')));
    assert.equal(core.committer.state.revision, before);
    const dangling = await apply(core, [
      segment('good', { app: 'a' }),
      policy('dangling', { from: { segment: 'god' }, to: { any: true } }),
    ]);
    assert.ok(dangling.kind === 'refused');
    assert.match(dangling.problems[0]?.path ?? '', /rules\[0\]\.from/);
    assert.equal(core.committer.state.documents.entries.size, 0);
  });
});

test('a document that would not fit a frame is refused', async () => {
  await withCore(async (core) => {
    const peers = Array.from({ length: 900 }, (_, i) => ({ cidr: `10.0.${i >> 8}.${i & 255}/32` }));
    const rules = Array.from({ length: 100 }, (_, i) => ({
      name: `r${i}`,
      action: 'allow',
      from: peers,
      to: { any: true },
    }));
    const large = { ...policy('large', {}), spec: { rules } };
    assert.ok(JSON.stringify(large).length > documentBytesMax);
    const result = await apply(core, [large]);
    assert.ok(result.kind === 'refused' && /larger than/.test(result.problems[0]?.reason ?? ''));
  });
});

test('a dry run says the same and does nothing; an unchanged apply makes no revision; the set outlives a restart', async () => {
  await withCore(async (core, reopen) => {
    const documents = [
      segment('web', { app: 'web' }),
      policy('p', { from: { segment: 'web' }, to: { segment: 'web' } }),
    ];
    const dry = await apply(core, documents, { dryRun: true });
    assert.deepEqual(dry.kind === 'applied' && dry.changes.map(({ change }) => change), ['created', 'created']);
    assert.equal(core.policies.policySet().segments.size, 0);
    const first = await apply(core, documents);
    const again = await apply(core, documents);
    assert.ok(first.kind === 'applied' && again.kind === 'applied');
    assert.deepEqual(
      again.changes.map(({ change }) => change),
      ['unchanged', 'unchanged'],
    );
    assert.equal(again.revision, first.revision);
    const reopened = await reopen();
    assert.deepEqual([...reopened.policies.policySet().segments.keys()], ['web']);
    const removed = await apply(reopened, [], { removed: [{ kind: 'Segment', name: 'web' }] });
    assert.equal(removed.kind, 'refused', 'a policy still refers to it');
    const both = await apply(reopened, [], {
      removed: [
        { kind: 'Segment', name: 'web' },
        { kind: 'Policy', name: 'p' },
      ],
    });
    assert.equal(both.kind, 'applied');
    const none = await apply(reopened, [], { removed: [{ kind: 'Segment', name: 'web' }] });
    assert.equal(none.kind, 'refused');
  });
});

test('of two applies at once the second is judged against what the first made', async () => {
  await withCore(async (core) => {
    await apply(core, [segment('a', { app: 'a' })]);
    const [removal, use] = await Promise.all([
      apply(core, [], { removed: [{ kind: 'Segment', name: 'a' }] }),
      apply(core, [policy('p', { from: { segment: 'a' }, to: { any: true } })]),
    ]);
    assert.deepEqual([removal.kind, use.kind], ['applied', 'refused']);
    const many = await Promise.all(
      Array.from({ length: 20 }, (_, i) => apply(core, [segment(`s${i}`, { app: `s${i}` })])),
    );
    const revisions = many.map((result) => (result.kind === 'applied' ? result.revision : 0));
    assert.equal(new Set(revisions).size, 20);
    assert.equal(core.policies.policySet().segments.size, 20);
  });
});

test('documents decide which labels make identities, in the same revision', async () => {
  await withCore(async (core) => {
    await enrol(core, 'h1');
    const set = ['a', 'b'].map((name, i) =>
      workloadReport(`h1/docker/${name}`, {
        labels: { app: 'web', zone: name },
        imageDigest: `sha256:${String(i).repeat(64)}`,
      }),
    );
    await core.inventory.report('h1', { full: true, set, removed: [] });
    const identities = () => [...core.committer.state.inventory.workloads.values()].map((entry) => entry.identity);
    assert.equal(new Set(identities()).size, 1, 'no document reads a label yet');
    const applied = await apply(core, [segment('zone-a', { zone: 'a' })]);
    assert.ok(applied.kind === 'applied');
    assert.equal(applied.relabelled, 2);
    assert.equal(new Set(identities()).size, 2);
    assert.equal(core.committer.state.desiredRevision, applied.revision, 'split in the same batch');
    await apply(core, [], { removed: [{ kind: 'Segment', name: 'zone-a' }] });
    assert.equal(new Set(identities()).size, 1);
    const bound = {
      ...segment('bound', { app: 'web' }),
      spec: { selector: { matchLabels: { app: 'web' } }, bind: { images: [`sha256:${'0'.repeat(64)}`] } },
    };
    assert.equal((await apply(core, [bound])).kind, 'applied');
    assert.equal(new Set(identities()).size, 2, 'a fact that a segment is bound to counts too');
    assert.deepEqual(core.inventory.workload('h1/docker/a')?.segments, ['bound']);
    assert.deepEqual(core.inventory.workload('h1/docker/b')?.segments, []);
  });
});

test('networks of Kubernetes tell workloads apart by their addresses', async () => {
  await withCore(async (core) => {
    await enrol(core, 'h1');
    const at = (name: string, address: string) =>
      workloadReport(`h1/docker/${name}`, {
        endpoints: [{ endpoint: name, network: 'n', mac: '02:00:00:00:00:01', addresses: [address] }],
      });
    const set = [at('inside', '10.1.0.5'), at('outside', '10.2.0.5')];
    await core.inventory.report('h1', { full: true, set, removed: [] });
    const identity = (name: string) => core.inventory.workload(`h1/docker/${name}`)!.identity;
    assert.equal(identity('inside'), identity('outside'));
    const applied = await apply(core, [networkPolicy([{ from: [{ ipBlock: { cidr: '10.1.0.0/16' } }] }])]);
    assert.ok(applied.kind === 'applied', JSON.stringify(applied));
    assert.notEqual(identity('inside'), identity('outside'));
    const { labels } = core.inventory.workload('h1/docker/inside')!;
    assert.equal(labels['bulkhead.dev/in-10.1.0.0_16'], 'true', 'and what is recorded of it says so');
    await core.inventory.report('h1', { full: false, set: [at('later', '10.1.0.9')], removed: [] });
    assert.equal(identity('later'), identity('inside'));
  });
});

test('identities that nobody has are released after their grace, and not before', async () => {
  await withCore(async (core) => {
    await enrol(core, 'h1');
    await core.inventory.report('h1', { full: true, set: [workloadReport('h1/docker/a')], removed: [] });
    await core.inventory.report('h1', { full: true, set: [], removed: [] });
    assert.equal(await core.inventory.sweep(1_000_000), 0);
    assert.equal(await core.inventory.sweep(1_000_000 + 599_000), 0);
    assert.equal(await core.inventory.sweep(1_000_000 + 601_000), 1);
    assert.equal(core.committer.state.inventory.identities.size, 0);
  });
});

test('an author with a scope speaks for the workloads of that scope only', async () => {
  await withCore(async (core) => {
    await apply(core, [segment('web', { app: 'web' }), segment('db', { app: 'db' })]);
    const scoped: Actor = { name: 'sam', role: 'author', scope: ['web'] };
    const attempt = async (value: unknown) => (await apply(core, [value], { actor: scoped, dryRun: true })).kind;
    const web = { segment: 'web' };
    assert.equal(await attempt(policy('p', { from: web, to: web })), 'applied');
    assert.equal(await attempt(policy('p', { from: web, to: { segment: 'db' } })), 'out-of-scope');
    assert.equal(await attempt(policy('p', { from: web, to: { segment: 'db' }, applies: 'egress' })), 'applied');
    assert.equal(await attempt(policy('p', { from: web, to: { segment: 'db' }, applies: 'ingress' })), 'out-of-scope');
    assert.equal(await attempt(policy('p', { from: web, to: { cidr: '10.0.0.0/8' } })), 'applied');
    assert.equal(await attempt(policy('p', { from: { any: true }, to: web })), 'out-of-scope');
    assert.equal(await attempt(policy('p', { to: web })), 'out-of-scope', 'an end left out is everybody');
    assert.equal(await attempt(policy('p', { from: [web, { selector: {} }], to: web })), 'out-of-scope');
    assert.equal(
      await attempt(policy('p', { from: web, to: web }, 'platform')),
      'out-of-scope',
      'not above the others',
    );
    assert.equal(await attempt(segment('web', {})), 'out-of-scope', 'a wider selector would widen the scope');
    await apply(core, [policy('theirs', { from: { segment: 'db' }, to: { segment: 'db' } })]);
    const overwrite = await apply(core, [policy('theirs', { from: web, to: web })], { actor: scoped });
    assert.equal(overwrite.kind, 'out-of-scope', 'another’s policy is not taken over by its name');
    const removal = await apply(core, [], { actor: scoped, removed: [{ kind: 'Policy', name: 'theirs' }] });
    assert.equal(removal.kind, 'out-of-scope');
    const host = { host: true };
    assert.equal(await attempt(policy('p', { from: web, to: host })), 'out-of-scope', 'hosts may be subjects too');
    assert.equal(await attempt(policy('p', { from: web, to: host, applies: 'egress' })), 'applied');
    assert.equal(await attempt(policy('p', { from: web, to: { dns: 'api.example.com' } })), 'applied');
    for (const value of [
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } },
      networkPolicy([]),
      { ...segment('apart', {}), kind: 'Invariant', spec: { never: { from: web, to: web } } },
    ])
      assert.equal(await attempt(value), 'out-of-scope', 'these select by more than segments');
  });
});

test('a rule asks a role that answers questions', async () => {
  await withCore(async (core) => {
    const asking = (by: string) =>
      apply(core, [
        segment('a', { app: 'a' }),
        policy('p', { action: 'ask', from: { segment: 'a' }, to: { any: true }, approve: { by, within: '1m' } }),
      ]);
    for (const by of ['operator', 'aprover']) {
      const result = await asking(by);
      assert.ok(result.kind === 'refused');
      assert.deepEqual(
        result.problems.map(({ path, document, allowed }) => [path, document, allowed]),
        [['spec.rules[0].approve.by', 'Policy/p', 'approver, administrator']],
      );
    }
    for (const by of approverRoles) assert.equal((await asking(by)).kind, 'applied');
  });
});

test('a segment that gives up the lock-out guard of its hosts is taken only from somebody who insists', async () => {
  await withCore(async (core) => {
    const machines = {
      apiVersion: 'bulkhead.dev/v1',
      kind: 'Segment',
      metadata: { name: 'machines' },
      spec: { hosts: { all: true }, lockOutGuard: false },
    };
    const refused = await apply(core, [machines]);
    assert.ok(refused.kind === 'refused');
    assert.deepEqual(
      refused.problems.map(({ path, document }) => [path, document]),
      [['spec.lockOutGuard', 'Segment/machines']],
    );
    assert.equal((await apply(core, [machines], { force: true })).kind, 'applied');
    assert.equal((await apply(core, [machines])).kind, 'applied', 'what is in force was insisted on before');
  });
});
