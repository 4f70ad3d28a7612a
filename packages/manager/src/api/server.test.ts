import assert from 'node:assert/strict';
import { createPublicKey, verify } from 'node:crypto';
import { statSync } from 'node:fs';
import { connect } from 'node:tls';
import { once } from 'node:events';
import { test } from 'node:test';
import fc from 'fast-check';
import { apiErrorBody, apiRoutes, managerServerName, parseEnrolmentToken, verifyAudit } from '@bulkhead/protocol';
import { sha256 } from '../audit/audit-log.ts';
import { AgentClient, makeAgentKeys } from '../testing/agent-client.ts';
import { apiClient, apiTransport, rawRequest } from '../testing/api-transport.ts';
import { workloadReport } from '../testing/link-fixture.ts';
import { managerFixture } from '../testing/manager-fixture.ts';
import type { Route, WorkloadReport } from '@bulkhead/protocol';
import type { ManagerFixture } from '../testing/manager-fixture.ts';

const segment = (name: string) => ({
  apiVersion: 'bulkhead.dev/v1',
  kind: 'Segment',
  metadata: { name },
  spec: { selector: { matchLabels: { app: name } } },
});

/** Enrols and connects as an agent would, over the API alone. */
async function enrolOverApi(fixture: ManagerFixture, host: string, set: WorkloadReport[] = []): Promise<AgentClient> {
  const created = await fixture.admin.createEnrolmentToken({ body: { host } });
  assert.ok(created.kind === 'ok');
  const token = parseEnrolmentToken(created.value.token);
  assert.ok(token !== null);
  const { keyPem, request } = await makeAgentKeys(host);
  const stranger = apiClient(fixture.address(null));
  const authority = await stranger.getAuthority();
  assert.ok(authority.kind === 'ok' && authority.value.fingerprint === token.authority);
  const enrolled = await stranger.enrolHost({ body: { host, token: { id: token.id, secret: token.secret }, request } });
  assert.ok(enrolled.kind === 'ok', JSON.stringify(enrolled));
  const { certificate, authorities, linkPort } = enrolled.value;
  const agent = await AgentClient.connect(linkPort, { certificatePem: certificate, keyPem, authorityPem: authorities });
  agent.hello(host);
  await agent.next('desired');
  if (set.length > 0) {
    agent.send({ type: 'workloads', body: { full: true, set, removed: [] } });
    await agent.next('desired', (body) => body.workloads.length > 0);
  }
  return agent;
}

function receipt(agent: AgentClient, revision: number): void {
  const body = { revision, enforcedMs: 2, atMs: Date.now(), endpoints: 0, rows: 0, failed: [], auditHead: null };
  agent.send({ type: 'receipt', body });
}

test('apply, wait for receipts, read back, explain, over TCP and over the socket file', async () => {
  await using fixture = await managerFixture();
  await using agent = await enrolOverApi(fixture, 'h1', [
    workloadReport('h1/docker/web', { labels: { app: 'web' } }),
    workloadReport('h1/docker/db', { labels: { app: 'db' } }),
  ]);
  const policy = {
    apiVersion: 'bulkhead.dev/v1',
    kind: 'Policy',
    metadata: { name: 'p' },
    spec: {
      rules: [
        {
          name: 'r',
          action: 'allow',
          from: { segment: 'web' },
          to: { segment: 'db' },
          ports: [{ protocol: 'tcp', port: 5432 }],
        },
      ],
    },
  };
  const applied = await fixture.admin.applyDocuments({
    body: { documents: [segment('web'), segment('db'), policy].map((value) => ({ value })) },
  });
  assert.ok(applied.kind === 'ok', JSON.stringify(applied));
  const { revision } = applied.value;
  const early = await fixture.admin.getReceipts({ params: { revision: String(revision) }, query: { waitMs: 0 } });
  assert.ok(early.kind === 'ok' && !early.value.complete);
  const waiting = fixture.admin.getReceipts({ params: { revision: String(revision) }, query: { waitMs: 10_000 } });
  await agent.next('desired', (body) => body.revision === revision && !body.more);
  receipt(agent, revision);
  const received = await waiting;
  assert.ok(received.kind === 'ok' && received.value.complete && received.value.enforcedCount === 1);
  assert.equal(received.value.hosts[0]?.enforcedMs, 2);

  const { socketPath, authorityPem } = fixture.manager;
  assert.equal(statSync(socketPath!).mode & 0o777, 0o600);
  const person = apiClient({ socketPath: socketPath!, authorityPem, token: await fixture.token('viewer') });
  const explained = await person.explain({
    body: { source: { workload: 'web' }, destination: { workload: 'h1/docker/db' }, port: 5432 },
  });
  assert.ok(explained.kind === 'ok');
  assert.deepEqual([explained.value.action, explained.value.egress.reason], ['allow', 'application/p/r']);
  assert.ok(
    explained.value.lines.some((line) => line.includes('application/p/r')),
    explained.value.lines.join('\n'),
  );
  const denied = await person.explain({
    body: { source: { workload: 'db' }, destination: { workload: 'web' }, port: 80 },
  });
  assert.ok(denied.kind === 'ok' && denied.value.action === 'deny');
  const hosts = await person.listHosts();
  assert.deepEqual(
    hosts.kind === 'ok' && hosts.value.items.map(({ host, behind, workloads }) => [host, behind, workloads]),
    [['h1', 0, 2]],
  );
  const revisions = await fixture.admin.listRevisions({ query: { limit: 2 } });
  assert.ok(revisions.kind === 'ok');
  // The newest made the viewer's token.
  assert.deepEqual(
    revisions.value.items.map((item) => [item.revision, item.by]),
    [
      [revision + 1, 'person/test'],
      [revision, 'person/admin'],
    ],
  );
  const older = await fixture.admin.listRevisions({ query: { limit: 2, cursor: revisions.value.cursor! } });
  assert.ok(older.kind === 'ok' && older.value.items[0]?.revision === revision - 1);
});

