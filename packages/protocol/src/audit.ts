/**
 * The audit log's form, and the check of its chain: each line carries the hash of the one before, and signed heads say how long the log
 * was. Hashing and the signature's check are arguments, so that this stays pure; command line and manager hand in the same functions.
 */
import { z } from 'zod';

export const auditLine = z.strictObject({
  /** From 1, no gaps. */
  sequence: z.int().positive(),
  atMs: z.number(),
  /** Which manager wrote it; each has a chain of its own. */
  writer: z.string(),
  /** `person/NAME`, `host/NAME`, `manager`, or `nobody` before a login. */
  actor: z.string(),
  action: z.string(),
  subject: z.string(),
  details: z.record(z.string(), z.unknown()),
  /** The ledger's batch that this line tells of, null where it tells of none. */
  revision: z.int().nonnegative().nullable(),
  /** Hash of the line before; `chainStart` on the first. */
  previous: z.string(),
  hash: z.string(),
});
export type AuditLine = z.infer<typeof auditLine>;

export const auditHead = z.strictObject({ sequence: z.int().nonnegative(), hash: z.string(), signature: z.string() });
export type AuditHead = z.infer<typeof auditHead>;

/** Last line of an export. */
export const auditHeadLine = z.strictObject({ head: auditHead, writer: z.string() });

export const chainStart = '0'.repeat(64);

/** What is hashed: every field but the hash, in one fixed order, object keys sorted. */
export function auditLineText(line: Omit<AuditLine, 'hash'>): string {
  return canonicalJson([
    line.sequence,
    line.atMs,
    line.writer,
    line.actor,
    line.action,
    line.subject,
    line.details,
    line.revision,
    line.previous,
  ]);
}

/** What is signed (Ed25519) for a head. */
export function auditHeadText(writer: string, head: { readonly sequence: number; readonly hash: string }): string {
  return `bulkhead audit head v1\n${writer}\n${head.sequence}\n${head.hash}\n`;
}

export interface AuditCheck {
  /** SHA-256 of the UTF-8 text, lower-case hexadecimal. */
  readonly sha256: (text: string) => string;
  readonly signatureHolds: (text: string, signature: string) => boolean;
}

export type AuditVerdict =
  | { readonly kind: 'intact'; readonly lines: number; readonly head: AuditHead; readonly witnessed: number }
  | { readonly kind: 'broken'; readonly line: number; readonly why: string };

/**
 * Checks an exported log: one JSON object a line, the signed head last. `witnesses` are heads that agents were shown: a log that does
 * not contain them was rewritten or cut. Collect them before the export, since the log grows meanwhile.
 */
export function verifyAudit(
  lines: Iterable<string>,
  check: AuditCheck,
  witnesses: readonly AuditHead[] = [],
): AuditVerdict {
  const hashes = new Map<number, string>();
  let writer: string | null = null;
  let previous: AuditLine | null = null;
  let head: AuditHead | null = null;
  let number = 0;
  for (const text of lines) {
    number += 1;
    if (text.trim() === '') continue;
    const broken = (why: string): AuditVerdict => ({ kind: 'broken', line: number, why });
    if (head !== null) return broken('there is something after the head');
    const value = parseJson(text);
    const asHead = auditHeadLine.safeParse(value);
    if (asHead.success) {
      if (writer !== null && asHead.data.writer !== writer) return broken('the head is of another writer');
      writer = asHead.data.writer;
      head = asHead.data.head;
      continue;
    }
    const parsed = auditLine.safeParse(value);
    if (!parsed.success) return broken('neither a line of the log nor its head');
    const line: AuditLine = parsed.data;
    const expected =
      previous === null ? { sequence: 1, hash: chainStart } : { sequence: previous.sequence + 1, hash: previous.hash };
    if (line.sequence !== expected.sequence) return broken(`line ${expected.sequence} is missing`);
    if (line.previous !== expected.hash) return broken(`line ${line.sequence} does not follow the one before it`);
    if (writer !== null && line.writer !== writer) return broken(`line ${line.sequence} is of another writer`);
    if (check.sha256(auditLineText(line)) !== line.hash) return broken(`line ${line.sequence} was changed`);
    writer = line.writer;
    previous = line;
    hashes.set(line.sequence, line.hash);
  }
  return verifyHeads(writer, previous, head, { number, hashes, check, witnesses });
}

function verifyHeads(
  writer: string | null,
  last: AuditLine | null,
  head: AuditHead | null,
  log: {
    readonly number: number;
    readonly hashes: ReadonlyMap<number, string>;
    readonly check: AuditCheck;
    readonly witnesses: readonly AuditHead[];
  },
): AuditVerdict {
  const broken = (why: string): AuditVerdict => ({ kind: 'broken', line: log.number, why });
  if (head === null || writer === null) return broken('the signed head is missing: the log was cut');
  if (!log.check.signatureHolds(auditHeadText(writer, head), head.signature))
    return broken("the head's signature does not hold");
  if (head.sequence !== (last?.sequence ?? 0) || head.hash !== (last?.hash ?? chainStart)) {
    return broken(`the head is of line ${head.sequence}, the last line is ${last?.sequence ?? 0}`);
  }
  let witnessed = 0;
  for (const witness of log.witnesses) {
    if (!log.check.signatureHolds(auditHeadText(writer, witness), witness.signature)) {
      return broken(`the signature of the witnessed head ${witness.sequence} does not hold`);
    }
    if (witness.sequence > head.sequence) {
      return broken(`a host witnessed line ${witness.sequence}, and the log ends with line ${head.sequence}`);
    }
    const held = witness.sequence === 0 ? chainStart : log.hashes.get(witness.sequence);
    if (held !== witness.hash) return broken(`line ${witness.sequence} is not what a host witnessed`);
    witnessed += 1;
  }
  return { kind: 'intact', lines: log.hashes.size, head, witnessed };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Not JSON is told apart from a valid line by the schemas.
    return undefined;
  }
}

/** JSON with sorted keys. Undefined members are left out, as JSON.stringify does. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (typeof value === 'object' && value !== null) {
    const members = Object.entries(value)
      .filter(([, member]) => member !== undefined)
      .toSorted(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
    return `{${members.map(([key, member]) => `${JSON.stringify(key)}:${canonicalJson(member)}`).join(',')}}`;
  }
  return JSON.stringify(value) ?? 'null';
}
