import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { startManager } from './start.ts';
import { AgentClient, makeAgentKeys } from './testing/agent-client.ts';
import { apiClient } from './testing/api-transport.ts';
import { workloadReport } from './testing/link-fixture.ts';
import type { ApiClient, DecisionMessage, QuestionMessage, Role } from '@bulkhead/protocol';
import type { Manager } from './manager.ts';

let directory: string;
let manager: Manager;
let admin: ApiClient;
let agent: AgentClient;
let identities: Map<string, number>;
let asked = 0;

const document = (kind: string, name: string, spec: unknown) => ({
  value: { apiVersion: 'bulkhead.dev/v1', kind, metadata: { name }, spec },
});
const segment = (name: string) => document('Segment', name, { selector: { matchLabels: { app: name } } });

before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'bulkhead-start-'));
  const loopback = { address: '127.0.0.1', port: 0 };
  manager = await startManager({ dataDirectory: directory, link: loopback, api: loopback, socketPath: null });
  admin = client(readFileSync(manager.administratorTokenPath, 'utf8').trim());
  const ask = { action: 'ask', from: { segment: 'web' }, to: { segment: 'db' } };
  const rules = [
    { ...ask, name: 'day', ports: [{ protocol: 'tcp', port: 1 }], when: 'source.labels["app"] == "web"' },
    {
      ...ask,
      name: 'never',
      ports: [{ protocol: 'tcp', port: 2 }],
      when: 'source.labels["app"] == "db"',
      otherwise: 'reject',
    },
    { ...ask, name: 'human', ports: [{ protocol: 'tcp', port: 3 }], approve: { by: 'approver', within: '10m' } },
  ];
  const applied = await admin.applyDocuments({
    body: { documents: [segment('web'), segment('db'), document('Policy', 'p', { rules })] },
  });
  assert.equal(applied.kind, 'ok', JSON.stringify(applied));
  const created = await manager.core.enrolment.createToken('person/test', {
    host: 'h1',
    labelsAllowed: null,
    forMs: 60_000,
  });
  const { keyPem, request } = await makeAgentKeys('h1');
  const enrolled = await manager.core.enrolment.enrol(
    'h1',
    { id: created!.token.id, secret: created!.secret },
    request,
  );
  assert.ok(enrolled.kind === 'enrolled');
  const { authorityPem } = manager;
  agent = await AgentClient.connect(manager.linkPort, {
    keyPem,
    certificatePem: enrolled.certificatePem,
    authorityPem,
  });
  agent.hello('h1');
  const set = ['web', 'db'].map((app) => workloadReport(`h1/docker/${app}`, { labels: { app } }));
  agent.send({ type: 'workloads', body: { full: true, set, removed: [] } });
  const desired = await agent.next('desired', (body) => body.workloads.length === 2);
  identities = new Map(desired.workloads.map((workload) => [workload.name, workload.identity]));
});
after(async () => {
  await agent[Symbol.asyncDispose]();
  await manager[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

function client(token: string): ApiClient {
  return apiClient({ port: manager.apiPort, authorityPem: manager.authorityPem, token });
}

async function person(role: Role, name: string, scope: readonly string[] | null = null): Promise<ApiClient> {
  const created = await manager.people.create('person/test', { name, role, scope, forMs: null });
  assert.ok(created.kind === 'created');
  return client(created.text);
}

function send(rule: string, port: number): string {
  asked += 1;
  const end = (app: string, at: number) => ({
    workload: `h1/docker/${app}`,
    identity: identities.get(app)!,
    address: '10.0.0.1',
    port: at,
    generation: 1,
  });
  const question: QuestionMessage = {
    id: `h1:boot-1:${asked}`,
    rules: [{ tier: 'application', policy: 'p', rule }],
    revision: manager.core.policies.revision(),
    source: end('web', 40_000 + asked),
    destination: end('db', port),
    protocol: 6,
    ratePerMinute: 0,
    atMs: Date.now(),
  };
  agent.send({ type: 'questions', body: { questions: [question] } });
  return question.id;
}

async function decision(
  id: string,
  accept: (decision: DecisionMessage) => boolean = () => true,
): Promise<DecisionMessage> {
  const matches = (found: DecisionMessage) => found.question === id && accept(found);
  const message = await agent.next('decisions', ({ decisions }) => decisions.some(matches));
  return message.decisions.find(matches)!;
}

test('a condition answers, both ways, and the record says why', async () => {
  const allowed = await decision(send('day', 1));
  assert.equal(allowed.verdict, 'allow', allowed.why);
  const refused = await decision(send('never', 2));
  assert.equal(refused.verdict, 'reject', refused.why);
  const listed = await admin.listQuestions({ query: { workload: 'h1/docker/web' } });
  assert.ok(listed.kind === 'ok');
  assert.deepEqual(
    listed.value.items.slice(0, 2).map((item) => [item.verdict, item.source.name, item.state]),
    [
      ['reject', 'web', 'answered'],
      ['allow', 'web', 'answered'],
    ],
  );
});

test('a person with the role and the scope approves, and the answer reaches the host that holds the packet', async () => {
  const id = send('human', 3);
  assert.equal((await decision(id)).verdict, 'pending');
  const waiting = await admin.listQuestions({ query: { state: 'waiting' } });
  assert.ok(
    waiting.kind === 'ok' && waiting.value.items[0]?.id === id && waiting.value.items[0].approver === 'approver',
  );
  const author = await (await person('author', 'ann')).approveQuestion({ params: { id }, body: {} });
  assert.ok(author.kind === 'error' && author.error.code === 'forbidden');
  const elsewhere = await (
    await person('approver', 'eve', ['elsewhere'])
  ).approveQuestion({ params: { id }, body: {} });
  assert.ok(elsewhere.kind === 'error' && elsewhere.error.code === 'not-found');
  const approver = await person('approver', 'ada');
  const approved = await approver.approveQuestion({ params: { id }, body: {} });
  assert.ok(approved.kind === 'ok', JSON.stringify(approved));
  assert.equal((await decision(id, ({ verdict }) => verdict !== 'pending')).verdict, 'allow');
  const again = await approver.refuseQuestion({ params: { id } });
  assert.ok(again.kind === 'error' && again.error.code === 'conflict');
  const log = await admin.listAudit({ query: { limit: 20 } });
  assert.ok(log.kind === 'ok');
  assert.ok(
    log.value.items.some(
      (line) => line.action === 'question.approved' && line.actor === 'person/ada' && line.subject === id,
    ),
  );
});

test('a watcher sees questions and flows as they come', async () => {
  const questions = await admin.watchQuestions();
  const flows = await admin.watchFlows({ query: { workload: 'h1/docker/web' } });
  assert.ok(questions.kind === 'ok' && flows.kind === 'ok');
  const id = send('day', 1);
  for await (const question of questions.value) {
    if (question.id !== id) continue;
    assert.equal(question.verdict, 'allow');
    break;
  }
  const end = { workload: 'h1/docker/web', identity: identities.get('web')!, address: '10.0.0.1', port: 1 };
  const flow = {
    id: 'f1',
    source: end,
    destination: { ...end, workload: null, identity: 2, address: '192.0.2.1' },
    protocol: 6,
    verdict: 'deny' as const,
    egressReason: 'posture:web',
    ingressReason: 'builtin:not-a-subject',
    dropReason: null,
    question: null,
    staged: null,
    revision: 1,
    firstMs: Date.now(),
    lastMs: Date.now(),
    packets: [1, 0] as [number, number],
    bytes: [60, 0] as [number, number],
    state: 'closed' as const,
  };
  agent.send({ type: 'flows', body: { batch: 1, lost: 0, flows: [flow] } });
  for await (const seen of flows.value) {
    assert.deepEqual([seen.id, seen.source.name, seen.source.segments, seen.host], ['f1', 'web', ['web'], 'h1']);
    break;
  }
  const found = await admin.listFlows({ query: { segment: 'web', verdict: 'deny' } });
  assert.ok(found.kind === 'ok' && found.value.items.length === 1);
});
