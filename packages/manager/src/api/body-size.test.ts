/** How much one request may carry. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rawRequest } from '../testing/api-transport.ts';
import { managerFixture } from '../testing/manager-fixture.ts';

test('a body that is too large is refused', async () => {
  await using fixture = await managerFixture();
  const address = fixture.address(await fixture.token('administrator'));
  const large = await rawRequest(address, {
    method: 'PUT',
    path: '/v1/enforcement',
    body: JSON.stringify({ on: false, because: 'x'.repeat(300_000) }),
  });
  assert.equal(large.status, 413);
  assert.equal(fixture.manager.core.committer.state.enforcement.on, true);
});

const segment = (name: string) => ({
  apiVersion: 'bulkhead.dev/v1',
  kind: 'Segment',
  metadata: { name },
  spec: { selector: { matchLabels: { app: name } } },
});

test('what may be applied may be compared, replayed and proved', async () => {
  await using fixture = await managerFixture();
  const documents = Array.from({ length: 1_000 }, (_, number) => ({
    value: { ...segment(`s${number}`), metadata: { name: `s${number}`, labels: { team: 'x'.repeat(63) } } },
    file: `${'folder/'.repeat(40)}${number}.yaml`,
  }));
  const body = { documents, removed: [] };
  assert.ok(JSON.stringify(body).length > 256 * 1024);
  const compared = await fixture.admin.diffDocuments({ body });
  const answers = [
    compared,
    await fixture.admin.diffMeaning({ body }),
    await fixture.admin.simulate({ body: { ...body, sinceMs: 0 } }),
    await fixture.admin.prove({ body }),
    await fixture.admin.applyDocuments({ body }),
  ];
  assert.deepEqual(
    answers.map(({ kind }) => kind),
    answers.map(() => 'ok'),
    JSON.stringify(answers).slice(0, 1_000),
  );
});
