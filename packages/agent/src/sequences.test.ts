/**
 * Named states of documents and workloads, and every way between them that matters: forwards, backwards, split into single changes,
 * squashed into one revision, with an empty state in between, with the agent restarted in between. After each step the packets say what
 * `decide()` says.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createPolicySet, decide, parseDocument, type Document, type Party } from '@bulkhead/policy';
import { AgentFixture, outcomeOf, testHost } from './testing/agent-fixture.ts';
import { policy, rule, segment } from './testing/documents.ts';

type Json = Record<string, unknown>;

interface NamedState {
  readonly name: string;
  readonly documents: readonly Json[];
  /** Labels of the workloads of this host, by name; absent ones are detached. */
  readonly local: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly remote: Readonly<
    Record<string, { readonly labels: Readonly<Record<string, string>>; readonly address: string }>
  >;
}

const addresses: Readonly<Record<string, string>> = { a: '10.0.0.1', b: '10.0.0.2', c: '10.0.0.3' };
const outsideAddresses = ['192.0.2.9', '198.51.100.7'];
const ports = [80, 443, 5432];

const segments = [segment('web', { app: 'web' }), segment('database', { app: 'database' })];
const webAndDatabase = { a: { app: 'web' }, b: { app: 'database' } };

const states: readonly NamedState[] = [
  { name: 'empty', documents: [], local: {}, remote: {} },
  { name: 'denied by default', documents: segments, local: webAndDatabase, remote: {} },
  {
    name: 'one rule',
    documents: [...segments, policy('app', rule('r', 'allow', 'web', 'database', 5432))],
    local: webAndDatabase,
    remote: {},
  },
  {
    name: 'another port, with reject',
    documents: [
      ...segments,
      policy('app', rule('r', 'allow', 'web', 'database', 443), rule('n', 'reject', 'web', 'database', 80)),
    ],
    local: { ...webAndDatabase, c: { app: 'web' } },
    remote: {},
  },
  {
    name: 'roles swapped, and a workload elsewhere',
    documents: [...segments, policy('app', rule('r', 'allow', 'web', 'database', 5432))],
    local: { a: { app: 'database' }, b: { app: 'web' }, c: { app: 'web' } },
    remote: { far: { labels: { app: 'database' }, address: '192.0.2.9' } },
  },
  {
    name: 'outside networks',
    documents: [
      ...segments,
      policy('out', {
        name: 'net',
        action: 'allow',
        from: { segment: 'web' },
        to: { cidr: '198.51.100.0/24' },
        ports: [{ protocol: 'tcp', port: 443 }],
      }),
    ],
    local: webAndDatabase,
    remote: { far: { labels: { app: 'web' }, address: '192.0.2.9' } },
  },
];

class Walk {
  readonly fixture: AgentFixture;
  #documents = new Map<string, Json>();
  #state: NamedState = states[0]!;

  constructor(fixture: AgentFixture) {
    this.fixture = fixture;
  }

