import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { encodeManagerMessage } from '@bulkhead/protocol';
import { applyBatch, emptyState } from '../store/state.ts';
import { ChangeLog, changesMax } from '../store/change-log.ts';
import { workloadReport } from '../testing/link-fixture.ts';
import { desiredMessages } from './desired.ts';
import type { DesiredMessage } from '@bulkhead/protocol';
import type { Command } from '../store/commands.ts';
import type { State } from '../store/state.ts';

/** What an agent makes of the messages. */
class AgentModel {
  revision = 0;
  documents = new Map<string, unknown>();
  identities = new Map<number, unknown>();
  workloads = new Map<string, unknown>();

  take(messages: readonly DesiredMessage[]): void {
    messages.forEach((message, index) => {
      assert.equal(message.more, index < messages.length - 1);
      if (message.from === 0 && index === 0) {
        this.documents.clear();
        this.identities.clear();
        this.workloads.clear();
      } else if (message.from !== 0) assert.equal(message.from, this.revision);
      for (const { kind, name } of message.documentsRemoved) this.documents.delete(`${kind}/${name}`);
      for (const document of message.documents) {
        this.documents.set(`${String(document['kind'])}/${(document['metadata'] as { name: string }).name}`, document);
      }
      for (const identity of message.identitiesRemoved) this.identities.delete(identity);
      for (const [identity, labels] of message.identities) this.identities.set(identity, labels);
      for (const workload of message.workloadsRemoved) this.workloads.delete(workload);
      for (const workload of message.workloads) this.workloads.set(workload.workload, workload);
    });
    this.revision = messages.at(-1)!.revision;
  }

  content() {
    const sorted = <Key>(map: Map<Key, unknown>) => [...map].toSorted(([a], [b]) => (String(a) < String(b) ? -1 : 1));
    return [sorted(this.documents), sorted(this.identities), sorted(this.workloads)];
  }
}

const name = fc.constantFrom('a', 'b', 'c');
const command = fc.oneof(
  fc.record({ kind: fc.constant('document' as const), name, version: fc.nat(3) }),
  fc.record({ kind: fc.constant('no-document' as const), name }),
  fc.record({ kind: fc.constant('workload' as const), name, governed: fc.boolean(), version: fc.nat(3) }),
  fc.record({ kind: fc.constant('no-workload' as const), name }),
  fc.record({ kind: fc.constant('token' as const), name }),
);
type Step = typeof command extends fc.Arbitrary<infer T> ? T : never;

function commandsOf(state: State, step: Step): readonly Command[] {
  switch (step.kind) {
    case 'document':
      return [
        {
          kind: 'documents',
          set: [{ kind: 'Segment', metadata: { name: step.name }, version: step.version }],
          removed: [],
        },
      ];
    case 'no-document':
      return [{ kind: 'documents', set: [], removed: [{ kind: 'Segment', name: step.name }] }];
    case 'workload': {
      const identity = step.governed ? 256 + step.version : 0;
      const allocated: Command[] =
        identity === 0 || state.inventory.identities.has(identity)
          ? []
          : [{ kind: 'identities-allocated', identities: [[identity, { v: String(step.version) }]] }];
      const report = workloadReport(`h/${step.name}`, { generation: step.version });
      return [
        ...allocated,
        {
          kind: 'workloads',
          set: [{ report, host: 'h', labels: {}, identity, addresses: [], problems: [] }],
          removed: [],
        },
      ];
    }
    case 'no-workload': {
      const free = [...state.inventory.identities].find(([, entry]) => entry.references === 0);
      return [
        { kind: 'workloads', set: [], removed: [`h/${step.name}`] },
        ...(free === undefined ? [] : [{ kind: 'identities-released', identities: [free[0]] } as const]),
      ];
    }
    case 'token':
      return [{ kind: 'enforcement', on: true, because: step.name }];
  }
}

test('whenever and however often an agent asks, differences bring it to what the full state says', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(command, fc.boolean(), fc.boolean()), { maxLength: 50 }), (steps) => {
      const state = emptyState();
      const often = new AgentModel();
      const seldom = new AgentModel();
      steps.forEach(([step, oftenAsks, seldomAsks], index) => {
        applyBatch(state, index + 1, { atMs: 0, by: 'x', commands: commandsOf(state, step) });
        if (oftenAsks) often.take(desiredMessages(state, often.revision, null));
        if (oftenAsks && seldomAsks) seldom.take(desiredMessages(state, seldom.revision, null));
      });
      const full = new AgentModel();
      full.take(desiredMessages(state, 0, null));
      for (const agent of [often, seldom]) {
        agent.take(desiredMessages(state, agent.revision, null));
        assert.deepEqual(agent.content(), full.content());
        assert.equal(agent.revision, state.desiredRevision);
      }
    }),
    { numRuns: 500 },
  );
});

test('a large state goes in several messages, each within a frame', () => {
  const state = emptyState();
  const documents = Array.from({ length: 30 }, (_, i) => ({
    kind: 'Policy',
    metadata: { name: `p${i}` },
    spec: { text: 'x'.repeat(400_000) },
  }));
  const entries = Array.from({ length: 12_000 }, (_, i) => ({
    report: workloadReport(`h/${i}`),
    host: 'h',
    labels: { app: 'a' },
    identity: 256,
    addresses: [`10.0.${i >> 8}.${i & 255}`],
    problems: [],
  }));
  applyBatch(state, 1, {
    atMs: 0,
    by: 'x',
    commands: [
      { kind: 'documents', set: documents, removed: [] },
      { kind: 'identities-allocated', identities: [[256, { app: 'a' }]] },
      { kind: 'workloads', set: entries, removed: [] },
    ],
  });
  const messages = desiredMessages(state, 0, null);
  assert.ok(messages.length > 10);
  for (const body of messages) encodeManagerMessage({ type: 'desired', body });
  const agent = new AgentModel();
  agent.take(messages);
  assert.deepEqual([agent.documents.size, agent.workloads.size], [30, 12_000]);
});

test('what the change log has forgotten is not passed off as a difference', () => {
  const log = new ChangeLog(10);
  assert.equal(log.since(9), null);
  for (let i = 0; i <= changesMax; i += 1) log.add(11 + Math.floor(i / 10), 'workload', `w${i}`);
  assert.equal(log.since(10), null);
  const newest = 11 + Math.floor(changesMax / 10);
  assert.equal(log.since(newest - 1)?.workload.size, 1);
  const half = log.since(newest - 100)!;
  assert.equal(half.workload.size, 991);
});
