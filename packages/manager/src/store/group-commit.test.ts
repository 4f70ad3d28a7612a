import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { GroupCommit, openDatabase } from './group-commit.ts';
import { StoreError } from './ledger.ts';

const directory = mkdtempSync(join(tmpdir(), 'bulkhead-group-'));
after(() => rmSync(directory, { recursive: true }));

test('a write that fails takes its whole group with it, says so to each, and the next group works', async () => {
  const database = openDatabase(join(directory, 'a.sqlite'));
  database.exec('CREATE TABLE t (value INTEGER PRIMARY KEY) STRICT');
  await using commits = new GroupCommit(database);
  const insert = (value: number) =>
    commits.submit(`insert ${value}`, () => Number(database.prepare('INSERT INTO t VALUES (?)').run(value).changes));
  const first = await Promise.allSettled([insert(1), insert(2), insert(1), insert(3)]);
  for (const result of first) assert.ok(result.status === 'rejected' && result.reason instanceof StoreError);
  assert.equal(database.prepare('SELECT count(*) AS n FROM t').get()?.['n'], 0);
  assert.deepEqual(await Promise.all([insert(1), insert(2)]), [1, 1]);
});

test('what was submitted before closing is written, what comes after is refused', async () => {
  const path = join(directory, 'b.sqlite');
  const database = openDatabase(path);
  database.exec('CREATE TABLE t (value INTEGER PRIMARY KEY) STRICT');
  const commits = new GroupCommit(database);
  const write = commits.submit('insert', () => database.prepare('INSERT INTO t VALUES (7)').run());
  await commits[Symbol.asyncDispose]();
  await write;
  await assert.rejects(
    commits.submit('late', () => 1),
    StoreError,
  );
  const again = openDatabase(path);
  assert.equal(again.prepare('SELECT value FROM t').get()?.['value'], 7);
  again.close();
});

test('a full disk is an error, not a crash, and leaves what was there', async () => {
  const database = openDatabase(join(directory, 'c.sqlite'));
  database.exec('CREATE TABLE t (value BLOB) STRICT; PRAGMA max_page_count = 20');
  await using commits = new GroupCommit(database);
  const insert = (bytes: number) =>
    commits.submit('insert', () => database.prepare('INSERT INTO t VALUES (?)').run(new Uint8Array(bytes)));
  await insert(100);
  await assert.rejects(insert(1_000_000), /full/);
  await insert(100);
  assert.equal(database.prepare('SELECT count(*) AS n FROM t').get()?.['n'], 2);
});