test('refused documents come back with problems by path, and nothing is taken', async () => {
  await using fixture = await managerFixture();
  const documents = [
    { value: segment('web') },
    { value: { ...segment('db'), spec: { nonsense: 1 } }, file: 'db.yaml' },
  ];
  const result = await fixture.admin.applyDocuments({ body: { documents } });
  assert.ok(result.kind === 'error' && result.error.code === 'refused' && result.status === 422);
  assert.ok(result.error.problems?.every((problem) => problem.document === 'Segment/db' && problem.file === 'db.yaml'));
  const listed = await fixture.admin.listDocuments();
  assert.deepEqual(listed.kind === 'ok' && listed.value.items, []);
});

test('the enforcement switch and adoption reach the agents, and are in the audit log with who and why', async () => {
  await using fixture = await managerFixture();
  await using agent = await enrolOverApi(fixture, 'h1', [workloadReport('h1/docker/web')]);
  await fixture.admin.setEnforcement({ body: { on: false, because: 'fire drill' } });
  await agent.next('enforcement', ({ on }) => !on);
  const status = await fixture.admin.getStatus();
  assert.ok(status.kind === 'ok' && !status.value.enforcement.on && status.value.enforcement.because === 'fire drill');
  await fixture.admin.adoptWorkload({ params: { workload: 'web' }, body: { mode: 'observe' } });
  assert.deepEqual(await agent.next('adopt'), { workload: 'h1/docker/web', mode: 'observe' });
  const log = await fixture.admin.listAudit({ query: { limit: 3 } });
  assert.ok(log.kind === 'ok');
  const line = log.value.items.find((item) => item.action === 'enforcement.off');
  assert.deepEqual([line?.actor, line?.details['because']], ['person/admin', 'fire drill']);
});

test('pages follow their cursor to the end, each item once', async () => {
  await using fixture = await managerFixture();
  const set = Array.from({ length: 25 }, (_, i) =>
    workloadReport(`h1/docker/${i}`, { labels: { app: i % 2 === 0 ? 'even' : 'odd' } }),
  );
  await using agent = await enrolOverApi(fixture, 'h1', set);
  assert.ok(agent.closed === null);
  const seen: string[] = [];
  let cursor: string | undefined;
  do {
    const page = await fixture.admin.listWorkloads({ query: { label: 'app=even', limit: 4, cursor } });
    assert.ok(page.kind === 'ok' && page.value.total === 13);
    seen.push(...page.value.items.map(({ workload }) => workload));
    cursor = page.value.cursor ?? undefined;
  } while (cursor !== undefined);
  assert.equal(seen.length, 13);
  assert.deepEqual(seen, [...new Set(seen)].toSorted());
});

