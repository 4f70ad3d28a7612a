import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AgentFixture } from './testing/agent-fixture.ts';
import { policy, rule, segment } from './testing/documents.ts';

const documents = [
  segment('web', { app: 'web' }),
  segment('database', { app: 'database' }),
  policy('app', rule('web-to-database', 'allow', 'web', 'database', 5432)),
];

async function twoWorkloads(): Promise<AgentFixture> {
  const fixture = await AgentFixture.start();
  fixture.manager.apply(...documents);
  await fixture.attach('a', { app: 'web' }, '10.0.0.1');
  await fixture.attach('b', { app: 'database' }, '10.0.0.2');
  return fixture;
}

test('what is pinned is enforced while no agent runs, and adopted without a change', async () => {
  await using fixture = await twoWorkloads();
  const before = fixture.kernelState();
  await fixture.killAgent();
  assert.equal(await fixture.outcome('a', 'b', { port: 5432 }), 'allowed');
  assert.equal(await fixture.outcome('a', 'b', { port: 22 }), 'denied');
  await fixture.startAgent();
  assert.deepEqual(fixture.kernelState(), before, 'not one entry, row or epoch changed');
  assert.equal(await fixture.outcome('a', 'b', { port: 5432 }), 'allowed');
  assert.equal(await fixture.outcome('a', 'b', { port: 22 }), 'denied');
});

test('policy that changed while the agent was away is in force after its start', async () => {
  await using fixture = await twoWorkloads();
  await fixture.killAgent();
  fixture.manager.apply(policy('app', rule('web-to-database', 'allow', 'web', 'database', 22)));
  await fixture.startAgent();
  assert.equal(await fixture.outcome('a', 'b', { port: 5432 }), 'denied');
  assert.equal(await fixture.outcome('a', 'b', { port: 22 }), 'allowed');
});

test('without a manager a known label set starts, an unknown one stays held, and the last revision goes on', async () => {
  await using fixture = await twoWorkloads();
  await fixture.killAgent();
  fixture.manager.setReachable(false);
  await fixture.startAgent();
  assert.equal(await fixture.outcome('a', 'b', { port: 5432 }), 'allowed');
  await fixture.attach('c', { app: 'web' }, '10.0.0.3');
  assert.equal(await fixture.outcome('c', 'b', { port: 5432 }), 'allowed');
  await fixture.attach('d', { app: 'web', tier: 'gold' }, '10.0.0.4');
  assert.equal(await fixture.outcome('d', 'b', { port: 5432 }), 'held');
  await fixture.clock.advance(11_000);
  assert.equal(fixture.released.at(-1)?.kind, 'dropped', 'held for a bounded time only');
  fixture.manager.setReachable(true);
  await fixture.clock.advance(10);
  assert.equal(await fixture.outcome('d', 'b', { port: 5432 }), 'allowed');
});

test('a facts-only difference (another boundary) is another label set', async () => {
  await using fixture = await twoWorkloads();
  fixture.manager.setReachable(false);
  await fixture.attach('c', null, '10.0.0.3');
  fixture.bind('c', { app: 'web' }, { boundary: 'hardware' });
  await fixture.clock.advance(10);
  assert.equal(await fixture.outcome('c', 'b', { port: 5432 }), 'held');
});

test('after a reboot nothing passes until workloads are attached anew', async () => {
  await using fixture = await twoWorkloads();
  await fixture.reboot();
  await fixture.startAgent();
  assert.deepEqual(fixture.agent.registry.endpoints(), []);
  assert.deepEqual(fixture.agent.registry.workloads(), []);
  await fixture.attach('a', { app: 'web' }, '10.0.0.1');
  await fixture.attach('b', { app: 'database' }, '10.0.0.2');
  assert.equal(await fixture.outcome('a', 'b', { port: 5432 }), 'allowed');
});

test('what somebody else changed in the kernel is put right at the next read-back', async () => {
  await using fixture = await twoWorkloads();
  const [entry] = fixture.kernel.maps.endpoints();
  fixture.kernel.maps.setEndpoint({ ...entry!, identity: 4711, ruleset: 99 });
  fixture.kernel.maps.removeAddress('10.0.0.2');
  await fixture.clock.advance(61_000);
  assert.equal(await fixture.outcome('a', 'b', { port: 5432 }), 'allowed');
  assert.equal(await fixture.outcome('a', 'b', { port: 22 }), 'denied');
});

test('an endpoint whose interface vanished is reported, and the others proceed', async () => {
  await using fixture = await twoWorkloads();
  fixture.machine.vanish('v-a');
  await fixture.agent.resync();
  fixture.manager.apply(policy('app', rule('web-to-database', 'allow', 'web', 'database', 22)));
  await fixture.clock.advance(10);
  const receipt = fixture.manager.receipts.at(-1)!;
  assert.equal(receipt.revision, fixture.manager.revision);
  assert.match(receipt.failed.join('\n'), /attach to interface/);
  await fixture.attach('c', { app: 'web' }, '10.0.0.3');
  assert.equal(await fixture.outcome('c', 'b', { port: 22 }), 'allowed');
});

test('enforcement off lets everything through and says so; on enforces again', async () => {
  await using fixture = await twoWorkloads();
  fixture.manager.send({ type: 'enforcement', body: { on: false } });
  await fixture.clock.advance(10);
  assert.equal(await fixture.outcome('a', 'b', { port: 22 }), 'allowed');
  assert.equal(fixture.agent.status().enforcing, false);
  await fixture.killAgent();
  await fixture.startAgent();
  assert.equal(fixture.agent.status().enforcing, false, 'also after a restart');
  fixture.manager.send({ type: 'enforcement', body: { on: true } });
  await fixture.clock.advance(10);
  assert.equal(await fixture.outcome('a', 'b', { port: 22 }), 'denied');
});

test('a fenced workload is silent in both directions, until it is not', async () => {
  await using fixture = await twoWorkloads();
  fixture.agent.registry.setFenced('h1/netns/b', true);
  assert.equal(await fixture.outcome('a', 'b', { port: 5432 }), 'denied');
  fixture.agent.registry.setFenced('h1/netns/b', false);
  assert.equal(await fixture.outcome('a', 'b', { port: 5432 }), 'allowed');
});

test('a known label set is not used when documents read other labels by now', async () => {
  await using fixture = await twoWorkloads();
  await fixture.attach('c', { app: 'web', tier: 'gold' }, '10.0.0.3');
  await fixture.agent.registry.removeEndpoint('e-c');
  fixture.agent.registry.removeWorkload('h1/netns/c');
  await fixture.clock.advance(10);
  fixture.manager.relabel({ app: 'web', tier: 'gold' }, { app: 'web' });
  fixture.manager.apply(segment('gold', { tier: 'gold' }));
  fixture.manager.setReachable(false);
  await fixture.attach('c', { app: 'web', tier: 'gold' }, '10.0.0.3');
  assert.equal(await fixture.outcome('c', 'b', { port: 5432 }), 'held');
});
