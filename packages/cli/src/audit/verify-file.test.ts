import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync, sign } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { auditHeadText, auditLineText, chainStart, type AuditLine } from '@bulkhead/protocol';
import { CommandFailure } from '../exit.ts';
import { verifyAuditFile } from './verify-file.ts';

const { privateKey, publicKey } = generateKeyPairSync('ed25519');
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

function head(line: { readonly sequence: number; readonly hash: string }) {
  const signature = sign(null, Buffer.from(auditHeadText('manager', line)), privateKey).toString('base64');
  return { sequence: line.sequence, hash: line.hash, signature };
}

function log(length: number, actor = 'person/a'): readonly AuditLine[] {
  const lines: AuditLine[] = [];
  for (let sequence = 1; sequence <= length; sequence += 1) {
    const line = {
      ...{ sequence, atMs: sequence, writer: 'manager', actor, action: 'documents.applied' },
      ...{ subject: 'Policy/a', details: { sequence }, revision: sequence, previous: lines.at(-1)?.hash ?? chainStart },
    };
    lines.push({ ...line, hash: sha256(auditLineText(line)) });
  }
  return lines;
}

const text = (lines: readonly AuditLine[], last = lines.at(-1)!): string =>
  [...lines, { writer: 'manager', head: head(last) }].map((line) => JSON.stringify(line)).join('\n');

describe('an exported audit log', () => {
  let directory = '';
  const file = async (name: string, content: string): Promise<string> => {
    await writeFile(join(directory, name), content);
    return join(directory, name);
  };
  const verdictOf = async (content: string, witnesses = '') =>
    verifyAuditFile({
      logFile: await file('log', content),
      keyFile: await file('key.pem', publicKey.export({ type: 'spki', format: 'pem' }).toString()),
      witnessFiles: witnesses === '' ? [] : [await file('witnesses', witnesses)],
    });

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'bulkhead-audit-'));
  });
  after(() => rm(directory, { recursive: true, force: true }));

  test('that nobody touched is intact', async () => {
    const verdict = await verdictOf(text(log(5)), JSON.stringify(head(log(5)[2]!)));
    assert.deepEqual([verdict.kind, verdict.kind === 'intact' && verdict.witnessed], ['intact', 1]);
  });

  test('a changed, a missing and a cut line are found', async () => {
    const lines = log(5);
    const changed = lines.map((line) => (line.sequence === 3 ? { ...line, actor: 'person/b' } : line));
    assert.equal((await verdictOf(text(changed))).kind, 'broken');
    assert.equal((await verdictOf(text(lines.filter((line) => line.sequence !== 3)))).kind, 'broken');
    const cut = lines.map((line) => JSON.stringify(line)).join('\n');
    assert.match(JSON.stringify(await verdictOf(cut)), /head is missing/);
  });

  test('a log that was rewritten or cut whole, with heads that hold, is not what a host witnessed', async () => {
    const witness = JSON.stringify(head(log(5)[3]!));
    assert.match(JSON.stringify(await verdictOf(text(log(5, 'person/b')), witness)), /not what a host witnessed/);
    assert.match(JSON.stringify(await verdictOf(text(log(2)), witness)), /a host witnessed line 4/);
    assert.equal((await verdictOf(text(log(5)), witness)).kind, 'intact');
  });

  test('a wrong key and a witness that is none are said as such', async () => {
    const logFile = await file('log', text(log(1)));
    await assert.rejects(
      verifyAuditFile({ logFile, keyFile: await file('no.pem', 'no key'), witnessFiles: [] }),
      (error) => error instanceof CommandFailure && error.exit === 'usage',
    );
    await assert.rejects(verdictOf(text(log(1)), '{"sequence": 1}'), /witnesses:1 is no head/);
  });
});
