import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { DocumentHistory } from '../policies/history.ts';
import { Committer } from '../store/committer.ts';
import { openSqliteLedger } from '../store/sqlite-ledger.ts';
import { Analysis, AnalysisError } from './analysis.ts';
import { waitingMax } from './limits.ts';
import type { StoredDocument } from '../store/commands.ts';

const directory = mkdtempSync(join(tmpdir(), 'bulkhead-analysis-'));
const fail = (error: unknown): never => {
  throw error;
};
const committer = await Committer.open(openSqliteLedger(join(directory, 'ledger.sqlite')), () => 1, fail);
const history = await DocumentHistory.open(join(directory, 'documents.sqlite'), committer, fail);
after(async () => {
  await history[Symbol.asyncDispose]();
  await committer[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

const rulesOf = (version: number, count: number): StoredDocument => ({
  apiVersion: 'bulkhead.dev/v1',
  kind: 'Policy',
  metadata: { name: 'p' },
  spec: {
    rules: Array.from({ length: count }, (_, number) => ({
      ...{ name: `v${version}-${number}`, action: 'allow', from: { selector: { matchLabels: { app: `a${number}` } } } },
      to: { selector: { matchLabels: { app: `b${number}` } } },
      ports: [{ protocol: 'tcp', port: version }],
    })),
  },
});
const commit = async (document: StoredDocument): Promise<number> => {
  const commands = [{ kind: 'documents', set: [document], removed: [] }] as const;
  return (await committer.commit('person/test', () => ({ commands, result: null }))).revision;
};
const flow = (port: number) => ({
  source: { kind: 'workload', labels: { app: 'a0' } } as const,
  destination: { kind: 'workload', labels: { app: 'b0' } } as const,
  ...{ protocol: 6, port },
});

test('each revision is judged by its own documents, in whatever order they are asked about', async () => {
  await using analysis = new Analysis(history.path);
  const revisions: number[] = [];
  for (let version = 1; version <= 12; version += 1) revisions.push(await commit(rulesOf(version, 2)));
  await history.documentsRevision(revisions.at(-1)!);
  for (const index of [11, 0, 5, 6, 4, 11, 3, 10, 0]) {
    const [revision, version] = [revisions[index]!, index + 1];
    const { explanation } = await analysis.ask('people', { kind: 'explain', revision, flow: flow(version) });
    const { reason } = explanation.verdict.egress;
    assert.ok(reason.kind === 'rule' && reason.rule === `v${version}-0`, JSON.stringify(reason));
  }
});

test('what takes too long is ended and said so, and what waits behind it has its own time', async () => {
  const revision = await commit(rulesOf(7, 2));
  await history.documentsRevision(revision);
  // No thread starts and answers in a millisecond.
  await using hasty = new Analysis(history.path, { analysisMs: 1 });
  const ask = (analysis: Analysis) => analysis.ask('people', { kind: 'explain', revision, flow: flow(7) });
  const isTooLong = (error: unknown) => error instanceof AnalysisError && error.kind === 'too-long';
  const [first, behind] = [ask(hasty), ask(hasty)];
  await assert.rejects(first, isTooLong);
  await assert.rejects(behind, isTooLong);
  await using patient = new Analysis(history.path);
  assert.equal((await ask(patient)).explanation.verdict.egress.reason.kind, 'rule');
});

test('too many at once are refused, and an end ends what waits', async () => {
  const analysis = new Analysis(history.path);
  const asked = Array.from({ length: waitingMax + 2 }, () =>
    analysis.ask('people', { kind: 'explain', revision: 1, flow: flow(1) }).then(
      () => 'answered',
      (error: unknown) => (error instanceof AnalysisError ? error.kind : fail(error)),
    ),
  );
  // One is at work, so many wait, and the next is one too many.
  assert.equal(await asked.at(-1), 'busy');
  await analysis[Symbol.asyncDispose]();
  assert.deepEqual(new Set(await Promise.all(asked)), new Set(['busy']));
});
