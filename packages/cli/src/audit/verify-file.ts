/** Checks an exported audit log without any manager: chain, heads, signatures, and what hosts witnessed. */
import { createHash, createPublicKey, verify, type KeyObject } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { auditHead, verifyAudit, type AuditCheck, type AuditHead, type AuditVerdict } from '@bulkhead/protocol';
import { CommandFailure } from '../exit.ts';

/** Longest log that is checked in one go, lines. */
const linesMax = 20_000_000;

export interface VerifyOptions {
  readonly logFile: string;
  /** The manager's public key, PEM. */
  readonly keyFile: string;
  /** Files of heads that hosts witnessed: one JSON object a line. */
  readonly witnessFiles: readonly string[];
}

export async function verifyAuditFile(options: VerifyOptions): Promise<AuditVerdict> {
  const key = await readKey(options.keyFile);
  const check: AuditCheck = {
    sha256: (text) => createHash('sha256').update(text).digest('hex'),
    signatureHolds: (text, signature) => verify(null, Buffer.from(text), key, Buffer.from(signature, 'base64')),
  };
  const witnesses: AuditHead[] = [];
  for (const file of options.witnessFiles) witnesses.push(...(await readWitnesses(file)));
  return verifyAudit(await readLines(options.logFile), check, witnesses);
}

async function readKey(path: string): Promise<KeyObject> {
  const text = await readFile(path, 'utf8').catch((cause: Error) => {
    throw new CommandFailure('usage', `the key ${path} cannot be read: ${cause.message}`, { cause });
  });
  try {
    return createPublicKey(text);
  } catch (cause) {
    throw new CommandFailure('usage', `${path} is no public key (PEM)`, { cause });
  }
}

async function readLines(path: string): Promise<readonly string[]> {
  const lines: string[] = [];
  const stream = createReadStream(path, 'utf8');
  try {
    for await (const line of createInterface({ input: stream, crlfDelay: Infinity })) {
      if (lines.length === linesMax)
        throw new CommandFailure('invalid', `${path} has more than ${linesMax} lines: check it in parts`);
      lines.push(line);
    }
  } catch (error) {
    if (error instanceof CommandFailure) throw error;
    throw new CommandFailure(
      'usage',
      `${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`,
    );
  } finally {
    stream.destroy();
  }
  return lines;
}

async function readWitnesses(path: string): Promise<readonly AuditHead[]> {
  const lines = (await readLines(path)).filter((line) => line.trim() !== '');
  return lines.map((line, index) => {
    const parsed = auditHead.safeParse(parseJson(line));
    if (parsed.success) return parsed.data;
    throw new CommandFailure('invalid', `${path}:${index + 1} is no head`, {
      remedy: 'A head is {"sequence", "hash", "signature"}, as receipts show it.',
    });
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // The schema says that it is no head.
    return undefined;
  }
}
