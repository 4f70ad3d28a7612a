import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { managerFixture } from '../testing/manager-fixture.ts';
import { workloadReport } from '../testing/link-fixture.ts';
import { makeAgentKeys } from '../testing/agent-client.ts';
import { managerItself } from './invariant-watch.ts';
import type { ManagerFixture } from '../testing/manager-fixture.ts';

const document = (kind: string, name: string, spec: unknown): unknown => ({
  apiVersion: 'bulkhead.dev/v1',
  kind,
  metadata: { name },
  spec,
});
const segment = (name: string) => document('Segment', name, { selector: { matchLabels: { app: name } } });
const allow = (name: string, from: string, to: string) =>
  document('Policy', name, { rules: [{ name: 'r', action: 'allow', from: { segment: from }, to: { segment: to } }] });
const apart = document('Invariant', 'apart', { neverReaches: { from: { segment: 'web' }, to: { segment: 'vault' } } });

suite('invariants at an apply', () => {
  let fixture: ManagerFixture;
  before(async () => {
    fixture = await managerFixture();
    const { core } = fixture.manager;
    const created = await core.enrolment.createToken('person/test', { host: 'h1', labelsAllowed: null, forMs: 60_000 });
    const { request } = await makeAgentKeys('h1');
    await core.enrolment.enrol('h1', { id: created!.token.id, secret: created!.secret }, request);
    await apply(segment('web'), segment('middle'), segment('vault'), segment('other'), apart);
  });
  after(() => fixture[Symbol.asyncDispose]());

  const apply = (...values: readonly unknown[]) =>
    fixture.admin.applyDocuments({ body: { documents: values.map((value) => ({ value })) } });
  const revision = async () => {
    const status = await fixture.admin.getStatus();
    assert.ok(status.kind === 'ok');
    return status.value.revision;
  };

  test('one that would be broken refuses the whole apply with its witness, and nothing changes', async () => {
    const before = await revision();
    const refused = await apply(allow('direct', 'web', 'vault'), allow('harmless', 'web', 'other'));
    assert.ok(refused.kind === 'error' && refused.error.code === 'refused', JSON.stringify(refused));
    const [problem] = refused.error.problems ?? [];
    assert.equal(problem?.document, 'Invariant/apart');
    assert.match(problem?.reason ?? '', /application\/direct\/r/);
    assert.equal(await revision(), before);
  });

  test('two applies at once cannot break together what neither breaks alone', async () => {
    await report('web', 'middle', 'vault');
    for (let round = 0; round < 4; round += 1) {
      const results = await Promise.all([
        apply(allow('first', 'web', 'middle')),
        apply(allow('second', 'middle', 'vault')),
      ]);
      assert.deepEqual(results.map(({ kind }) => kind).toSorted(), ['error', 'ok'], JSON.stringify(results));
      const proof = await fixture.admin.prove({ body: {} });
      assert.ok(proof.kind === 'ok');
      assert.deepEqual(
        proof.value.results.map(({ name, outcome }) => [name, outcome.kind]),
        [['apart', 'holds']],
      );
      const kept = results[0]!.kind === 'ok' ? 'first' : 'second';
      await fixture.admin.deleteDocument({ params: { kind: 'Policy', name: kept } });
    }
  });

  test('a workload that breaks one is told as a divergence, and as over when it has gone', async () => {
    await report('web', 'vault');
    const both = await apply(allow('first', 'web', 'middle'), allow('second', 'middle', 'vault'));
    assert.equal(both.kind, 'ok', 'nobody who could pass anything on is there');
    await report('web', 'vault', 'middle');
    const [record] = await divergences(1);
    assert.match(record?.observed ?? '', /apart.*broken[^]*middle/);
    const cure = await apply(allow('harmless', 'web', 'other'));
    assert.equal(cure.kind, 'ok', 'what is broken already keeps no other change away');
    await report('web', 'vault');
    await divergences(0);
  });

  async function report(...apps: readonly string[]): Promise<void> {
    const set = apps.map((app) => workloadReport(`h1/docker/${app}`, { labels: { app } }));
    await fixture.manager.core.inventory.report('h1', { full: true, set, removed: [] });
  }

  /** Waits until so many are open. */
  async function divergences(count: number) {
    const deadline = Date.now() + 20_000;
    for (;;) {
      const listed = await fixture.admin.listDivergences({ query: { host: managerItself } });
      assert.ok(listed.kind === 'ok');
      if (listed.value.items.length === count) return listed.value.items;
      assert.ok(Date.now() < deadline, `${listed.value.items.length} divergences, not ${count}`);
      await delay(50);
    }
  }
});
