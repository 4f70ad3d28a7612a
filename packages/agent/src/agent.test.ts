import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AgentFixture } from './testing/agent-fixture.ts';
import { policy, rule, segment } from './testing/documents.ts';

const web = segment('web', { app: 'web' });
const database = segment('database', { app: 'database' });

test('an endpoint is held, then governed as soon as its labels are known, and policy is enforced with a receipt', async () => {
  await using fixture = await AgentFixture.start();
  fixture.manager.apply(web, database, policy('app', rule('web-to-database', 'allow', 'web', 'database', 5432)));
  await fixture.attach('a', null, '10.0.0.1');
  await fixture.attach('b', { app: 'database' }, '10.0.0.2');
  assert.equal(await fixture.outcome('a', 'b', { port: 5432 }), 'held');
  fixture.bind('a', { app: 'web' });
  await fixture.clock.advance(10);
  assert.deepEqual(
    fixture.released.map(({ kind }) => kind),
    ['passed'],
    'the held packet was judged and went on',
  );
  assert.equal(await fixture.outcome('a', 'b', { port: 5432 }), 'allowed');
  assert.equal(await fixture.outcome('a', 'b', { port: 22 }), 'denied');
  assert.equal(await fixture.outcome('b', 'a', { port: 80 }), 'denied');
  const receipt = fixture.manager.receipts.at(-1)!;
  assert.equal(receipt.revision, fixture.manager.revision);
  assert.deepEqual(receipt.failed, []);
  assert.equal(receipt.endpoints, 2);
});
