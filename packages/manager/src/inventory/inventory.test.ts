import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { decodeAgentMessage, encodeAgentMessage } from '@bulkhead/protocol';
import { apply, linkFixture, segment, workloadReport } from '../testing/link-fixture.ts';
import { workloadsPerHostMax } from './inventory.ts';
import type { WorkloadReport } from '@bulkhead/protocol';

/** As it arrives: through a frame. */
function overTheWire(set: WorkloadReport[]): WorkloadReport[] {
  const decoded = decodeAgentMessage(encodeAgentMessage({ type: 'workloads', body: { full: true, set, removed: [] } }));
  assert.ok(decoded.kind === 'message' && decoded.message.type === 'workloads');
  return decoded.message.body.set;
}

const reports = () =>
  ['a', 'b', 'c'].map((name, index) =>
    workloadReport(`h1/docker/${name}`, {
      labels: { app: name, zone: 'x' },
      imageDigest: index === 0 ? null : `sha256:${'1'.repeat(64)}`,
      startedMs: 1_795_300_000_000.5,
      governance: index === 2 ? 'ungoverned' : 'governed',
      ungovernedBecause: index === 2 ? 'an interface that is not ours' : null,
      endpoints: [
        { endpoint: 'e', network: 'n', mac: '02:00:00:00:00:01', addresses: [`10.0.0.${index + 1}`, 'fe80::1'] },
      ],
    }),
  );

test('the same report again makes no revision, after a restart neither', async () => {
  const dataDirectory = mkdtempSync(join(tmpdir(), 'bulkhead-inventory-'));
  try {
    let revision: number;
    {
      await using fixture = await linkFixture({ dataDirectory });
      await apply(fixture, segment('a', { app: 'a' }));
      await fixture.enrol('h1');
      const { inventory, committer } = fixture.core;
      await inventory.report('h1', { full: true, set: overTheWire(reports()), removed: [] });
      ({ revision } = committer.state);
      await inventory.report('h1', { full: true, set: overTheWire(reports()), removed: [] });
      assert.equal(committer.state.revision, revision);
    }
    await using fixture = await linkFixture({ dataDirectory });
    const { inventory, committer } = fixture.core;
    await inventory.report('h1', { full: true, set: overTheWire(reports()), removed: [] });
    assert.equal(committer.state.revision, revision);
    const changed = reports().map((report) => ({ ...report, generation: report.name === 'b' ? 2 : 1 }));
    await inventory.report('h1', { full: false, set: changed, removed: [] });
    assert.equal(committer.state.revision, revision + 1);
    assert.equal(inventory.workload('h1/docker/b')?.generation, 2);
  } finally {
    rmSync(dataDirectory, { recursive: true });
  }
});

test('an ungoverned workload is seen, and has no identity and no part in the desired state', async () => {
  await using fixture = await linkFixture();
  await apply(fixture, segment('c', { app: 'c' }));
  await using agent = await fixture.connect(await fixture.enrol('h1'));
  agent.hello('h1');
  agent.send({ type: 'workloads', body: { full: true, set: reports(), removed: [] } });
  const desired = await agent.next('desired', (body) => body.workloads.length > 0);
  assert.deepEqual(desired.workloads.map((workload) => workload.name).toSorted(), ['a', 'b']);
  assert.equal(fixture.core.inventory.workload('h1/docker/c')?.identity, 0);
  const adopted = reports().map((report) => ({ ...report, governance: 'observed' as const }));
  agent.send({ type: 'workloads', body: { full: true, set: adopted, removed: [] } });
  const later = await agent.next('desired', (body) => body.workloads.some((workload) => workload.name === 'c'));
  assert.notEqual(later.workloads.find((workload) => workload.name === 'c')?.identity, 0);
});

test('a host has room for so many workloads and no more, and others have theirs', async () => {
  await using fixture = await linkFixture();
  await fixture.enrol('h1');
  await fixture.enrol('h2');
  const { inventory, committer } = fixture.core;
  const some = (host: string, from: number, count: number) =>
    Array.from({ length: count }, (_, index) => workloadReport(`${host}/docker/${from + index}`));
  await inventory.report('h1', { full: true, set: some('h1', 0, workloadsPerHostMax - 1), removed: [] });
  const problems = await inventory.report('h1', {
    full: false,
    set: some('h1', workloadsPerHostMax - 1, 3),
    removed: [],
  });
  assert.equal(committer.state.inventory.workloadsByHost.get('h1')?.size, workloadsPerHostMax);
  assert.equal(problems.length, 2);
  assert.match(problems[0]!, /more than \d+ workloads/);
  const swapped = { full: false, set: some('h1', workloadsPerHostMax, 1), removed: ['h1/docker/0'] };
  assert.deepEqual(await inventory.report('h1', swapped), [], 'one goes, one comes');
  assert.deepEqual(await inventory.report('h1', { full: false, set: some('h1', 7, 1), removed: [] }), []);
  assert.deepEqual(await inventory.report('h2', { full: true, set: some('h2', 0, 3), removed: [] }), []);
});
