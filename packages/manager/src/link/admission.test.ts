import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { managerServerName } from '@bulkhead/protocol';
import { openAuthority } from '../hosts/authority.ts';
import { makeAgentKeys } from '../testing/agent-client.ts';
import { apply, linkFixture, segment, workloadReport } from '../testing/link-fixture.ts';
import { connectionsPerHostMax } from './server.ts';
import type { TLSSocket } from 'node:tls';

test('a host speaks only for itself', async () => {
  await using fixture = await linkFixture();
  await apply(fixture, segment('web', { app: 'web' }));
  await using one = await fixture.connect(await fixture.enrol('h1', { app: ['web'] }));
  await using two = await fixture.connect(await fixture.enrol('h2'));
  one.hello('h1');
  two.hello('h2');
  const endpoints = [{ endpoint: 'e', network: 'n', mac: '02:00:00:00:00:01', addresses: ['10.1.0.2'] }];
  one.send({
    type: 'workloads',
    body: {
      full: true,
      removed: [],
      set: [workloadReport('h1/docker/a', { labels: { app: 'db', 'bulkhead.dev/host': 'h9', zone: 'x' }, endpoints })],
    },
  });
  await two.next('desired', (body) => body.workloads.length > 0);
  const entry = fixture.core.committer.state.inventory.workloads.get('h1/docker/a')!;
  assert.equal(entry.labels['app'], undefined);
  assert.equal(entry.labels['bulkhead.dev/host'], 'h1');
  assert.equal(entry.problems.length, 3);

  two.send({
    type: 'workloads',
    body: {
      full: true,
      removed: ['h1/docker/a'],
      set: [workloadReport('h1/docker/b'), workloadReport('h2/docker/c', { endpoints })],
    },
  });
  await two.next('desired', (body) => body.workloads.some((workload) => workload.workload === 'h2/docker/c'));
  const { inventory } = fixture.core.committer.state;
  assert.ok(inventory.workloads.has('h1/docker/a'), 'another host cannot remove it');
  assert.ok(!inventory.workloads.has('h1/docker/b'), 'nor report for it');
  assert.deepEqual(inventory.workloads.get('h2/docker/c')?.addresses, [], 'nor take its address');
});

test('mutual TLS refuses: no certificate, another authority, a server certificate, a wrong name in hello', async () => {
  await using fixture = await linkFixture();
  const credentials = await fixture.enrol('h1');
  const { authorityPem } = credentials;
  await assert.rejects(fixture.connect({ authorityPem }));

  const foreign = mkdtempSync(join(tmpdir(), 'bulkhead-foreign-'));
  try {
    const other = await openAuthority(foreign, Date.now);
    const { keyPem, request } = await makeAgentKeys('h1');
    const issued = await other.issueHost('h1', request);
    assert.ok(issued.kind === 'issued');
    await assert.rejects(fixture.connect({ authorityPem, keyPem, certificatePem: issued.issued.pem }));
  } finally {
    rmSync(foreign, { recursive: true });
  }
  const server = await fixture.core.authority.issueServer([]);
  await assert.rejects(fixture.connect({ authorityPem, keyPem: server.keyPem, certificatePem: server.certificatePem }));

  await using agent = await fixture.connect(credentials);
  agent.hello('h2');
  await agent.untilClosed();
  assert.match(agent.all('goodbye')[0]?.reason ?? '', /h1/);
  assert.equal(agent.all('desired').length, 0);
});

test('a certificate of our authority that the ledger does not know is refused', async () => {
  await using fixture = await linkFixture();
  const credentials = await fixture.enrol('h1');
  const { keyPem, request } = await makeAgentKeys('h1');
  const issued = await fixture.core.authority.issueHost('h1', request);
  assert.ok(issued.kind === 'issued');
  await assert.rejects(
    fixture.connect({ ...credentials, keyPem, certificatePem: issued.issued.pem }),
    /replaced or revoked/,
  );
});

test('an expired certificate is refused', async () => {
  let skewMs = -86_400_000;
  await using fixture = await linkFixture({
    nowMs: () => Date.now() + skewMs,
    lifetimes: { hostMs: 3_600_000, serverMs: 10 * 86_400_000 },
  });
  const old = await fixture.enrol('h1');
  skewMs = 0;
  await assert.rejects(fixture.connect(old));
});

