import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AgentClient } from '../testing/agent-client.ts';
import { apply, linkFixture, segment, workloadReport } from '../testing/link-fixture.ts';
import type { AgentMessage } from '@bulkhead/protocol';

test('an enrolled agent gets the whole state, then differences', async () => {
  await using fixture = await linkFixture();
  await apply(fixture, segment('web', { app: 'web' }));
  await using agent = await fixture.connect(await fixture.enrol('h1'));
  agent.hello('h1');
  assert.equal((await agent.next('welcome')).host, 'h1');
  assert.deepEqual(await agent.next('enforcement'), { on: true });
  const full = await agent.next('desired');
  assert.equal(full.from, 0);
  assert.equal(full.more, false);
  assert.deepEqual(
    full.documents.map((document) => document['kind']),
    ['Segment'],
  );

  agent.send({
    type: 'workloads',
    body: {
      full: true,
      removed: [],
      set: [
        workloadReport('h1/docker/a', {
          labels: { app: 'web', build: '7' },
          imageDigest: 'sha256:1',
          endpoints: [{ endpoint: 'e', network: 'n', mac: '02:00:00:00:00:01', addresses: ['10.1.0.2'] }],
        }),
      ],
    },
  });
  const change = await agent.next('desired', (body) => body.workloads.length > 0);
  assert.equal(change.from, full.revision);
  assert.deepEqual(change.identities, [[256, { app: 'web' }]], 'a label that no document reads makes no identity');
  const [workload] = change.workloads;
  assert.equal(workload?.identity, 256);
  assert.deepEqual(workload?.addresses, ['10.1.0.2']);
  assert.deepEqual(workload?.labels, {
    app: 'web',
    build: '7',
    'bulkhead.dev/host': 'h1',
    'bulkhead.dev/class': 'shared',
    'bulkhead.dev/boundary': 'none',
    'bulkhead.dev/engine': 'docker',
    'bulkhead.dev/image': 'sha256:1',
  });

  agent.send({ type: 'workloads', body: { full: true, removed: [], set: [] } });
  const removal = await agent.next('desired', (body) => body.workloadsRemoved.length > 0);
  assert.deepEqual(removal.workloadsRemoved, ['h1/docker/a']);
});

test('an agent that comes back gets only what it missed', async () => {
  await using fixture = await linkFixture();
  const credentials = await fixture.enrol('h1');
  const first = await apply(fixture, segment('a', { app: 'a' }));
  await apply(fixture, segment('b', { app: 'b' }));
  await using agent = await fixture.connect(credentials);
  agent.hello('h1', { revision: first });
  const desired = await agent.next('desired');
  assert.equal(desired.from, first);
  assert.deepEqual(
    desired.documents.map((document) => (document['metadata'] as { name: string }).name),
    ['b'],
  );
});

test('a revision from another life gets the full state', async () => {
  await using fixture = await linkFixture();
  const credentials = await fixture.enrol('h1');
  await apply(fixture, segment('a', { app: 'a' }));
  await using agent = await fixture.connect(credentials);
  agent.hello('h1', { revision: 1_000_000 });
  assert.equal((await agent.next('desired')).from, 0);
});

test('batches are stored once and acknowledged as often as they come', async () => {
  await using fixture = await linkFixture();
  const credentials = await fixture.enrol('h1');
  const divergence = {
    id: 'd1',
    kind: 'spoofing',
    workload: null,
    believed: 'a',
    observed: 'b',
    evidence: 'c',
    firstMs: 1,
    lastMs: 2,
    count: 1,
    resolved: false,
  } as const;
  const flows: AgentMessage = { type: 'flows', body: { batch: 5, lost: 2, flows: [] } };
  await using agent = await fixture.connect(credentials);
  agent.hello('h1');
  agent.send({ type: 'divergences', body: { batch: 4, divergences: [divergence] } });
  agent.send(flows);
  await agent.next('ack', (ack) => ack.batch === 5);
  assert.equal(fixture.flows.counts().lost, 2);
  await using again = await fixture.connect(credentials);
  again.hello('h1');
  again.send(flows);
  await again.next('ack', (ack) => ack.batch === 5);
  assert.equal(fixture.flows.counts().lost, 2, 'repeated, not stored again');
  assert.equal(fixture.core.divergences.openCount(), 1);
});

