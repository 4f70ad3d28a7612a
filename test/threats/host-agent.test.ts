/**
 * A compromised agent: a host with a valid certificate that says whatever it likes over the link. It speaks for nobody but itself, and
 * what it says about others changes neither what another host enforces nor what is recorded of it.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { encodeManagerMessage, type AgentMessage, type QuestionMessage } from '@bulkhead/protocol';
import { AgentClient, makeAgentKeys } from '../../packages/manager/src/testing/agent-client.ts';
import { workloadReport } from '../../packages/manager/src/testing/link-fixture.ts';
import { lanAddress, uplinkAddress } from '../kernel/agent/lan.ts';
import { attempts } from './attempts.ts';
import { moveInto } from './raw-link.ts';
import { closedPort, gateway, linkPort, openPort, policy, Stage } from './stage.ts';

const evil = 'h2';
let stage: Stage;
let agent: AgentClient;

interface WorkloadView {
  readonly workload: string;
  readonly host: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly segments: readonly string[];
  readonly endpoints: readonly { readonly addresses: readonly string[] }[];
  readonly problems: readonly string[];
}

const listed = async (): Promise<readonly WorkloadView[]> =>
  ((await stage.host.api('GET', '/v1/workloads?limit=1000')) as { readonly items: readonly WorkloadView[] }).items;
const one = async (id: string): Promise<WorkloadView | undefined> =>
  (await listed()).find(({ workload }) => workload === id);

const endpointsWith = (...addresses: string[]) => [
  { endpoint: 'e', network: 'n', mac: '02:66:66:66:66:66', addresses },
];

async function sent(message: AgentMessage): Promise<void> {
  agent.send(message);
  // What is handled in order is done when a batch after it is acknowledged.
  batch += 1;
  agent.send({ type: 'flows', body: { batch, lost: 0, flows: [] } });
  const own = batch;
  await agent.next('ack', (ack) => ack.batch === own);
}
let batch = 0;

before(async () => {
  stage = await Stage.open();
  moveInto(stage.host.pathOf());
  const credentials = await stage.enrol(evil, {
    labelsAllowed: { app: ['web', 'batch'] },
    addressesAllowed: ['10.225.0.0/16'],
  });
  agent = await AgentClient.connect(linkPort, credentials);
  agent.hello(evil);
  await agent.next('desired');
});
after(async () => {
  await agent?.[Symbol.asyncDispose]();
  await stage?.[Symbol.asyncDispose]();
});

test('it reports and removes workloads of another host: nothing of them changes, there or in the inventory', async () => {
  const before = (await listed()).filter(({ host }) => host === 'h1');
  assert.equal(before.length, 3);
  const stolen = workloadReport('h1/netns/vault', { labels: { app: 'web' }, endpoints: endpointsWith('10.225.0.9') });
  const removed = before.map(({ workload }) => workload);
  await sent({ type: 'workloads', body: { full: true, set: [stolen, workloadReport('h10/docker/x')], removed } });
  assert.deepEqual(
    (await listed()).filter(({ host }) => host === 'h1'),
    before,
  );
  assert.deepEqual(
    (await listed()).filter(({ host }) => host !== 'h1'),
    [],
  );
  assert.equal(await stage.host.connect('alice', 'vault', openPort, 3000), 'connected');
});

test('it claims addresses: of others, of the host, of machines outside its networks; traffic goes where it went', async () => {
  const { host } = stage;
  const claimed = [
    stage.address('vault'),
    `::ffff:${stage.address('vault')}`,
    stage.address('vault', 6),
    gateway,
    uplinkAddress,
    lanAddress,
    '127.0.0.1',
    '0.0.0.0',
  ];
  const report = workloadReport('h2/docker/thief', {
    labels: { app: 'web' },
    endpoints: endpointsWith(...claimed, '10.225.0.5'),
  });
  await sent({ type: 'workloads', body: { full: false, set: [report], removed: [] } });
  const thief = await one('h2/docker/thief');
  assert.ok(thief !== undefined);
  assert.equal(thief.problems.length, claimed.length, thief.problems.join('; '));
  assert.equal(await host.connect('alice', 'vault', openPort, 3000), 'connected');
  assert.deepEqual(
    await attempts(host, 'alice', [
      { address: lanAddress, port: openPort },
      { address: uplinkAddress, port: openPort },
    ]),
    ['timeout', 'timeout'],
  );
});

test('an address that it was first to claim is still the endpoint’s that has it here', async () => {
  const { host } = stage;
  const open = await stage.enrol('h3');
  await using squatter = await AgentClient.connect(linkPort, open);
  squatter.hello('h3');
  const address = '10.224.0.77';
  const report = workloadReport('h3/docker/squatter', {
    labels: { app: 'database' },
    endpoints: endpointsWith(address, uplinkAddress, gateway),
  });
  squatter.send({ type: 'workloads', body: { full: true, set: [report], removed: [] } });
  await squatter.next('desired', ({ workloads }) =>
    workloads.some(({ workload }) => workload === 'h3/docker/squatter'),
  );
  const { revision } = (await host.api('GET', '/v1/status')) as { readonly revision: number };
  await host.until('h1 has it', async () => ((await host.status()).receipt?.revision ?? 0) >= revision);
  // alice may speak to a database on this port; the host is none, whoever says so.
  assert.deepEqual(
    await attempts(host, 'alice', [
      { address: uplinkAddress, port: openPort },
      { address: gateway, port: openPort },
    ]),
    ['timeout', 'timeout'],
  );
  await host.attach('newcomer', { app: 'web' }, { ipv4: address });
  await host.listen('newcomer', openPort);
  await host.until('it is governed', async () =>
    (await host.endpoints()).some(({ name, state }) => name === 'newcomer' && state === 'governed'),
  );
  assert.deepEqual(
    await attempts(host, 'alice', [{ address, port: openPort }]),
    ['timeout'],
    'web does not speak to web',
  );
  assert.deepEqual(await attempts(host, 'newcomer', [{ address: stage.address('vault'), port: openPort }], 3000), [
    'connected',
  ]);
});

test('it asserts labels that it may not, and facts: they are not taken, and say so', async () => {
  const labels = { app: 'database', zone: 'x', 'bulkhead.dev/host': 'h1', 'bulkhead.dev/image': 'sha256:1' };
  const report = workloadReport('h2/docker/liar', { labels, endpoints: endpointsWith('10.225.0.6') });
  await sent({ type: 'workloads', body: { full: false, set: [report], removed: [] } });
  const liar = await one('h2/docker/liar');
  assert.deepEqual(liar?.segments, []);
  assert.equal(liar?.labels['app'], undefined);
  assert.equal(liar?.labels['bulkhead.dev/host'], evil);
  assert.equal(liar?.problems.length, Object.keys(labels).length);
});

test('it answers for others: their question goes on waiting, and only a person’s approval releases the packet', async () => {
  const { host } = stage;
  const ends = { from: { segment: 'web' }, to: { segment: 'database' } };
  const ports = [{ protocol: 'tcp', port: closedPort }];
  await host.apply(
    policy('approved', {
      name: 'by-hand',
      action: 'ask',
      ...ends,
      ports,
      approve: { by: 'administrator', within: '1m' },
    }),
  );
  const attempt = host.connect('alice', 'vault', closedPort, 20_000);
  let waiting: Awaited<ReturnType<typeof host.questions>>[number] | undefined;
  await host.until('a question waits', async () => {
    waiting = (await host.questions()).find(({ state }) => state === 'waiting');
    return waiting !== undefined;
  });
  const { id, rules, revision, source, destination, protocol, atMs } = waiting!;
  const party = ({ workload, identity, address, port }: typeof source) => ({
    workload,
    identity,
    address,
    port,
    generation: 1,
  });
  const question: QuestionMessage = {
    ...{ id, rules: [...rules], revision, protocol, atMs, ratePerMinute: 0 },
    source: party(source),
    destination: party(destination),
  };
  batch += 1;
  await sent({
    type: 'outcomes',
    body: { batch, outcomes: [{ question, verdict: 'allow', because: 'because I say so', atMs: Date.now() }] },
  });
  const own = { ...question, id: `${evil}:x:1` };
  agent.send({ type: 'questions', body: { questions: [question, own] } });
  const answer = await agent.next('decisions', ({ decisions }) => decisions.some(({ question: of }) => of === own.id));
  assert.deepEqual(
    answer.decisions.map(({ question: of, verdict }) => [of, verdict]),
    [[own.id, 'deny']],
    'its own about a workload that is not its is denied, the other’s is not even answered',
  );
  const now = (await host.questions()).find((each) => each.id === id);
  assert.deepEqual(now, waiting);
  await host.api('POST', `/v1/questions/${encodeURIComponent(id)}/approve`, {});
  assert.equal(await attempt, 'connected');
});

test('its flows stay its own: what another host recorded under the same id is untouched', async () => {
  const { host } = stage;
  assert.equal(await host.connect('alice', 'vault', openPort, 5000), 'connected');
  const ended = async (): Promise<Awaited<ReturnType<typeof host.flows>>[number] | undefined> =>
    (await host.flows('&host=h1')).find(
      ({ verdict, state, destination }) => verdict === 'allow' && state === 'closed' && destination.port === openPort,
    );
  // Until it has ended its own host records it again.
  await host.until('h1 has told the end of the flow', async () => (await ended()) !== undefined);
  const flow = (await ended())!;
  const { host: of, ...record } = flow as typeof flow & { readonly host: string };
  assert.equal(of, 'h1');
  const plain = ({ workload, identity, address, port }: typeof flow.source) => ({ workload, identity, address, port });
  const forged = {
    ...record,
    source: plain(record.source),
    destination: plain(record.destination),
    verdict: 'deny' as const,
    egressReason: 'forged',
  };
  batch += 1;
  await sent({ type: 'flows', body: { batch, lost: 0, flows: [forged] } });
  await host.until('its own record is there', async () => (await host.flows(`&host=${evil}`)).length === 1);
  const same = (await host.flows('&host=h1')).filter(({ id }) => id === flow.id);
  assert.ok(same.length === 1 && same[0]!.verdict === 'allow' && same[0]!.egressReason === flow.egressReason);
});

test('a receipt speaks for its own host only', async () => {
  const { revision } = (await stage.host.api('GET', '/v1/status')) as { readonly revision: number };
  await sent({
    type: 'receipt',
    body: { revision: 1_000_000, enforcedMs: 0, atMs: Date.now(), endpoints: 0, rows: 0, failed: [], auditHead: null },
  });
  const receipts = (await stage.host.api('GET', `/v1/revisions/${revision}/receipts`)) as {
    readonly hosts: readonly { readonly host: string; readonly revision: number | null }[];
  };
  const own = receipts.hosts.find(({ host }) => host === 'h1');
  assert.ok(own !== undefined && own.revision !== null && own.revision < 1_000_000, JSON.stringify(receipts));
});

test('a renewal gives it a certificate of its own name, whatever the request says', async () => {
  const { keyPem, request } = await makeAgentKeys('h1');
  agent.send({ type: 'renew', body: { request } });
  const { certificate, authorities } = await agent.next('certificate');
  await using again = await AgentClient.connect(linkPort, {
    keyPem,
    certificatePem: certificate,
    authorityPem: authorities,
  });
  again.hello('h1');
  await again.untilClosed();
  assert.match(again.all('goodbye')[0]?.reason ?? '', /certificate is of host h2/);
  assert.ok((await stage.host.status()).link.isReady, 'the real h1 is not disturbed');
});

test('it cannot speak as the manager: its documents are no message, and end its connection', async () => {
  const credentials = await stage.enrol('h4');
  await using other = await AgentClient.connect(linkPort, credentials);
  other.hello('h4');
  await other.next('desired');
  const before = (await stage.host.api('GET', '/v1/status')) as { readonly revision: number };
  other.sendBytes(encodeManagerMessage({ type: 'enforcement', body: { on: false } }));
  await other.untilClosed();
  assert.ok((await stage.host.status()).enforcing);
  const now = (await stage.host.api('GET', '/v1/status')) as { readonly revision: number };
  assert.equal(now.revision, before.revision);
});
