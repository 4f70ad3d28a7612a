/**
 * Traffic that goes on while policy changes: every flow that was recorded has an explanation that names a rule or posture of its
 * revision, and says what `decide()` says about the labels that were recorded.
 */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import {
  createPolicySet,
  decide,
  type Party,
  type SimulationResult,
  parseDocument,
  reasonText,
  rulesInOrder,
  type PolicySet,
} from '@bulkhead/policy';
import type { FlowExplanation, FlowSideExplanation, StoredFlow } from '@bulkhead/protocol';
import { GovernedHost } from './governed-host.ts';

/** Revisions that change documents while traffic goes on. */
const revisionsApplied = 24;
/** Connections that are tried between two of them. */
const attemptsBetween = 60;
const ports = [5432, 8080, 23, 9000];

let host: GovernedHost;
const made = new Set<ChildProcess>();
let attempts = 0;

before(async () => {
  host = await GovernedHost.start({ prefix: 'bhM' });
  await host.attach('a', { app: 'web' });
  await host.attach('b', { app: 'database' });
  await host.attach('c', { app: 'batch', 'io.kubernetes.pod.namespace': 'shop' });
  await listen('b');
});

after(() => host[Symbol.asyncDispose]());

const named = (kind: string, name: string, spec: unknown): unknown => ({
  apiVersion: 'bulkhead.dev/v1',
  kind,
  metadata: { name },
  spec,
});

/** Documents of one step. Rules come and go, keep their names and change their meaning, and postures change below them. */
function documentsOf(step: number): readonly unknown[] {
  const segment = (name: string, posture: unknown) =>
    named('Segment', name, { selector: { matchLabels: { app: name } }, posture });
  const to = { to: { segment: 'database' } };
  const tcp = (port: number) => [{ protocol: 'tcp', port }];
  const rules = [
    {
      name: `open-${step}`,
      action: 'allow',
      from: { segment: 'web' },
      ...to,
      ports: tcp(step % 2 === 0 ? 5432 : 9000),
    },
    { name: 'stable', action: step % 3 === 0 ? 'deny' : 'allow', from: { any: true }, ...to, ports: tcp(8080) },
    ...(step % 4 === 0 ? [{ name: 'told', action: 'reject', from: { segment: 'web' }, ...to, ports: tcp(23) }] : []),
    { name: 'moves', action: 'allow', from: { any: true }, ...to, ports: tcp(ports[step % ports.length]!) },
  ];
  return [
    segment('web', { egress: step % 5 === 0 ? 'allow' : 'deny' }),
    segment('database', { ingress: step % 5 < 2 ? 'allow' : 'deny' }),
    { apiVersion: 'bulkhead.dev/v1', kind: 'Namespace', metadata: { name: 'shop', labels: { step: `${step}` } } },
    named('Policy', 'p', { rules }),
    named('Policy', 'staged', { mode: 'staged', rules: [{ name: 'all', action: 'deny', from: { any: true }, ...to }] }),
    {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name: 'batch', namespace: 'shop' },
      spec: {
        podSelector: step % 6 === 0 ? { matchLabels: { app: 'nobody' } } : {},
        policyTypes: ['Egress'],
        egress: [
          {
            ports: [
              { protocol: 'TCP', port: 8080 + (step % 2) },
              { protocol: 'TCP', port: 5432 },
            ],
          },
        ],
      },
    },
  ];
}

/** Answers on all ports, whatever becomes of its connections. */
async function listen(name: string): Promise<void> {
  const script = `
    const { createServer } = require('node:net');
    let open = 0;
    for (const port of ${JSON.stringify(ports)}) {
      const server = createServer((socket) => socket.on('error', () => undefined).pipe(socket));
      server.listen(port, () => ++open === ${ports.length} && console.log('open'));
    }`;
  await once(host.spawn(name, process.execPath, '-e', script).stdout!, 'data');
}

