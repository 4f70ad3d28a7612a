import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AgentFixture } from '../testing/agent-fixture.ts';
import { policy, segment } from '../testing/documents.ts';
import { settled } from '../testing/virtual-clock.ts';
import { learntLimits } from './learnt-book.ts';

const ports = [{ protocol: 'tcp', port: 443 }];
const byName = (dns: string, rest = {}) =>
  policy('names', { name: 'by-name', action: 'allow', from: { segment: 'web' }, to: { dns }, ports, ...rest });
const https = { port: 443 };
const data = (sourcePort: number) => ({ port: 443, sourcePort, tcpFlags: 0x10 });
const address = (data_: string, name = 'api.example.com', ttl = 60) =>
  ({ type: 'A', name, data: data_, ttl, class: 'IN' }) as const;
const [first, second] = ['198.51.100.7', '198.51.100.8'];

async function started(...documents: readonly Record<string, unknown>[]): Promise<AgentFixture> {
  const fixture = await AgentFixture.start();
  fixture.manager.apply(segment('web', { app: 'web' }), ...documents);
  await fixture.attach('a', { app: 'web' }, '10.0.0.1');
  await fixture.attach('b', { app: 'web' }, '10.0.0.2');
  return fixture;
}
const lifetimeMs = (ttlSeconds: number): number =>
  (Math.max(ttlSeconds, learntLimits.ttlSecondsMin) + learntLimits.graceSeconds) * 1000;

test('an address is reached by whoever learnt it by a name that a rule knows, from the moment of the answer', async () => {
  await using fixture = await started(byName('*.example.com'));
  assert.equal(await fixture.outcome('a', first, https), 'denied');
  fixture.learn('a', 'api.example.com', [address(first)]);
  // Without a turn of the event loop: the answer may leave now.
  assert.equal(fixture.sendFrom('a', first, https).kind, 'passed');
  assert.equal(await fixture.outcome('a', second, https), 'denied');
  assert.equal(await fixture.outcome('a', first, { port: 80 }), 'denied', 'another port');
  assert.equal(await fixture.outcome('b', first, https), 'denied', 'who did not ask');
  fixture.learn('b', 'example.com', [address(first, 'example.com')]);
  assert.equal(await fixture.outcome('b', first, https), 'denied', 'the apex is not below itself');
  fixture.learn('b', 'api.example.net', [address(first, 'api.example.net')]);
  assert.equal(await fixture.outcome('b', first, https), 'denied', 'another name');
  // A second address of a peer that is known needs no pass of the loop, and counts as soon.
  fixture.learn('a', 'www.example.com', [address(second, 'www.example.com')]);
  assert.equal(fixture.sendFrom('a', second, https).kind, 'passed');
  assert.deepEqual(fixture.agent.status().learnt, { addresses: 2, displaced: 0, lapsed: 0 });
});

test('an alias leads there too, and a flow tells the names', async () => {
  await using fixture = await started(byName('edge.cdn.net'));
  fixture.learn('a', 'shop.example.com', [
    { type: 'CNAME', name: 'shop.example.com', data: 'edge.cdn.net', ttl: 60, class: 'IN' },
    address(first, 'edge.cdn.net'),
  ]);
  assert.equal(await fixture.outcome('a', first, https), 'allowed');
  await fixture.clock.advance(2_000);
  await settled();
  const told = fixture.manager.flows.find(({ destination }) => destination.address === first);
  assert.deepEqual(told?.destination.names, ['shop.example.com', 'edge.cdn.net']);
  assert.equal(told?.egressReason, 'application/names/by-name');
});