test('the exported audit log verifies offline', async () => {
  await using fixture = await managerFixture();
  await fixture.admin.applyDocuments({ body: { documents: [{ value: segment('web') }] } });
  const head = await fixture.admin.getAuditHead();
  assert.ok(head.kind === 'ok');
  const key = createPublicKey(head.value.publicKey);
  const exported = await fixture.admin.exportAudit();
  assert.ok(exported.kind === 'ok');
  const lines: string[] = [];
  for await (const line of exported.value) lines.push(JSON.stringify(line));
  const verdict = verifyAudit(
    lines,
    {
      sha256,
      signatureHolds: (text, signature) => verify(null, Buffer.from(text), key, Buffer.from(signature, 'base64')),
    },
    [head.value.head],
  );
  assert.ok(verdict.kind === 'intact' && verdict.witnessed === 1, JSON.stringify(verdict));
});

test('the last administrator’s token cannot be ended, and names are taken once', async () => {
  await using fixture = await managerFixture();
  const listed = await fixture.admin.listTokens();
  assert.ok(listed.kind === 'ok' && listed.value.items.length === 1);
  const { id } = listed.value.items[0]!;
  const refused = await fixture.admin.revokeToken({ params: { id } });
  assert.ok(refused.kind === 'error' && refused.error.code === 'conflict');
  const second = await fixture.admin.createToken({ body: { name: 'boss', role: 'administrator' } });
  assert.ok(second.kind === 'ok');
  const same = await fixture.admin.createToken({ body: { name: 'boss', role: 'viewer' } });
  assert.ok(same.kind === 'error' && same.error.code === 'conflict');
  const ended = await fixture.admin.revokeToken({ params: { id } });
  assert.equal(ended.kind, 'ok');
  const shut = await fixture.admin.whoAmI();
  assert.ok(shut.kind === 'error' && shut.status === 401);
});

test('everything is there after a restart, and the first token is not made again', async () => {
  await using first = await managerFixture();
  await first.admin.applyDocuments({ body: { documents: [{ value: segment('web') }] } });
  const token = await first.token('viewer');
  await first.manager[Symbol.asyncDispose]();
  await using second = await managerFixture({ dataDirectory: first.directory });
  assert.equal(second.manager.authorityPem, first.manager.authorityPem);
  const listed = await apiClient(second.address(token)).listDocuments();
  assert.ok(listed.kind === 'ok' && listed.value.items[0]?.name === 'web');
});

test('the server renews its own certificate without dropping anybody', async () => {
  const hour = 3_600_000;
  let nowMs = Date.now() - 0.7 * hour;
  await using fixture = await managerFixture({ nowMs: () => nowMs, lifetimes: { hostMs: 100 * hour, serverMs: hour } });
  await using agent = await enrolOverApi(fixture, 'h1');
  const before = await serverCertificateSerial(fixture);
  await fixture.manager.tend();
  assert.equal(await serverCertificateSerial(fixture), before, 'not before it is time');
  nowMs = Date.now();
  await fixture.manager.tend();
  assert.notEqual(await serverCertificateSerial(fixture), before);
  assert.equal(agent.closed, null);
});

async function serverCertificateSerial({ manager }: ManagerFixture): Promise<string> {
  const socket = connect({
    host: '127.0.0.1',
    port: manager.apiPort,
    ca: manager.authorityPem,
    servername: managerServerName,
  });
  await once(socket, 'secureConnect');
  const { serialNumber } = socket.getPeerCertificate();
  socket.destroy();
  return serialNumber;
}

test('/metrics and /healthz', async () => {
  await using fixture = await managerFixture();
  const health = await rawRequest(fixture.address(null), { method: 'GET', path: '/healthz', body: null });
  assert.equal(health.status, 200);
  assert.equal((await rawRequest(fixture.address(null), { method: 'GET', path: '/metrics', body: null })).status, 401);
  const token = await fixture.token('viewer');
  const metrics = await rawRequest(fixture.address(token), { method: 'GET', path: '/metrics', body: null });
  assert.match(metrics.body, /^bulkhead_manager_enforcement 1$/m);
  const description = await rawRequest(fixture.address(null), { method: 'GET', path: '/v1/openapi.json', body: null });
  assert.equal((JSON.parse(description.body) as { openapi: string }).openapi, '3.1.0');
});