/** Tries connections from a workload all the time, some of them kept open for a while. */
function traffic(from: string): void {
  const script = `
    const { connect } = require('node:net');
    const ports = ${JSON.stringify(ports)};
    let next = 0;
    const attempt = () => new Promise((resolve) => {
      const socket = connect(ports[next++ % ports.length], ${JSON.stringify(host.addressOf('b'))});
      const timer = setTimeout(() => socket.destroy(), next % 16 === 0 ? 1500 : 120);
      socket.on('connect', () => socket.write('x'));
      socket.on('data', () => { if (next % 16 !== 0) socket.end(); else socket.write('x'.repeat(next % 7 + 1)); });
      socket.on('error', () => undefined);
      socket.on('close', () => { clearTimeout(timer); process.stdout.write('.'); resolve(); });
    });
    const lane = async () => { for (;;) await attempt(); };
    for (let lanes = 0; lanes < 3; lanes++) lane();`;
  const child = host.spawn(from, process.execPath, '-e', script);
  child.stdout!.on('data', (dots: Buffer) => (attempts += dots.length));
  made.add(child);
}

async function stopTraffic(): Promise<void> {
  await Promise.all(
    [...made].map((child) => {
      const gone = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGKILL');
      return gone;
    }),
  );
}

async function recorded(): Promise<readonly StoredFlow[]> {
  const items: StoredFlow[] = [];
  let cursor: string | null = null;
  do {
    const query: string = `/v1/flows?sort=oldest&limit=1000${cursor === null ? '' : `&cursor=${encodeURIComponent(cursor)}`}`;
    const page = (await host.api('GET', query)) as {
      readonly items: readonly StoredFlow[];
      readonly cursor: string | null;
    };
    items.push(...page.items);
    cursor = page.cursor;
  } while (cursor !== null);
  return items;
}

const sets = new Map<number, PolicySet>();

/** The documents that the manager gives for a revision, resolved here. */
async function setOf(revision: number): Promise<PolicySet> {
  const known = sets.get(revision);
  if (known !== undefined) return known;
  const page = (await host.api('GET', `/v1/documents?revision=${revision}&limit=1000`)) as {
    readonly items: readonly { readonly document: unknown }[];
  };
  const documents = page.items.map(({ document }) => {
    const parsed = parseDocument(document, {});
    assert.ok(parsed.kind === 'ok');
    return parsed.document;
  });
  const made = createPolicySet(documents, { checkCondition: () => null });
  assert.ok(made.kind === 'ok');
  sets.set(revision, made.policySet);
  return made.policySet;
}

function reasonIn(set: PolicySet, reason: string): boolean {
  if (reason.startsWith('builtin:')) return true;
  const [, namespace] = /^posture:namespace\/(.+)$/.exec(reason) ?? [];
  if (namespace !== undefined) return set.namespaces.has(namespace);
  if (reason.startsWith('posture:')) return set.segments.has(reason.slice('posture:'.length));
  const rules = rulesInOrder(set).flatMap(([, ofTier]) => ofTier);
  return rules.some(({ tier, policy, name }) => reasonText({ kind: 'rule', tier, policy, rule: name }) === reason);
}

function partyOf(end: StoredFlow['source']): Party {
  if (end.workload === 'host') return { kind: 'host', labels: end.labels };
  if (end.workload === null) return { kind: 'address', address: end.address };
  return { kind: 'workload', labels: end.labels };
}

async function assertSide(flow: StoredFlow, direction: 'egress' | 'ingress', side: FlowSideExplanation): Promise<void> {
  const what = `${direction} of ${JSON.stringify(flow)}: ${JSON.stringify(side)}`;
  assert.equal(side.reason, direction === 'egress' ? flow.egressReason : flow.ingressReason, what);
  assert.ok(side.exists, what);
  assert.ok(side.agrees, what);
  assert.equal(side.unjudged, flow.dropReason !== null, what);
  // What policy was never asked about has the counter that stopped it for a reason.
  if (side.unjudged) return;
  const decided = decide(await setOf(side.revision), {
    source: partyOf(flow.source),
    destination: partyOf(flow.destination),
    protocol: flow.protocol,
    port: flow.destination.port,
  });
  assert.equal(reasonText(decided[direction].reason), side.reason, what);
}

