import assert from 'node:assert/strict';
import { createPublicKey, verify } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { verifyAudit } from '@bulkhead/protocol';
import { openCore } from '../core.ts';
import { defaultLifetimes } from '../hosts/authority.ts';
import { Committer } from '../store/committer.ts';
import { openSqliteLedger } from '../store/sqlite-ledger.ts';
import { openSqliteStreams } from '../store/sqlite-streams.ts';
import { AuditLog, sha256 } from './audit-log.ts';
import { openAuditSigner } from './signer.ts';
import type { AuditCheck, AuditLine } from '@bulkhead/protocol';
import type { Core } from '../core.ts';

async function withCore(
  body: (core: Core, directory: string, open: () => Promise<Core>) => Promise<void>,
): Promise<void> {
  const dataDirectory = mkdtempSync(join(tmpdir(), 'bulkhead-audit-'));
  const open = () => openCore({ dataDirectory, nowMs: Date.now, lifetimes: defaultLifetimes, onFault: assert.ifError });
  const core = await open();
  try {
    await body(core, dataDirectory, open);
  } finally {
    await core[Symbol.asyncDispose]();
    rmSync(dataDirectory, { recursive: true });
  }
}

function checkFor(core: Core): AuditCheck {
  const key = createPublicKey(core.audit.publicKeyPem);
  return {
    sha256,
    signatureHolds: (text, signature) => verify(null, Buffer.from(text), key, Buffer.from(signature, 'base64')),
  };
}

async function exported(core: Core): Promise<{ lines: AuditLine[]; text: string[] }> {
  const { head, writer } = core.audit;
  const lines = [...(await core.audit.read(1, head.sequence))];
  return { lines, text: [...lines.map((line) => JSON.stringify(line)), JSON.stringify({ head, writer })] };
}

async function fill(core: Core, count: number): Promise<void> {
  for (let i = 0; i < count; i += 1) {
    await core.audit.record({
      actor: 'person/ann',
      action: 'test.done',
      subject: `s${i}`,
      details: { i, nested: { b: 1, a: [null, 'é'] }, 10: 'x', 9: 'y' },
    });
  }
}

test('an untouched log is intact, and any change, cut, swap or repetition shows', async () => {
  await withCore(async (core) => {
    await fill(core, 8);
    const check = checkFor(core);
    const { text, lines } = await exported(core);
    const verdict = verifyAudit(text, check);
    assert.ok(verdict.kind === 'intact', JSON.stringify(verdict));
    assert.equal(verdict.lines, lines.length);
    const broken = (what: string, changed: readonly string[]) =>
      assert.equal(verifyAudit(changed, check).kind, 'broken', what);
    text.slice(0, -1).forEach((line, index) => {
      const value = JSON.parse(line) as AuditLine;
      for (const change of [
        { actor: 'person/eve' },
        { atMs: value.atMs + 1 },
        { details: {} },
        { subject: 'other' },
        { revision: 99 },
      ]) {
        broken(`${index} ${JSON.stringify(change)}`, text.with(index, JSON.stringify({ ...value, ...change })));
      }
      broken(`without ${index}`, text.toSpliced(index, 1));
      broken(`twice ${index}`, text.toSpliced(index, 0, line));
    });
    broken('the tail cut off', text.slice(0, -1));
    broken('lines before the head cut off', [...text.slice(0, 3), text.at(-1)!]);
    broken('swapped', text.with(1, text[2]!).with(2, text[1]!));
    broken('nothing', []);
    broken('something after the head', [...text, text[0]!]);
    const forged = { ...JSON.parse(text.at(-1)!) } as { head: { signature: string } };
    forged.head.signature = `${forged.head.signature.slice(0, -8)}AAAAAAA=`;
    broken('a forged head', text.with(text.length - 1, JSON.stringify(forged)));
  });
});

test('a log rewritten by its owner, chain and head and all, does not hold what hosts witnessed', async () => {
  await withCore(async (core) => {
    await fill(core, 3);
    const witness = core.audit.head;
    await fill(core, 2);
    const check = checkFor(core);
    const { text } = await exported(core);
    const held = verifyAudit(text, check, [witness]);
    assert.ok(held.kind === 'intact' && held.witnessed === 1);
    // Another log with the same key: as if the owner had begun anew.
    await withCore(async (other, directory) => {
      assert.ok(directory !== '');
      await fill(other, 12);
      const rewritten = await exported(other);
      assert.equal(verifyAudit(rewritten.text, checkFor(other)).kind, 'intact');
      const signatureHolds = () => true;
      assert.equal(verifyAudit(rewritten.text, { sha256, signatureHolds }, [witness]).kind, 'broken');
    });
  });
});

test('the chain goes on after a restart, and lines that a crash cost are written then', async () => {
  await withCore(async (core, directory, open) => {
    await fill(core, 2);
    await core.enrolment.createToken('person/ann', { host: 'h1', labelsAllowed: null, forMs: 1000 });
    await core[Symbol.asyncDispose]();
    // What a crash between the ledger's commit and the audit's would leave.
    const database = new DatabaseSync(join(directory, 'streams.sqlite'));
    database.exec(
      "DELETE FROM records WHERE stream = 'audit' AND sequence = 3; UPDATE marks SET value = 0 WHERE key = 'audit.revision'",
    );
    database.close();
    await using again = await open();
    const { text, lines } = await exported(again);
    assert.deepEqual(
      lines.map((line) => line.action),
      ['test.done', 'test.done', 'enrolment-token.created'],
    );
    assert.equal(lines[2]?.revision, 1);
    assert.equal(verifyAudit(text, checkFor(again)).kind, 'intact');
    assert.ok(!JSON.stringify(lines).includes('secretHash'));
  });
});

test('a second manager does not get the same directory', async () => {
  await withCore(async (_core, _directory, open) => {
    await assert.rejects(open(), /in use by another manager/);
  });
});

test('a machine that is called otherwise goes on with the log that is there', async () => {
  await withCore(async (core, directory) => {
    await fill(core, 2);
    const { writer } = core.audit;
    const check = checkFor(core);
    await core[Symbol.asyncDispose]();
    await using stack = new AsyncDisposableStack();
    const streams = stack.use(openSqliteStreams(join(directory, 'streams.sqlite'), Date.now));
    const ledger = openSqliteLedger(join(directory, 'ledger.sqlite'));
    const committer = stack.use(await Committer.open(ledger, Date.now, assert.ifError));
    const signer = openAuditSigner(join(directory, 'audit.key'));
    const audit = await AuditLog.open(committer, { streams, signer, writer: `not-${writer}`, nowMs: Date.now });
    await audit.record({ actor: 'manager', action: 'manager.started', subject: `not-${writer}`, details: {} });
    const lines = await audit.read(1, audit.head.sequence);
    const text = [...lines, { head: audit.head, writer: audit.writer }].map((line) => JSON.stringify(line));
    assert.equal(verifyAudit(text, check).kind, 'intact', JSON.stringify(verifyAudit(text, check)));
  });
});