test('its time ends: nothing new is admitted, and what lives goes on, over changes of policy', async () => {
  await using fixture = await started(byName('api.example.com'));
  fixture.learn('a', 'api.example.com', [address(first, 'api.example.com', 1), address(second, 'api.example.com', 1)]);
  assert.equal(await fixture.outcome('a', first, { ...https, sourcePort: 30_000 }), 'allowed');
  await fixture.clock.advance(lifetimeMs(1) - 6_000);
  assert.equal(await fixture.outcome('a', second, https), 'allowed');
  await fixture.clock.advance(31_000 + 6_000);
  await settled();
  assert.equal(await fixture.outcome('a', first, https), 'denied', 'a new connection');
  fixture.manager.apply(
    policy('other', { name: 'x', action: 'allow', from: { segment: 'web' }, to: { host: true }, ports }),
  );
  await settled();
  assert.equal(
    await fixture.outcome('a', first, data(30_000)),
    'denied',
    'its own half-open connection is over as well',
  );
});

test('a live connection keeps the address for itself alone', async () => {
  await using fixture = await started(byName('api.example.com'));
  fixture.learn('a', 'api.example.com', [address(first, 'api.example.com', 1)]);
  assert.equal(await fixture.outcome('a', first, { ...https, sourcePort: 30_000 }), 'allowed');
  for (let elapsedMs = 0; elapsedMs < lifetimeMs(1) + 10_000; elapsedMs += 10_000) {
    await fixture.clock.advance(10_000);
    assert.equal(await fixture.outcome('a', first, data(30_000)), 'allowed', `after ${elapsedMs} ms`);
  }
  await settled();
  assert.deepEqual(
    fixture.kernel.maps.learnt().map(({ lapsed }) => lapsed),
    [true],
  );
  assert.equal(await fixture.outcome('a', first, https), 'denied', 'a new connection');
  fixture.manager.apply(
    policy('other', {
      name: 'x',
      action: 'deny',
      from: { segment: 'web' },
      to: { cidr: '198.51.100.0/25' },
      ports: [{ protocol: 'tcp', port: 1 }],
    }),
  );
  await settled();
  assert.equal(await fixture.outcome('a', first, data(30_000)), 'allowed', 'judged again');
  fixture.manager.remove('Policy', 'names');
  await settled();
  assert.equal(await fixture.outcome('a', first, data(30_000)), 'denied', 'the rule is gone');
});

test('the agent ends and comes back: the same is known, for as long as it was; a reboot forgets', async () => {
  await using fixture = await started(byName('*.example.com'));
  fixture.learn('a', 'api.example.com', [address(first)]);
  await fixture.killAgent();
  assert.equal(fixture.sendFrom('a', first, https).kind, 'passed');
  await fixture.startAgent();
  assert.equal(await fixture.outcome('a', first, https), 'allowed');
  fixture.learn('a', 'www.example.com', [address(second, 'www.example.com')]);
  assert.equal(await fixture.outcome('a', second, https), 'allowed');
  await fixture.clock.advance(lifetimeMs(60) + 6_000);
  await fixture.clock.advance(40_000);
  await settled();
  assert.deepEqual(fixture.kernel.maps.learnt(), []);
  fixture.learn('a', 'api.example.com', [address(first)]);
  await fixture.reboot();
  await fixture.startAgent();
  assert.deepEqual(fixture.kernel.maps.learnt(), []);
  assert.equal(fixture.agent.status().learnt.addresses, 0);
});

test('rules that come and go make another peer of what is known', async () => {
  await using fixture = await started(byName('*.example.com'));
  fixture.learn('a', 'api.example.com', [address(first)]);
  assert.equal(await fixture.outcome('a', first, { ...https, sourcePort: 30_000 }), 'allowed');
  fixture.manager.apply(
    policy('never', {
      name: 'not-that',
      action: 'deny',
      from: { segment: 'web' },
      to: { dns: 'api.example.com' },
      ports,
    }),
  );
  await settled();
  assert.equal(await fixture.outcome('a', first, https), 'denied');
  assert.equal(await fixture.outcome('a', first, data(30_000)), 'denied', 'the live one');
  fixture.manager.remove('Policy', 'never');
  await settled();
  assert.equal(await fixture.outcome('a', first, https), 'allowed');
});