  async to(state: NamedState, squashed: boolean): Promise<void> {
    const { manager, agent, clock } = this.fixture;
    if (squashed) manager.setReachable(false);
    const wanted = new Map(state.documents.map((document) => [keyOf(document), document]));
    // Policies refer to segments: they go first and come last.
    for (const [key, document] of [...this.#documents].toReversed()) {
      if (!wanted.has(key)) manager.remove(String(document['kind']), nameOf(document));
    }
    const changed = [...wanted].filter(
      ([key, document]) => JSON.stringify(this.#documents.get(key)) !== JSON.stringify(document),
    );
    for (const [, document] of changed) manager.apply(document);
    this.#documents = wanted;
    for (const name of Object.keys(addresses)) await this.#setLocal(name, state.local[name]);
    for (const name of Object.keys(this.#state.remote)) if (!(name in state.remote)) manager.removeRemote(name);
    for (const [name, { labels, address }] of Object.entries(state.remote))
      manager.setRemote(name, { ...labels }, [address]);
    this.#state = state;
    if (squashed) manager.setReachable(true);
    await clock.advance(20);
    assert.equal(agent.status().receipt?.revision, manager.revision, state.name);
    assert.deepEqual(agent.status().receipt?.failed, []);
    await this.check(state);
  }

  async check(state: NamedState): Promise<void> {
    const parsed = state.documents.map((document) => parseDocument(document, {}));
    const documents = parsed.map((each): Document =>
      each.kind === 'ok' ? each.document : assert.fail(JSON.stringify(each)),
    );
    const set = createPolicySet(documents, { checkCondition: () => null });
    assert.ok(set.kind === 'ok');
    for (const from of Object.keys(state.local)) {
      for (const to of [...Object.keys(state.local).map((name) => addresses[name]!), ...outsideAddresses]) {
        if (to === addresses[from]) continue;
        for (const port of ports) {
          const flow = { source: partyOf(state, addresses[from]!), destination: partyOf(state, to), protocol: 6, port };
          const verdict = decide(set.policySet, flow);
          // What is elsewhere is judged there about its own side; no overlay leads there yet, which comes out after judgement.
          const isLocal = Object.keys(state.local).some((name) => addresses[name] === to);
          const isRemote = Object.values(state.remote).some(({ address }) => address === to);
          const { action } = isLocal ? verdict : verdict.egress;
          const allowed = isRemote ? 'unreachable_remote' : 'allowed';
          const expected = { allow: allowed, deny: 'denied', reject: 'rejected', ask: 'held' }[action];
          const delivery = await this.fixture.connect(from, to, { port });
          const isUnreachable = delivery.kind === 'dropped' && delivery.reason === 'unreachable_remote';
          const found = isUnreachable ? delivery.reason : outcomeOf(delivery);
          assert.equal(found, expected, `${state.name}: ${from} to ${to}:${port}`);
        }
      }
    }
  }

  async #setLocal(name: string, labels: Readonly<Record<string, string>> | undefined): Promise<void> {
    const { registry } = this.fixture.agent;
    const isThere = registry.endpoint(`e-${name}`) !== undefined;
    if (labels === undefined) {
      if (isThere) await registry.removeEndpoint(`e-${name}`);
      registry.removeWorkload(`${testHost}/netns/${name}`);
    } else if (isThere) this.fixture.bind(name, labels);
    else await this.fixture.attach(name, labels, addresses[name]!);
  }
}

function partyOf(state: NamedState, address: string): Party {
  for (const [name, labels] of Object.entries(state.local)) {
    if (addresses[name] === address) return { kind: 'workload', labels: { ...labels, ...facts } };
  }
  for (const { labels, address: far } of Object.values(state.remote))
    if (far === address) return { kind: 'workload', labels };
  return { kind: 'address', address };
}

const facts = {
  'bulkhead.dev/host': testHost,
  'bulkhead.dev/class': 'shared',
  'bulkhead.dev/boundary': 'none',
  'bulkhead.dev/engine': 'netns',
};

function nameOf(document: Json): string {
  return (document['metadata'] as { readonly name: string }).name;
}
function keyOf(document: Json): string {
  return `${String(document['kind'])}/${nameOf(document)}`;
}

const orders: Readonly<Record<string, readonly NamedState[]>> = {
  forwards: states,
  backwards: states.toReversed(),
  'through empty': states.flatMap((state) => [state, states[0]!]),
  'each to each': states.flatMap((from) => states.flatMap((to) => [from, to])),
};

for (const [order, sequence] of Object.entries(orders)) {
  for (const squashed of [false, true]) {
    test(`${order}, ${squashed ? 'squashed into one revision' : 'change by change'}`, async () => {
      await using fixture = await AgentFixture.start();
      const walk = new Walk(fixture);
      for (const state of sequence) await walk.to(state, squashed);
    });
  }
}

test('forwards, with the agent killed after every state', async () => {
  await using fixture = await AgentFixture.start();
  const walk = new Walk(fixture);
  for (const state of states) {
    await walk.to(state, false);
    await fixture.killAgent();
    await walk.check(state);
    await fixture.startAgent();
    await walk.check(state);
  }
});
