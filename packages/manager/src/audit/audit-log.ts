/**
 * The audit log of this manager: a hash chain in the stream `audit`. Changes of the ledger are told from its batches, so that a crash
 * between a change and its line loses no line: the next start writes what is missing.
 */
import { createHash } from 'node:crypto';
import { auditHeadText, auditLineText, chainStart } from '@bulkhead/protocol';
import { StoreError } from '../store/ledger.ts';
import { batchEvents } from './batch-events.ts';
import type { AuditHead, AuditLine } from '@bulkhead/protocol';
import type { AuditEvent, AuditWriter, Streams } from '../services.ts';
import type { Committer } from '../store/committer.ts';
import type { Batch } from '../store/commands.ts';
import type { AuditSigner } from './signer.ts';

const stream = 'audit';
/** Batches of the ledger read at once while catching up. */
const catchUpMax = 500;

export class AuditLog implements AuditWriter {
  readonly #streams: Streams;
  readonly #signer: AuditSigner;
  readonly #writer: string;
  readonly #nowMs: () => number;
  /** End of the chain, lines on their way to the disk included. */
  #sequence: number;
  #hash: string;
  /** The newest durable head; heads that are shown never speak of lines that a crash could lose. */
  #head: AuditHead;
  #revision: number;
  /** Set by the first failed write: what follows it in memory is not on disk, so nothing more may be written. */
  #failure: unknown = null;

  private constructor(
    parts: {
      readonly streams: Streams;
      readonly signer: AuditSigner;
      readonly writer: string;
      readonly nowMs: () => number;
    },
    last: AuditLine | null,
    revision: number,
  ) {
    this.#streams = parts.streams;
    this.#signer = parts.signer;
    // A chain has one writer for good: a machine that was given another name goes on with the name that the log began with.
    this.#writer = last?.writer ?? parts.writer;
    this.#nowMs = parts.nowMs;
    this.#sequence = last?.sequence ?? 0;
    this.#hash = last?.hash ?? chainStart;
    this.#revision = revision;
    this.#head = this.#sign(this.#sequence, this.#hash);
  }

  /** Continues the chain, and tells of the ledger's batches from now on. */
  static async open(
    committer: Committer,
    parts: {
      readonly streams: Streams;
      readonly signer: AuditSigner;
      readonly writer: string;
      readonly nowMs: () => number;
    },
  ): Promise<AuditLog> {
    const [lastRecord] = await parts.streams.tail(stream, 1);
    const revision = (await parts.streams.mark('audit.revision')) ?? 0;
    const log = new AuditLog(parts, lastRecord === undefined ? null : decodeLine(lastRecord.data), revision);
    await log.#catchUp(committer);
    // Not awaited and not caught: a manager that cannot write its audit log ends, and the next start writes the missing lines.
    committer.onCommit((sequence, batch) => void log.#recordBatch(sequence, batch));
    return log;
  }

  /** The newest durable head, signed. */
  get head(): AuditHead {
    return this.#head;
  }

  get writer(): string {
    return this.#writer;
  }

  get publicKeyPem(): string {
    return this.#signer.publicKeyPem;
  }

  record(event: AuditEvent): Promise<void> {
    return this.#append([event], null);
  }

  async read(from: number, limit: number): Promise<readonly AuditLine[]> {
    const records = await this.#streams.read(stream, from, limit);
    return records.map((record) => decodeLine(record.data));
  }

  #recordBatch(sequence: number, batch: Batch): Promise<void> {
    this.#revision = sequence;
    return this.#append(batchEvents(batch), sequence);
  }

  async #append(events: readonly AuditEvent[], revision: number | null): Promise<void> {
    if (this.#failure !== null) throw new StoreError('audit', { cause: this.#failure });
    const atMs = this.#nowMs();
    const lines = events.map((event) => this.#chain(event, revision, atMs));
    const { sequence, hash } = { sequence: this.#sequence, hash: this.#hash };
    // Both in one turn, so in one commit: the mark never runs ahead of the lines.
    const writes: Promise<unknown>[] = [this.#streams.append(stream, lines.map(encodeLine))];
    if (revision !== null) writes.push(this.#streams.setMark('audit.revision', revision));
    try {
      await Promise.all(writes);
    } catch (error) {
      this.#failure = error;
      throw error;
    }
    if (sequence > this.#head.sequence) this.#head = this.#sign(sequence, hash);
  }

  #chain(event: AuditEvent, revision: number | null, atMs: number): AuditLine {
    const { actor, action, subject } = event;
    // Through JSON, so that what is hashed is what will be read back.
    const details = JSON.parse(JSON.stringify(event.details)) as Record<string, unknown>;
    const sequence = this.#sequence + 1;
    const open = {
      sequence,
      atMs,
      writer: this.#writer,
      actor,
      action,
      subject,
      details,
      revision,
      previous: this.#hash,
    };
    const hash = sha256(auditLineText(open));
    this.#sequence = sequence;
    this.#hash = hash;
    return { ...open, hash };
  }

  #sign(sequence: number, hash: string): AuditHead {
    return { sequence, hash, signature: this.#signer.sign(auditHeadText(this.#writer, { sequence, hash })) };
  }

  async #catchUp(committer: Committer): Promise<void> {
    while (this.#revision < committer.state.revision) {
      const entries = await committer.history(this.#revision, catchUpMax);
      const first = entries[0];
      if (first === undefined) return;
      if (first.sequence > this.#revision + 1) {
        const details = { from: this.#revision + 1, to: first.sequence - 1 };
        await this.record({ actor: 'manager', action: 'audit.gap', subject: 'ledger', details });
      }
      await Promise.all(entries.map(({ sequence, batch }) => this.#recordBatch(sequence, batch)));
    }
  }
}

export function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

function encodeLine(line: AuditLine): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(line));
}

function decodeLine(data: Uint8Array): AuditLine {
  return JSON.parse(new TextDecoder().decode(data)) as AuditLine;
}