test(
  'every flow of a recording over many revisions is explained by its revision',
  { timeout: 180_000 },
  async (context) => {
    await host.apply(...documentsOf(0));
    for (const from of ['a', 'c']) traffic(from);
    for (let step = 1; step <= revisionsApplied; step += 1) {
      const until = attempts + attemptsBetween;
      await host.until('connections', async () => attempts >= until);
      await host.api('POST', '/v1/documents', { documents: documentsOf(step).map((value) => ({ value })) });
    }
    const until = attempts + attemptsBetween;
    await host.until('the last connections', async () => attempts >= until);
    await stopTraffic();
    let before = -1;
    await host.until('the journal to be empty and nothing more to come', async () => {
      const { length } = await recorded();
      const { journal } = await host.status();
      const quiet = journal.batches === 0 && length === before;
      before = length;
      return quiet && length > 0;
    });

    const flows = (await recorded()).filter(({ source }) => source.workload !== 'host');
    const byRevision = new Map<number, number>();
    // A staged policy would have denied all of it, and says so on what was allowed.
    const allowed = flows.filter(({ verdict }) => verdict === 'allow');
    assert.ok(allowed.every(({ staged }) => staged === null || staged.verdict === 'deny'));
    assert.ok(allowed.some(({ staged }) => staged?.ingressReason === 'application/staged/all'));
    let moved = 0;
    let mixed = 0;
    for (const flow of flows) {
      const said = (await host.api('GET', `/v1/flows/${encodeURIComponent(flow.id)}/explanation`)) as FlowExplanation;
      await assertSide(flow, 'egress', said.egress);
      await assertSide(flow, 'ingress', said.ingress);
      // Both sides of one verdict may be of two revisions; the flow's own has the reason of at least one of them, and of both mostly.
      const own = await setOf(flow.revision);
      const names = [flow.egressReason, flow.ingressReason].filter((reason) => reasonIn(own, reason));
      assert.ok(names.length > 0, JSON.stringify(flow));
      if (names.length < 2) mixed += 1;
      byRevision.set(flow.revision, (byRevision.get(flow.revision) ?? 0) + 1);
      if (said.egress.revision !== flow.revision || said.ingress.revision !== flow.revision) moved += 1;
    }
    context.diagnostic(
      `${flows.length} flows over ${byRevision.size} revisions explained, ${moved} of them judged while a revision was being applied, ${mixed} with one side of each`,
    );
    assert.ok(byRevision.size >= 20, `${byRevision.size} revisions`);
  },
);

test('a simulation over the recording says what decide() says of every flow in it', async (context) => {
  const documents = documentsOf(7).map((value) => ({ value }));
  const result = (await host.api('POST', '/v1/simulate', { documents, sinceMs: 0 })) as SimulationResult;
  const parsed = documentsOf(7).map((value) => parseDocument(value, {}));
  const made = createPolicySet(
    parsed.flatMap((each) => (each.kind === 'ok' ? [each.document] : [])),
    { checkCondition: () => null },
  );
  assert.ok(made.kind === 'ok');
  const judged = (await recorded()).filter(({ dropReason }) => dropReason === null);
  const changed = judged.filter((flow) => {
    const { action } = decide(made.policySet, {
      source: partyOf(flow.source),
      destination: partyOf(flow.destination),
      ...{ protocol: flow.protocol, port: flow.destination.port },
    });
    return action !== flow.verdict;
  });
  assert.deepEqual([result.flows, result.changed, result.undecided], [judged.length, changed.length, 0]);
  assert.ok(changed.length > 0);
  const recommended = (await host.api('POST', '/v1/recommend', { sinceMs: 0, segment: 'database' })) as {
    readonly documents: readonly unknown[];
    readonly flowsCovered: number;
  };
  assert.ok(recommended.flowsCovered > 0);
  for (const document of recommended.documents) assert.equal(parseDocument(document, {}).kind, 'ok');
  context.diagnostic(
    `${changed.length} of ${judged.length} flows would change; ${recommended.flowsCovered} are covered by what is recommended`,
  );
});