test(
  'whatever is sent, the answer is an error of ours with a place, nothing is half applied, and the manager lives',
  { timeout: 120_000 },
  async () => {
    await using fixture = await managerFixture();
    const address = fixture.address(await fixture.token('administrator'));
    const routes = Object.values<Route>(apiRoutes).filter((route) => route.body !== undefined);
    const { core } = fixture.manager;
    const body = fc.oneof(
      fc.string(),
      fc.uint8Array({ maxLength: 200 }),
      fc.jsonValue({ maxDepth: 4 }).map((value) => JSON.stringify(value)),
      fc
        .record({ documents: fc.array(fc.record({ value: fc.jsonValue({ maxDepth: 4 }) }), { maxLength: 3 }) })
        .map((value) => JSON.stringify(value)),
      fc.constantFrom(
        '{"__proto__":{"a":1}}',
        '[',
        '{"documents":[{"value":{"constructor":{"prototype":1}}}]}',
        'null',
        '"x"',
        '1e999',
      ),
    );
    const before = core.committer.state.documents.revision;
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...routes),
        body,
        fc.constantFrom('application/json', 'text/plain', 'x/y; charset=\u00e9'),
        async (route, bytes, contentType) => {
          const path = route.path.replace(/:[a-z]+/gi, 'none');
          const answer = await rawRequest(address, { method: route.method, path, body: bytes, contentType });
          assert.ok(answer.status < 500, `${route.method} ${path}: ${answer.status} ${answer.body}`);
          if (answer.status >= 400) assert.ok(apiErrorBody.safeParse(JSON.parse(answer.body)).success, answer.body);
        },
      ),
      { numRuns: 400 },
    );
    assert.equal(core.committer.state.documents.revision, before);
    const queries = fc.tuple(
      fc.constantFrom('/v1/workloads', '/v1/flows', '/v1/audit', '/v1/revisions', '/v1/divergences', '/v1/hosts'),
      fc.webQueryParameters(),
    );
    await fc.assert(
      fc.asyncProperty(queries, async ([path, query]) => {
        const answer = await rawRequest(address, { method: 'GET', path: `${path}?${query}`, body: null });
        assert.ok(answer.status < 500, `${path}?${query}: ${answer.body}`);
      }),
      { numRuns: 200 },
    );
    const cursors = await Promise.all(
      ['-1', 'NaN', '1e400', '{}', '[1]', 'x'].flatMap((cursor) =>
        ['/v1/workloads', '/v1/audit', '/v1/revisions', '/v1/divergences'].map((path) =>
          rawRequest(address, { method: 'GET', path: `${path}?cursor=${encodeURIComponent(cursor)}`, body: null }),
        ),
      ),
    );
    assert.ok(cursors.every(({ status }) => status < 500));
  },
);

test('a stream ends with the token of its reader', async () => {
  await using fixture = await managerFixture();
  const token = await fixture.token('viewer');
  const { lines } = await apiTransport(fixture.address(token)).stream({
    method: 'GET',
    path: '/v1/flows/watch',
    body: null,
  });
  await fixture.flows.watching(1);
  await fixture.manager.people.revoke('person/test', token.split('.')[1]!);
  fixture.flows.show('h1', 'secret');
  for await (const line of lines) assert.equal(line, '');
  await fixture.flows.watching(0);
});

test('a stream ends for the reader who has gone, and for no other', async () => {
  await using fixture = await managerFixture();
  const transport = apiTransport(fixture.address(await fixture.token('viewer')));
  const one = await transport.stream({ method: 'GET', path: '/v1/flows/watch', body: null });
  const two = await transport.stream({ method: 'GET', path: '/v1/flows/watch', body: null });
  await fixture.flows.watching(2);
  one.close();
  await fixture.flows.watching(1);
  fixture.flows.show('h1', 'f1');
  for await (const line of two.lines) {
    if (line === '') continue;
    assert.equal((JSON.parse(line) as { id: string }).id, 'f1');
    break;
  }
  two.close();
  await fixture.flows.watching(0);
});

test('divergences of a workload are found by its id and by its name', async () => {
  await using fixture = await managerFixture();
  await using agent = await enrolOverApi(fixture, 'h1', [workloadReport('h1/docker/0a', { name: 'web' })]);
  const record = { believed: 'a', observed: 'b', evidence: 'c', firstMs: 1, lastMs: 1, count: 1, resolved: false };
  const divergences = [
    { ...record, id: 'one', kind: 'spoofing' as const, workload: 'h1/docker/0a' },
    { ...record, id: 'two', kind: 'spoofing' as const, workload: 'h1/docker/0b' },
  ];
  agent.send({ type: 'divergences', body: { batch: 1, divergences } });
  await agent.next('ack');
  for (const workload of ['web', 'h1/docker/0a']) {
    const listed = await fixture.admin.listDivergences({ query: { workload } });
    assert.deepEqual(listed.kind === 'ok' && listed.value.items.map(({ id }) => id), ['one'], workload);
  }
});
