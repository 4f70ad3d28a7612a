/** Workloads in namespaces of their own, through the real programs, agent and manager processes, over mutual TLS. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { GovernedHost } from './governed-host.ts';

let host: GovernedHost;

function segment(name: string): unknown {
  return {
    apiVersion: 'bulkhead.dev/v1',
    kind: 'Segment',
    metadata: { name },
    spec: { selector: { matchLabels: { app: name } } },
  };
}

function rule(name: string, action: string, port: number, rest: Readonly<Record<string, unknown>> = {}): unknown {
  return {
    name,
    action,
    from: { segment: 'web' },
    to: { segment: 'database' },
    ports: [{ protocol: 'tcp', port }],
    ...rest,
  };
}

function policy(...rules: readonly unknown[]): unknown {
  return {
    apiVersion: 'bulkhead.dev/v1',
    kind: 'Policy',
    metadata: { name: 'p' },
    spec: { tier: 'application', rules },
  };
}

const rules = [
  rule('open', 'allow', 5432),
  rule('told', 'reject', 23),
  rule('asked', 'ask', 8080, { when: 'source.name == "a"' }),
  rule('asked-and-refused', 'ask', 8081, { when: 'source.name == "nobody"', otherwise: 'reject' }),
  rule('approved', 'ask', 8082, { approve: { by: 'administrator', within: '1m' } }),
];

before(async () => {
  host = await GovernedHost.start();
  await host.attach('a', { app: 'web' });
  await host.attach('b', { app: 'database' });
  await host.listen('b', 5432, 23, 8080, 8081, 8082, 22);
  await host.apply(segment('web'), segment('database'), policy(...rules));
});

after(() => host[Symbol.asyncDispose]());

test('allowed, rejected, denied by default', async () => {
  assert.equal(await host.connect('a', 'b', 5432), 'connected');
  assert.equal(await host.connect('a', 'b', 23), 'refused');
  assert.equal(await host.connect('a', 'b', 22), 'timeout');
  assert.equal(await host.connect('b', 'a', 5432), 'timeout');
});

test('asked: what the condition says happens to the very packet', async () => {
  assert.equal(await host.connect('a', 'b', 8080), 'connected');
  assert.equal(await host.connect('a', 'b', 8081), 'refused');
  const questions = await host.questions();
  assert.deepEqual(new Set(questions.map(({ verdict }) => verdict)), new Set(['allow', 'reject']));
});

test('a human who approves lets the same connect() succeed', async () => {
  const attempt = host.connect('a', 'b', 8082, 15_000);
  let waiting = '';
  await host.until('a question for a human', async () => {
    waiting = (await host.questions()).find(({ state }) => state === 'waiting')?.id ?? '';
    return waiting !== '';
  });
  await host.api('POST', `/v1/questions/${encodeURIComponent(waiting)}/approve`, {});
  assert.equal(await attempt, 'connected');
});

test('every attempt is a flow with its reasons', async () => {
  const wanted = [
    [5432, 'allow', 'application/p/open'],
    [23, 'reject', 'application/p/told'],
    [22, 'deny', 'posture:web'],
    [8080, 'allow', 'application/p/asked'],
    [8081, 'reject', 'application/p/asked-and-refused'],
  ] as const;
  await host.until('all flows', async () => {
    const flows = await host.flows();
    return wanted.every(([port, verdict, reason]) =>
      flows.some((flow) => flow.destination.port === port && flow.verdict === verdict && flow.egressReason === reason),
    );
  });
  const asked = (await host.flows()).filter(({ destination }) => destination.port === 8080);
  assert.ok(asked.every(({ question }) => question !== null));
});

test('agent killed: enforcement goes on, questions are denied; started again: nothing has changed, and its flows arrive', async () => {
  const before = await host.status();
  const told = await openFlows();
  await host.kill('agent');
  assert.equal(await host.connect('a', 'b', 5432), 'connected');
  assert.equal(await host.connect('a', 'b', 22), 'timeout');
  assert.equal(await host.connect('a', 'b', 8080), 'timeout');
  await host.startAgent();
  await host.until('the link', async () => (await host.status()).link.isReady);
  const after = await host.status();
  assert.equal(after.endpoints, before.endpoints);
  await host.until('the flow of the time without an agent', async () => (await openFlows()) === told + 1);
  assert.equal(await host.connect('a', 'b', 5432), 'connected');
  assert.equal(await host.connect('a', 'b', 8080), 'connected');
  const found = (await host.view('doctor')) as readonly { readonly severity: string }[];
  assert.deepEqual(
    found.filter(({ severity }) => severity === 'error'),
    [],
  );
});

async function openFlows(): Promise<number> {
  return (await host.flows()).filter(({ destination }) => destination.port === 5432).length;
}

test('manager killed: what is in force stays, questions end as unreachable, and are told afterwards', async () => {
  await host.kill('manager');
  assert.equal(await host.connect('a', 'b', 5432), 'connected');
  assert.equal(await host.connect('a', 'b', 8080, 4000), 'timeout');
  const { questions } = await host.status();
  assert.ok(questions.timedOut > 0);
  await host.startManager();
  await host.until('the link', async () => (await host.status()).link.isReady);
  await host.until('the journal', async () => (await host.status()).journal.batches === 0);
  await host.until('the outcome', async () => (await host.questions()).some(({ state }) => state === 'unreachable'));
  assert.equal(await host.connect('a', 'b', 8080), 'connected');
});

test('policy that changes ends live what it denies, and receipts say when', async () => {
  await host.apply(policy(rule('open', 'allow', 22)));
  assert.equal(await host.connect('a', 'b', 22), 'connected');
  assert.equal(await host.connect('a', 'b', 5432), 'timeout');
});
