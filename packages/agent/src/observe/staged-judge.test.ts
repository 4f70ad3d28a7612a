import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AgentFixture } from '../testing/agent-fixture.ts';
import { policy, rule, segment } from '../testing/documents.ts';

test('a staged policy is told with the flows that it would change, and changes none', async () => {
  await using fixture = await AgentFixture.start();
  const staged = (...rules: Parameters<typeof rule>[]): Record<string, unknown> => {
    const document = policy('strict', ...rules.map((each) => rule(...each)));
    return { ...document, spec: { ...(document['spec'] as object), mode: 'staged' } };
  };
  fixture.manager.apply(
    segment('web', { app: 'web' }),
    segment('database', { app: 'database' }),
    policy('app', rule('query', 'allow', 'web', 'database', 5432), rule('admin', 'allow', 'web', 'database', 22)),
    staged(['no-admin', 'deny', 'web', 'database', 22], ['metrics', 'allow', 'web', 'database', 9100]),
  );
  await fixture.attach('a', { app: 'web' }, '10.0.0.1');
  await fixture.attach('b', { app: 'database' }, '10.0.0.2');
  const outcomes: unknown[] = [];
  for (const port of [5432, 22, 9100, 80]) outcomes.push(await fixture.outcome('a', 'b', { port }));
  assert.deepEqual(outcomes, ['allowed', 'allowed', 'denied', 'denied'], 'only what is enforced counts');
  await fixture.clock.advance(5_000);
  const told = new Map(fixture.manager.flows.map(({ destination, staged: found }) => [destination.port, found]));
  assert.equal(told.get(5432), null);
  assert.equal(told.get(80), null);
  const reasonOf = (name: string): string => `application/strict/${name}`;
  assert.deepEqual(told.get(22), {
    verdict: 'deny',
    egressReason: reasonOf('no-admin'),
    ingressReason: reasonOf('no-admin'),
  });
  assert.deepEqual(told.get(9100), {
    verdict: 'allow',
    egressReason: reasonOf('metrics'),
    ingressReason: reasonOf('metrics'),
  });
  fixture.manager.apply({
    ...staged(['no-admin', 'deny', 'web', 'database', 22]),
    spec: { tier: 'application', rules: [rule('no-admin', 'deny', 'web', 'database', 22)] },
  });
  assert.equal(await fixture.outcome('a', 'b', { port: 22 }), 'denied', 'enforced now');
  await fixture.clock.advance(5_000);
  const { staged: last, verdict } = fixture.manager.flows.findLast(({ destination }) => destination.port === 22)!;
  assert.deepEqual([last, verdict], [null, 'deny']);
});