test('whoever asks for names without end fills its own share, and the oldest of its own go', async () => {
  await using fixture = await started(byName('*.example.com'));
  fixture.learn('b', 'api.example.com', [address(first)]);
  const { addressesPerEndpointMax } = learntLimits;
  const text = (index: number): string => `203.0.${index >> 8}.${index & 255}`;
  for (let index = 0; index < addressesPerEndpointMax + 20; index++)
    fixture.learn('a', `n${index}.example.com`, [address(text(index), `n${index}.example.com`, 60 + index)]);
  assert.deepEqual(fixture.agent.status().learnt, { addresses: addressesPerEndpointMax + 1, displaced: 20, lapsed: 0 });
  assert.equal(fixture.kernel.maps.learnt().length, addressesPerEndpointMax + 1);
  assert.equal(await fixture.outcome('a', text(0), https), 'denied');
  assert.equal(await fixture.outcome('a', text(addressesPerEndpointMax + 19), https), 'allowed');
  assert.equal(await fixture.outcome('b', first, https), 'allowed');
});

test('whose own rules ask for no names is not judged by them', async () => {
  await using fixture = await AgentFixture.start();
  const to = { cidr: '198.51.100.0/24' };
  fixture.manager.apply(
    segment('web', { app: 'web' }),
    segment('db', { app: 'db' }),
    byName('*.example.com'),
    policy(
      'db',
      { name: 'not-there', action: 'deny', from: { segment: 'db' }, to, ports },
      { name: 'out', action: 'allow', from: { segment: 'db' }, to: { any: true }, ports },
    ),
  );
  await fixture.attach('a', { app: 'web' }, '10.0.0.1');
  await fixture.attach('b', { app: 'db' }, '10.0.0.2');
  for (const name of ['a', 'b']) fixture.learn(name, 'api.example.com', [address(first)]);
  assert.equal(await fixture.outcome('a', first, https), 'allowed');
  assert.equal(await fixture.outcome('b', first, https), 'denied');
  assert.deepEqual(
    fixture.kernel.maps.learnt().map(({ slot }) => slot),
    [1],
  );
  // Rules that ask begin to count for what was known before, and cease.
  fixture.manager.apply(
    policy('both', {
      name: 'by-name',
      action: 'allow',
      from: { segment: 'db' },
      to: { dns: '*.example.com' },
      ports: [{ protocol: 'tcp', port: 8443 }],
    }),
  );
  await settled();
  assert.equal(await fixture.outcome('b', first, { port: 8443 }), 'allowed');
  assert.equal(await fixture.outcome('b', first, https), 'denied');
  fixture.manager.remove('Policy', 'both');
  await settled();
  assert.equal(await fixture.outcome('b', first, { port: 8443 }), 'denied');
  assert.equal(await fixture.outcome('b', first, https), 'denied');
});

test('a policy that is only staged judges by names too, and nothing is admitted by it', async () => {
  const document = byName('*.example.com');
  const spec = document['spec'] as object;
  await using fixture = await started({ ...document, spec: { ...spec, mode: 'staged' } });
  fixture.learn('a', 'api.example.com', [address(first)]);
  assert.equal(await fixture.outcome('a', first, https), 'denied');
  assert.equal(await fixture.outcome('a', second, https), 'denied');
  await fixture.clock.advance(3_000);
  await settled();
  const told = (to: string) => fixture.manager.flows.find(({ destination }) => destination.address === to);
  assert.equal(told(first)?.staged?.verdict, 'allow');
  assert.equal(told(second)?.staged, null);
});

test('a full table in the kernel refuses what does not fit, says so, and denies', async () => {
  await using fixture = await AgentFixture.start({ limits: { learntMax: 1 } });
  fixture.manager.apply(segment('web', { app: 'web' }), byName('*.example.com'));
  await fixture.attach('a', { app: 'web' }, '10.0.0.1');
  fixture.learn('a', 'api.example.com', [address(first)]);
  fixture.learn('a', 'www.example.com', [address(second, 'www.example.com')]);
  assert.equal(await fixture.outcome('a', first, https), 'allowed');
  assert.equal(await fixture.outcome('a', second, https), 'denied');
  assert.match(fixture.agent.status().receipt!.failed.join(), /learn.*full/);
});