test('questions are answered, and answers that come later are passed on', async () => {
  await using fixture = await linkFixture();
  await using agent = await fixture.connect(await fixture.enrol('h1'));
  agent.hello('h1');
  const party = { workload: 'h1/docker/a', identity: 256, address: '10.0.0.1', port: 1, generation: 1 };
  const question = {
    id: 'h1:b:1',
    rules: [{ tier: 't', policy: 'p', rule: 'r' }],
    revision: 1,
    source: party,
    destination: party,
    protocol: 6,
    ratePerMinute: 0,
    atMs: 1,
  };
  agent.send({ type: 'questions', body: { questions: [question] } });
  assert.equal((await agent.next('decisions')).decisions[0]?.verdict, 'allow');
  fixture.questions.answer('h1', {
    question: 'h1:b:2',
    verdict: 'deny',
    scope: 'connection',
    forSeconds: 0,
    expiresMs: 1,
    why: 'no',
  });
  const later = await agent.next('decisions', (body) => body.decisions[0]?.question === 'h1:b:2');
  assert.equal(later.decisions[0]?.verdict, 'deny');
});

test('malformed frames end the connection with the place of the fault, and the manager lives', async () => {
  await using fixture = await linkFixture();
  const credentials = await fixture.enrol('h1');
  for (const bytes of [
    new Uint8Array([1]),
    new Uint8Array([250, 0xa0]),
    new Uint8Array([1, 0x9a, 0xff, 0xff, 0xff, 0xff]),
  ]) {
    await using agent = await fixture.connect(credentials);
    agent.sendBytes(bytes);
    await agent.untilClosed();
    assert.equal(agent.closed?.code, 1008);
    assert.ok((agent.all('goodbye')[0]?.reason.length ?? 0) > 3);
  }
  await using agent = await AgentClient.connect(fixture.link.port, credentials);
  agent.hello('h1');
  await agent.next('welcome');
});

test('receipts witness the head of the audit log', async () => {
  await using fixture = await linkFixture();
  await using agent = await fixture.connect(await fixture.enrol('h1'));
  agent.hello('h1');
  const desired = await agent.next('desired');
  assert.ok(desired.auditHead !== null && desired.auditHead.sequence > 0);
  const heard = Promise.withResolvers<void>();
  fixture.core.presence.onChange((host) => {
    if (fixture.core.presence.of(host).receipt !== null) heard.resolve();
  });
  agent.send({
    type: 'receipt',
    body: {
      revision: desired.revision,
      enforcedMs: 1,
      atMs: 1,
      endpoints: 0,
      rows: 0,
      failed: [],
      auditHead: desired.auditHead,
    },
  });
  await heard.promise;
  assert.deepEqual(fixture.core.presence.witnesses(), [desired.auditHead]);
});

test('a host that connects twice has one connection, and what the old one still says does not count', async () => {
  await using fixture = await linkFixture();
  const credentials = await fixture.enrol('h1');
  await using old = await fixture.connect(credentials);
  old.hello('h1');
  await old.next('desired');
  await using current = await fixture.connect(credentials);
  current.hello('h1');
  await current.next('desired');
  current.send({ type: 'workloads', body: { full: true, removed: [], set: [workloadReport('h1/docker/new')] } });
  await current.next('desired', (body) => body.workloads.length > 0);
  await old.untilClosed();
  assert.equal(fixture.link.connected, 1);
  assert.deepEqual([...fixture.core.committer.state.inventory.workloads.keys()], ['h1/docker/new']);
});

test('an agent that does not read is not buried: the difference waits and grows, and arrives whole', async () => {
  await using fixture = await linkFixture();
  await using agent = await fixture.connect(await fixture.enrol('h1'));
  agent.hello('h1');
  await agent.next('desired');
  agent.pause();
  const count = 40;
  for (let i = 0; i < count; i += 1) {
    // Large enough that all of them together do not fit the buffers between us.
    const rules = Array.from({ length: 5000 }, (_, rule) => ({
      name: `r${rule}`,
      action: 'allow',
      from: { segment: 'a' },
      to: { cidr: `10.${i}.${rule >> 8}.${rule & 255}/32` },
    }));
    await apply(fixture, segment('a', { app: 'a' }), {
      apiVersion: 'bulkhead.dev/v1',
      kind: 'Policy',
      metadata: { name: `p${i}` },
      spec: { rules },
    });
  }
  agent.resume();
  const { desiredRevision } = fixture.core.committer.state;
  await agent.next('desired', (body) => body.revision === desiredRevision && !body.more);
  const differences = agent.all('desired').filter((body) => !body.more);
  assert.ok(differences.length < count, `${differences.length} differences for ${count} changes`);
  const names = new Set(
    agent
      .all('desired')
      .flatMap((body) => body.documents.map((document) => (document['metadata'] as { name: string }).name)),
  );
  assert.equal(names.size, count + 1);
});
