import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AgentFixture } from './testing/agent-fixture.ts';
import { policy, rule, segment } from './testing/documents.ts';

const segments = [segment('web', { app: 'web' }), segment('database', { app: 'database' })];
const allowed = policy('app', rule('r', 'allow', 'web', 'database', 5432));

/** Rows that two workloads with one rule between them take, the ruleset of the closed included. */
async function rowsOfTwo(): Promise<number> {
  await using fixture = await AgentFixture.start();
  fixture.manager.apply(...segments, allowed);
  await fixture.attach('a', { app: 'web' }, '10.0.0.1');
  await fixture.attach('b', { app: 'database' }, '10.0.0.2');
  return fixture.kernel.maps.rows().length;
}

test('rules that do not fit deny, are named in the receipt, and come into force when there is room', async () => {
  await using fixture = await AgentFixture.start({ limits: { rowsMax: (await rowsOfTwo()) + 4 } });
  fixture.manager.apply(...segments, allowed);
  await fixture.attach('a', { app: 'web' }, '10.0.0.1');
  await fixture.attach('b', { app: 'database' }, '10.0.0.2');
  assert.equal(await fixture.outcome('a', 'b', { port: 5432 }), 'allowed');
  await fixture.attach('c', { app: 'web', extra: 'x' }, '10.0.0.3');
  await fixture.attach('d', { app: 'web', extra: 'y' }, '10.0.0.4');
  await fixture.clock.advance(10);
  assert.equal(await fixture.outcome('a', 'b', { port: 5432 }), 'allowed', 'the others proceed');
  const outcomes = [await fixture.outcome('c', 'b', { port: 5432 }), await fixture.outcome('d', 'b', { port: 5432 })];
  assert.ok(
    outcomes.some((outcome) => outcome !== 'allowed'),
    'one of the two does not fit',
  );
  assert.match(fixture.manager.receipts.at(-1)!.failed.join('\n'), /full/);
  await fixture.agent.registry.removeEndpoint('e-c');
  fixture.agent.registry.removeWorkload('h1/netns/c');
  await fixture.agent.registry.removeEndpoint('e-a');
  fixture.agent.registry.removeWorkload('h1/netns/a');
  await fixture.clock.advance(70_000);
  assert.equal(await fixture.outcome('d', 'b', { port: 5432 }), 'allowed');
  assert.deepEqual(fixture.manager.receipts.at(-1)!.failed, []);
});

test('a change of policy that does not fit beside the old one still takes place', async () => {
  await using fixture = await AgentFixture.start({ limits: { rowsMax: (await rowsOfTwo()) + 1 } });
  fixture.manager.apply(...segments, allowed);
  await fixture.attach('a', { app: 'web' }, '10.0.0.1');
  await fixture.attach('b', { app: 'database' }, '10.0.0.2');
  fixture.manager.apply(policy('app', rule('r', 'allow', 'web', 'database', 22)));
  await fixture.clock.advance(10);
  assert.equal(
    await fixture.outcome('a', 'b', { port: 5432 }),
    'denied',
    'what the new policy denies is denied at once',
  );
  await fixture.clock.advance(70_000);
  assert.equal(await fixture.outcome('a', 'b', { port: 22 }), 'allowed');
  assert.equal(await fixture.outcome('a', 'b', { port: 5432 }), 'denied');
});

test('more endpoints than slots are refused, and change nothing for the others', async () => {
  await using fixture = await AgentFixture.start({ limits: { endpointsMax: 3 } });
  fixture.manager.apply(...segments, allowed);
  await fixture.attach('a', { app: 'web' }, '10.0.0.1');
  await fixture.attach('b', { app: 'database' }, '10.0.0.2');
  await assert.rejects(fixture.attach('c', { app: 'web' }, '10.0.0.3'), { name: 'RegistryError', code: 'full' });
  assert.equal(await fixture.outcome('a', 'b', { port: 5432 }), 'allowed');
});

test('an endpoint that cannot be put into the kernel is not added', async () => {
  await using fixture = await AgentFixture.start({ limits: { addressesMax: 1 } });
  await fixture.attach('a', { app: 'web' }, '10.0.0.1');
  await assert.rejects(fixture.attach('b', { app: 'web' }, '10.0.0.2'), { name: 'KernelError' });
  assert.equal(fixture.agent.registry.endpoint('e-b'), undefined);
  assert.equal(fixture.kernel.maps.endpoints().length, 1);
});

test('failures by chance: nothing that policy denies passes, and a quiet system converges', async () => {
  for (let seed = 1; seed <= 15; seed++) {
    let state = seed;
    const random = (): number => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647;
    const probability = { maps: 0.05, links: 0.05 };
    await using fixture = await AgentFixture.start({
      failures: { random: () => (probability.maps === 0 ? 1 : random()), probability },
    });
    fixture.manager.apply(...segments, allowed);
    for (const [name, app, address] of [
      ['a', 'web', '10.0.0.1'],
      ['b', 'database', '10.0.0.2'],
    ] as const) {
      for (;;) {
        try {
          await fixture.attach(name, { app }, address);
          break;
        } catch (error) {
          assert.equal((error as Error).name, 'KernelError', `seed ${seed}`);
        }
      }
    }
    for (let step = 0; step < 10; step++) {
      const port = 5432 + (step % 2);
      fixture.manager.apply(policy('app', rule('r', 'allow', 'web', 'database', port)));
      await fixture.clock.advance(5);
      const other = 5432 + ((step + 1) % 2);
      const isEnforced = fixture.agent.status().receipt?.revision === fixture.manager.revision;
      if (isEnforced)
        assert.notEqual(await fixture.outcome('a', 'b', { port: other }), 'allowed', `seed ${seed}, step ${step}`);
      assert.notEqual(await fixture.outcome('b', 'a', { port }), 'allowed', `seed ${seed}, step ${step}`);
    }
    probability.maps = 0;
    probability.links = 0;
    await fixture.clock.advance(200_000);
    assert.deepEqual(fixture.agent.status().receipt?.failed, [], `seed ${seed}`);
    assert.equal(await fixture.outcome('a', 'b', { port: 5433 }), 'allowed', `seed ${seed}`);
  }
});
