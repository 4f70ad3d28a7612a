import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { Committer } from '../store/committer.ts';
import { openSqliteLedger } from '../store/sqlite-ledger.ts';
import { DocumentHistory } from './history.ts';
import type { Command, StoredDocument } from '../store/commands.ts';

const fail = (error: unknown): never => {
  throw error;
};

function documentNumber(name: string, version: number): StoredDocument {
  return { apiVersion: 'bulkhead.dev/v1', kind: 'Segment', metadata: { name }, spec: { version } };
}

interface Opened extends AsyncDisposable {
  readonly committer: Committer;
  readonly history: DocumentHistory;
}

async function open(directory: string, file = 'documents.sqlite'): Promise<Opened> {
  await using stack = new AsyncDisposableStack();
  const ledger = openSqliteLedger(join(directory, 'ledger.sqlite'));
  const committer = stack.use(await Committer.open(ledger, () => 1_000, fail));
  const history = stack.use(await DocumentHistory.open(join(directory, file), committer, fail));
  const owned = stack.move();
  return { committer, history, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

async function inDirectory(run: (directory: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'bulkhead-history-'));
  try {
    await run(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

async function textAt(history: DocumentHistory, revision: number): Promise<string> {
  const found = await history.list(revision, { limit: 1_000 });
  if (found.kind !== 'found') return found.kind;
  return found.value.map(([key, entry]) => `${key}@${entry.revision} ${JSON.stringify(entry.document['spec'])}`).join();
}

type Step = { readonly set: readonly string[]; readonly removed: readonly string[] } | 'other' | 'restart';
const names = ['a', 'b', 'c', 'd'];
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ set: fc.subarray(names), removed: fc.subarray(names) }) },
  { weight: 2, arbitrary: fc.constant('other' as const) },
  { weight: 1, arbitrary: fc.constant('restart' as const) },
);

test('the documents of every revision can be read back, across restarts', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 25 }), (steps) =>
      inDirectory(async (directory) => {
        let opened = await open(directory);
        const expected: string[] = [''];
        for (const [version, each] of steps.entries()) {
          if (each === 'restart') {
            await opened[Symbol.asyncDispose]();
            opened = await open(directory);
            continue;
          }
          const { committer } = opened;
          const known = [...committer.state.documents.entries.values()].map(({ document }) => document.metadata.name);
          const commands: Command[] = [{ kind: 'enforcement', on: true, because: 'x' }];
          if (each !== 'other') {
            const removed = each.removed.filter((name) => known.includes(name) && !each.set.includes(name));
            commands.push({
              kind: 'documents',
              set: each.set.map((name) => documentNumber(name, version)),
              removed: removed.map((name) => ({ kind: 'Segment', name })),
            });
          }
          await committer.commit('person/test', () => ({ commands, result: null }));
          const entries = [...committer.state.documents.entries].toSorted(([a], [b]) => (a < b ? -1 : 1));
          expected.push(
            entries
              .map(([key, { document, revision }]) => `${key}@${revision} ${JSON.stringify(document['spec'])}`)
              .join(),
          );
        }
        for (const [revision, text] of expected.entries()) {
          assert.equal(await textAt(opened.history, revision), text, `revision ${revision}`);
        }
        assert.equal(await textAt(opened.history, expected.length), 'future');
        await opened[Symbol.asyncDispose]();
      }),
    ),
    { numRuns: 25 },
  );
});

async function commitVersions(committer: Committer, from: number, count: number): Promise<void> {
  for (let version = from; version < from + count; version += 1) {
    const command: Command = { kind: 'documents', set: [documentNumber('a', version)], removed: [] };
    await committer.commit('person/test', () => ({ commands: [command], result: null }));
  }
}

test('beyond the limits the oldest versions go, and say so', () =>
  inDirectory(async (directory) => {
    await using opened = await open(directory);
    await commitVersions(opened.committer, 1, 20);
    await opened.history.retain({ versions: 5, bytes: 1e9 });
    assert.equal(opened.history.oldest, 15);
    assert.equal(await textAt(opened.history, 14), 'gone');
    assert.match(await textAt(opened.history, 15), /@15 /);
    assert.equal(await opened.history.documentsRevision(17), 17);
    assert.deepEqual(await opened.history.changesAfter(16, 3), [17, 18, 19]);
    await commitVersions(opened.committer, 21, 1);
    assert.match(await textAt(opened.history, 20), /@20 /);
  }));

test('a history that was lost is read from the ledger again, and begins with what is in force where that is compacted', () =>
  inDirectory(async (directory) => {
    {
      await using opened = await open(directory);
      await commitVersions(opened.committer, 1, 8);
    }
    {
      await using again = await open(directory, 'second.sqlite');
      assert.match(await textAt(again.history, 3), /@3 /);
    }
    {
      await using ledger = openSqliteLedger(join(directory, 'ledger.sqlite'));
      await using committer = await Committer.open(ledger, () => 1_000, fail);
      const { encodeState } = await import('../store/state-snapshot.ts');
      await ledger.saveSnapshot({ sequence: 8, data: encodeState(committer.state) }, 5);
    }
    await using third = await open(directory, 'third.sqlite');
    assert.equal(third.history.oldest, 8);
    assert.equal(await textAt(third.history, 7), 'gone');
    assert.match(await textAt(third.history, 8), /@8 /);
  }));
