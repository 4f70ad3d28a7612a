import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KernelError } from '@bulkhead/kernel';
import { AgentFixture } from './testing/agent-fixture.ts';
import { policy, segment } from './testing/documents.ts';

const outside = '203.0.113.5';
const ports = [{ protocol: 'tcp', port: 443 }];
const toWorld = policy('app', { name: 'out', action: 'allow', from: { segment: 'web' }, to: { any: true }, ports });
const without = policy(
  'app',
  { name: 'not-there', action: 'deny', from: { segment: 'web' }, to: { cidr: '203.0.113.0/24' }, ports },
  { name: 'out', action: 'allow', from: { segment: 'web' }, to: { any: true }, ports },
);
const data = { port: 443, sourcePort: 30_000, tcpFlags: 0x10 };

/** A workload with an open connection to the world. */
async function connected(): Promise<AgentFixture> {
  const fixture = await AgentFixture.start();
  fixture.manager.apply(segment('web', { app: 'web' }), toWorld);
  await fixture.attach('a', { app: 'web' }, '10.0.0.1');
  assert.equal(await fixture.outcome('a', outside, { port: 443, sourcePort: 30_000 }), 'allowed');
  assert.equal(await fixture.outcome('a', outside, data), 'allowed');
  return fixture;
}

test('a live connection into a network that a new rule denies ends', async () => {
  await using fixture = await connected();
  fixture.manager.apply(without);
  assert.equal(await fixture.outcome('a', outside, { port: 443 }), 'denied', 'a new connection');
  assert.equal(await fixture.outcome('a', outside, data), 'denied', 'the live one');
});

test('a live connection into a network that only a rule of the past allowed ends', async () => {
  await using fixture = await AgentFixture.start();
  const there = policy('app', {
    name: 'there',
    action: 'allow',
    from: { segment: 'web' },
    to: { cidr: '203.0.113.0/24' },
    ports,
  });
  fixture.manager.apply(segment('web', { app: 'web' }), there);
  await fixture.attach('a', { app: 'web' }, '10.0.0.1');
  assert.equal(await fixture.outcome('a', outside, { port: 443, sourcePort: 30_000 }), 'allowed');
  fixture.manager.apply(
    policy('app', { name: 'x', action: 'deny', from: { segment: 'web' }, to: { any: true }, ports }),
  );
  assert.equal(await fixture.outcome('a', outside, data), 'denied');
});

test('the same where the agent ends between the network and the connections', async () => {
  await using fixture = await connected();
  const { maps } = fixture.kernel;
  const original = maps.forEachConnection;
  maps.forEachConnection = () => {
    throw new KernelError('walk the connections', 'EINTR');
  };
  fixture.manager.apply(without);
  maps.forEachConnection = original;
  await fixture.killAgent();
  await fixture.startAgent();
  assert.equal(await fixture.outcome('a', outside, data), 'denied');
});
