/** kill -9 of agent, manager, both: what was judged stays judged without a gap, and what happened meanwhile is told afterwards. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Stage, policy } from '../threats/stage.ts';
import { attempts } from '../threats/attempts.ts';
import { Probe } from './probe.ts';

const openPort = 6000;
const askedPort = 6001;
const deniedPort = 6002;
const rejectedPort = 6003;
/** Allowed, one for each outage, so that its flow is told apart. */
const outagePorts = { agent: 6010, manager: 6011, both: 6012 } as const;
/** Denied, likewise. */
const refusedPorts = { agent: 6020, manager: 6021, both: 6022 } as const;
/** The programs look after their table themselves when the agent has been silent for five seconds. */
const longerThanHeartbeatMs = 6500;
type Outage = keyof typeof outagePorts;

let stage: Stage;
let probe: Probe;
const all = ['open', 'asked', 'denied', 'rejected'] as const;

const ends = { from: { segment: 'web' }, to: { segment: 'database' } };
const tcp = (...ports: readonly number[]) => ports.map((port) => ({ protocol: 'tcp', port }));
const rules = [
  { name: 'open', action: 'allow', ...ends, ports: tcp(openPort, ...Object.values(outagePorts)) },
  { name: 'asked', action: 'ask', ...ends, ports: tcp(askedPort), when: 'source.name == "alice"' },
  { name: 'rejected', action: 'reject', ...ends, ports: tcp(rejectedPort) },
];

before(async () => {
  stage = await Stage.open();
  const { host } = stage;
  const address = stage.address('vault');
  await host.listen(
    'vault',
    openPort,
    askedPort,
    deniedPort,
    rejectedPort,
    ...Object.values(outagePorts),
    ...Object.values(refusedPorts),
  );
  await host.apply(policy('outages', ...rules));
  probe = new Probe(host, 'alice', {
    targets: [
      { name: 'open', address, port: openPort },
      { name: 'asked', address, port: askedPort },
      { name: 'denied', address, port: deniedPort },
      { name: 'rejected', address, port: rejectedPort },
    ],
    stays: { address, port: openPort },
    everyMs: 100,
    timeoutMs: 1500,
  });
});
after(async () => {
  await probe?.[Symbol.asyncDispose]();
  await stage?.[Symbol.asyncDispose]();
});

const only = (outcomes: readonly string[]): readonly string[] => [...new Set(outcomes)].toSorted();

/** From that moment on: allowed and established went on, denied stayed denied. */
function assertNoGap(sinceMs: number): void {
  assert.deepEqual(only(probe.outcomes('open', sinceMs)), ['connected']);
  assert.deepEqual(only(probe.outcomes('denied', sinceMs)), ['timeout']);
  assert.deepEqual(only(probe.outcomes('rejected', sinceMs)), ['ECONNREFUSED']);
  assert.deepEqual(probe.broken, []);
}

/** One allowed and one denied connect whose flows belong to this outage. */
async function connectsOf(outage: Outage): Promise<void> {
  const address = stage.address('vault');
  const targets = [outagePorts[outage], refusedPorts[outage]].map((port) => ({ address, port }));
  assert.deepEqual(await attempts(stage.host, 'alice', targets), ['connected', 'timeout']);
}

async function flowsArrive(outage: Outage): Promise<void> {
  const { host } = stage;
  await host.until('the journal is delivered', async () => (await host.status()).journal.batches === 0);
  await host.until(`flows of the outage of ${outage}`, async () => {
    const flows = await host.flows();
    const has = (port: number, verdict: string) =>
      flows.some(
        (flow) =>
          flow.destination.port === port && flow.verdict === verdict && flow.source.workload === 'h1/netns/alice',
      );
    return has(outagePorts[outage], 'allow') && has(refusedPorts[outage], 'deny');
  });
}

const linked = () =>
  stage.host.until('agent and manager are linked', async () => (await stage.host.status()).link.isReady);

