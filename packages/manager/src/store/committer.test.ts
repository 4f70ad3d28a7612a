import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Committer } from './committer.ts';
import { decodeState, encodeState } from './state-snapshot.ts';
import { openSqliteLedger } from './sqlite-ledger.ts';
import type { Ledger } from './ledger.ts';

const directory = mkdtempSync(join(tmpdir(), 'bulkhead-committer-'));
after(() => rmSync(directory, { recursive: true, force: true }));

function tokenCommand(id: string) {
  const token = {
    id,
    secretHash: '',
    host: null,
    labelsAllowed: null,
    addressesAllowed: null,
    createdMs: 0,
    expiresMs: 1,
    by: 'x',
  };
  return { kind: 'enrolment-token-created', token } as const;
}

test('two managers on one ledger: each proposal sees what the other’s did, none is lost or done twice', async () => {
  const path = join(directory, 'two.sqlite');
  await using one = await Committer.open(openSqliteLedger(path), () => 1, assert.ifError);
  await using two = await Committer.open(openSqliteLedger(path), () => 1, assert.ifError);
  const claims = Array.from({ length: 60 }, (_, i) => {
    const committer = i % 2 === 0 ? one : two;
    // Three want each name; the ledger gives it to one of them.
    const id = `token-${Math.floor(i / 3)}`;
    return committer.commit(`m${i % 2}`, (state) =>
      state.hosts.tokens.has(id) ? { commands: [], result: 'taken' } : { commands: [tokenCommand(id)], result: 'mine' },
    );
  });
  const results = await Promise.all(claims);
  assert.equal(results.filter(({ result }) => result === 'mine').length, 20);
  await Promise.all(
    [one, two].map((committer) => committer.commit('sync', () => ({ commands: [tokenCommand('end')], result: null }))),
  );
  assert.equal(two.state.hosts.tokens.size, 21);
  assert.equal(new Set(results.filter(({ result }) => result === 'mine').map(({ revision }) => revision)).size, 20);
});

test('a failed append leaves the state as the ledger has it, and the next proposal works', async () => {
  const ledger = openSqliteLedger(join(directory, 'failing.sqlite'));
  let failures = 2;
  const failing: Ledger = {
    ...ledger,
    async append(expected, batch) {
      failures -= 1;
      if (failures === 1) throw new Error('no space left');
      if (failures === 0) {
        // The worst case: durable, and the writer is told otherwise.
        await ledger.append(expected, batch);
        throw new Error('connection lost');
      }
      return ledger.append(expected, batch);
    },
    [Symbol.asyncDispose]: () => ledger[Symbol.asyncDispose](),
  };
  await using committer = await Committer.open(failing, () => 1, assert.ifError);
  const create = (id: string) => committer.commit('x', () => ({ commands: [tokenCommand(id)], result: null }));
  await assert.rejects(create('a'), /no space/);
  assert.equal(committer.state.hosts.tokens.size, 0);
  await assert.rejects(create('b'), /connection lost/);
  assert.ok(committer.state.hosts.tokens.has('b'), 'what the ledger holds counts');
  assert.equal((await create('c')).revision, 2);
});

test('a state comes back from its snapshot as it was', async () => {
  await using committer = await Committer.open(
    openSqliteLedger(join(directory, 'snapshot.sqlite')),
    () => 5,
    assert.ifError,
  );
  await committer.commit('x', () => ({
    commands: [
      tokenCommand('t'),
      { kind: 'documents', set: [{ kind: 'Segment', metadata: { name: 's' } }], removed: [] },
      {
        kind: 'identities-allocated',
        identities: [
          [256, { app: 'a' }],
          [257, { app: 'b' }],
        ],
      },
      { kind: 'identities-released', identities: [257] },
      { kind: 'enforcement', on: false, because: 'test' },
      { kind: 'adoption', workload: 'h/x', mode: 'observe' },
    ],
    result: null,
  }));
  const restored = decodeState(encodeState(committer.state));
  assert.equal(restored.revision, 1);
  assert.deepEqual([...restored.documents.entries.keys()], ['Segment/s']);
  assert.deepEqual([...restored.inventory.identities.keys()], [256]);
  assert.deepEqual([...restored.inventory.released], [[257, 1]]);
  assert.equal(restored.inventory.nextIdentity, 258);
  assert.equal(restored.enforcement.on, false);
  assert.equal(restored.adoptions.get('h/x'), 'observe');
  assert.ok(restored.hosts.tokens.has('t'));
  assert.equal(restored.changes.since(0), null, 'differences from before the snapshot are not known');
  assert.ok(restored.changes.since(1) !== null);
  assert.deepEqual(encodeState(restored), encodeState(committer.state));
});

test('after many batches there is a snapshot, and a start from it gives the same state', async () => {
  const path = join(directory, 'many.sqlite');
  const count = 2100;
  let before: Uint8Array;
  {
    await using committer = await Committer.open(openSqliteLedger(path), () => 1, assert.ifError);
    for (let i = 0; i < count; i += 1) {
      await committer.commit('x', () => ({ commands: [tokenCommand(`t${i}`)], result: null }));
    }
    before = encodeState(committer.state);
  }
  {
    await using ledger = openSqliteLedger(path);
    assert.equal((await ledger.snapshot())?.sequence, 2000);
  }
  await using again = await Committer.open(openSqliteLedger(path), () => 1, assert.ifError);
  assert.deepEqual(encodeState(again.state), before);
  const history = await again.history(count - 2, 10);
  assert.deepEqual(
    history.map(({ sequence }) => sequence),
    [count - 1, count],
  );
});