test('revocation cuts the live connection and refuses the next', async () => {
  await using fixture = await linkFixture();
  const credentials = await fixture.enrol('h1');
  await using agent = await fixture.connect(credentials);
  agent.hello('h1');
  agent.send({ type: 'workloads', body: { full: true, removed: [], set: [workloadReport('h1/docker/a')] } });
  await agent.next('desired', (body) => body.workloads.length > 0);
  assert.equal(await fixture.core.enrolment.revoke('person/ann', 'h1', 'stolen'), true);
  await agent.untilClosed();
  assert.equal(fixture.core.committer.state.inventory.workloads.size, 0);
  await assert.rejects(fixture.connect(credentials), /revoked/);
});

test('a host renews its certificate over the link, and both work until the old one ends', async () => {
  await using fixture = await linkFixture();
  const credentials = await fixture.enrol('h1');
  await using agent = await fixture.connect(credentials);
  agent.hello('h1');
  const { keyPem, request } = await makeAgentKeys('h1');
  agent.send({ type: 'renew', body: { request } });
  const renewed = await agent.next('certificate');
  await using again = await fixture.connect({
    authorityPem: renewed.authorities,
    certificatePem: renewed.certificate,
    keyPem,
  });
  again.hello('h1');
  await again.next('welcome');
  await agent.untilClosed();
  assert.match(agent.all('goodbye')[0]?.reason ?? '', /connected again/);
});

test('one-time tokens: once, not after their time, for their host, with a proper request', async () => {
  let nowMs = Date.now();
  await using fixture = await linkFixture({ nowMs: () => nowMs });
  const { enrolment } = fixture.core;
  const { request } = await makeAgentKeys('h1');
  const create = async (host: string | null) => {
    const created = await enrolment.createToken('person/ann', { host, labelsAllowed: null, forMs: 1000 });
    return { id: created!.token.id, secret: created!.secret };
  };
  const general = await create(null);
  const both = await Promise.all([enrolment.enrol('h1', general, request), enrolment.enrol('h2', general, request)]);
  assert.deepEqual(both.map((result) => result.kind).toSorted(), ['enrolled', 'refused'], 'one token enrols one host');
  const taken = both[0]?.kind === 'enrolled' ? 'h1' : 'h2';
  const second = await create(null);
  assert.equal((await enrolment.enrol(taken, second, request)).kind, 'refused', 'a general token takes over no name');
  assert.equal((await enrolment.enrol('no/name', second, request)).kind, 'refused');
  assert.equal((await enrolment.enrol('h3', { ...second, secret: 'x'.repeat(43) }, request)).kind, 'refused');
  assert.equal((await enrolment.enrol('h3', second, 'not a request')).kind, 'refused');
  const bound = await create('h4');
  assert.equal((await enrolment.enrol('h5', bound, request)).kind, 'refused');
  nowMs += 2000;
  assert.equal((await enrolment.enrol('h4', bound, request)).kind, 'refused', 'expired');
  assert.equal(
    (await enrolment.enrol(taken, await create(taken), request)).kind,
    'enrolled',
    'a token for the host replaces it',
  );
});

test('a resumed TLS session does not outlive the enrolment', async () => {
  await using fixture = await linkFixture();
  const credentials = await fixture.enrol('h1');
  const tls = {
    port: fixture.link.port,
    host: '127.0.0.1',
    ca: credentials.authorityPem,
    cert: credentials.certificatePem,
    key: credentials.keyPem,
    servername: managerServerName,
  };
  const first = connectTls(tls);
  const [session] = (await once(first, 'session')) as [Buffer];
  first.destroy();
  assert.match(await upgrade(connectTls({ ...tls, session })), /^HTTP\/1\.1 101/);
  await fixture.core.enrolment.revoke('person/ann', 'h1', 'stolen');
  assert.match(await upgrade(connectTls({ ...tls, session })), /^HTTP\/1\.1 403/);
});

async function upgrade(socket: TLSSocket): Promise<string> {
  await once(socket, 'secureConnect');
  const key = Buffer.alloc(16).toString('base64');
  socket.write(
    `GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: ${key}\r\n\r\n`,
  );
  const [answer] = (await once(socket, 'data')) as [Buffer];
  socket.destroy();
  return answer.toString();
}

test('a host that connects again and again takes no more than its share of connections', async () => {
  await using fixture = await linkFixture();
  const credentials = await fixture.enrol('h1');
  const others = await fixture.enrol('h2');
  const agents = [];
  for (let i = 0; i < connectionsPerHostMax + 2; i += 1) agents.push(await fixture.connect(credentials));
  await using newest = agents.at(-1)!;
  for (const agent of agents.slice(0, 3)) await agent.untilClosed();
  newest.hello('h1');
  await newest.next('desired');
  await using other = await fixture.connect(others);
  other.hello('h2');
  await other.next('desired');
  await Promise.all(agents.slice(0, -1).map((agent) => agent[Symbol.asyncDispose]()));
});