test('the control: before anything is killed', async () => {
  const sinceMs = Date.now();
  await probe.rounds(all, sinceMs, 10);
  assertNoGap(sinceMs);
  assert.deepEqual(only(probe.outcomes('asked', sinceMs)), ['connected']);
});

test('the agent, for longer than its heartbeat lasts', async () => {
  const { host } = stage;
  const sinceMs = Date.now();
  await host.kill('agent');
  const deadMs = Date.now();
  await connectsOf('agent');
  await host.until('it was silent for long', async () => Date.now() - deadMs > longerThanHeartbeatMs);
  await probe.rounds(all, deadMs, 20);
  assert.deepEqual(only(probe.outcomes('asked', deadMs, deadMs + longerThanHeartbeatMs - 2000)), ['timeout']);
  await host.startAgent();
  await linked();
  const backMs = Date.now();
  await probe.rounds(all, backMs, 20);
  assertNoGap(sinceMs);
  assert.deepEqual(only(probe.outcomes('asked', backMs)), ['connected']);
  await flowsArrive('agent');
});

test('the manager: questions end as unreachable, the unknown is held, and both are settled afterwards', async () => {
  const { host } = stage;
  const sinceMs = Date.now();
  await host.kill('manager');
  const deadMs = Date.now();
  await connectsOf('manager');
  await host.attach('stranger', { app: 'web', never: 'seen-before' }, { ipv4: '10.224.0.40' });
  const target = { address: stage.address('vault'), port: openPort };
  // Labels that no document reads make no other identity; so this one is known, and a wholly new set is not.
  await host.attach('unknown', { app: 'nobody-knows' }, { ipv4: '10.224.0.41' });
  assert.deepEqual(await attempts(host, 'unknown', [target], 1500), ['timeout']);
  assert.equal((await host.endpoints()).find(({ name }) => name === 'unknown')?.state, 'held');
  await probe.rounds(all, deadMs, 20);
  assert.deepEqual(only(probe.outcomes('asked', deadMs)), ['timeout']);
  await host.startManager();
  await linked();
  const backMs = Date.now();
  await host.until('the unknown one is known', async () =>
    (await host.endpoints()).every(({ state }) => state === 'governed'),
  );
  assert.deepEqual(await attempts(host, 'unknown', [target], 1500), ['timeout']);
  assert.deepEqual(await attempts(host, 'stranger', [target], 3000), ['connected']);
  await probe.rounds(all, backMs, 20);
  assertNoGap(sinceMs);
  assert.deepEqual(only(probe.outcomes('asked', backMs)), ['connected']);
  await flowsArrive('manager');
  await host.until('questions of the outage are told', async () =>
    (await host.questions()).some(({ state, atMs }) => state === 'unreachable' && atMs >= deadMs),
  );
});

test('both, the agent back first; policy that changed meanwhile is in force, and nothing else moved', async () => {
  const { host } = stage;
  const sinceMs = Date.now();
  await host.kill('agent');
  await host.api('POST', '/v1/documents', {
    documents: [{ value: policy('late', { name: 'late', action: 'allow', ...ends, ports: tcp(refusedPorts.agent) }) }],
  });
  await host.kill('manager');
  const deadMs = Date.now();
  await connectsOf('both');
  await probe.rounds(all, deadMs, 20);
  assert.deepEqual(only(probe.outcomes('asked', deadMs)), ['timeout']);
  await host.startAgent();
  const aloneMs = Date.now();
  await probe.rounds(all, aloneMs, 10);
  await host.startManager();
  await linked();
  const target = { address: stage.address('vault'), port: refusedPorts.agent };
  await host.until(
    'the late rule is in force',
    async () => (await attempts(host, 'alice', [target]))[0] === 'connected',
  );
  const settledMs = Date.now();
  await probe.rounds(all, settledMs, 20);
  assertNoGap(sinceMs);
  assert.deepEqual(only(probe.outcomes('asked', settledMs)), ['connected']);
  await flowsArrive('both');
});
