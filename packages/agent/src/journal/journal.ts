/**
 * What must reach the manager at least once: numbered batches on disk until they are acknowledged. Bounded: when it is full, the oldest
 * flows go first, and are counted; outcomes and divergences only when no flows are left.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { randomUUID } from 'node:crypto';
import { DatabaseSync } from 'node:sqlite';
import { type AgentMessage, encodeAgentMessage } from '@bulkhead/protocol';

export const journalBytesMax = 256 * 1024 * 1024;

export type Journalled = Extract<AgentMessage, { type: 'flows' | 'outcomes' | 'divergences' }>;
export type JournalledType = Journalled['type'];
/** A message without its batch number; of flows also without what was lost, which the journal knows. */
export type JournalContent =
  | { readonly type: 'flows'; readonly flows: Extract<Journalled, { type: 'flows' }>['body']['flows'] }
  | { readonly type: 'outcomes'; readonly outcomes: Extract<Journalled, { type: 'outcomes' }>['body']['outcomes'] }
  | {
      readonly type: 'divergences';
      readonly divergences: Extract<Journalled, { type: 'divergences' }>['body']['divergences'];
    };

export interface Batch {
  readonly number: number;
  readonly frame: Uint8Array;
}

const schema = `
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = FULL;
  PRAGMA busy_timeout = 2000;
  CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID, STRICT;
  CREATE TABLE IF NOT EXISTS batch (
    number INTEGER PRIMARY KEY AUTOINCREMENT, type TEXT NOT NULL, items INTEGER NOT NULL, bytes INTEGER NOT NULL, frame BLOB
  ) STRICT;
`;

export class Journal implements Disposable {
  /** Names the numbering: another one than before when the journal was lost. */
  readonly id: string;
  readonly #database: DatabaseSync;
  readonly #bytesMax: number;
  readonly #statements;
  readonly #listeners = new Set<() => void>();
  #bytes: number;
  #batches: number;
  /** Flows that were given up and that no batch on disk tells of yet. */
  #lost: number;

  constructor(directory: string, options: { readonly bytesMax?: number } = {}) {
    const inMemory = directory === ':memory:';
    if (!inMemory) mkdirSync(directory, { recursive: true, mode: 0o700 });
    this.#bytesMax = options.bytesMax ?? journalBytesMax;
    const database = new DatabaseSync(inMemory ? directory : join(directory, 'journal.db'));
    database.exec(schema);
    this.#database = database;
    this.#statements = {
      getMeta: database.prepare('SELECT value FROM meta WHERE key = ?'),
      setMeta: database.prepare('INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value'),
      reserve: database.prepare("INSERT INTO batch (type, items, bytes, frame) VALUES (?, ?, 0, x'')"),
      fill: database.prepare('UPDATE batch SET bytes = ?, frame = ? WHERE number = ?'),
      remove: database.prepare('DELETE FROM batch WHERE number = ? RETURNING bytes'),
      next: database.prepare('SELECT number, frame FROM batch WHERE number > ? ORDER BY number LIMIT ?'),
      sum: database.prepare('SELECT coalesce(sum(bytes), 0) AS bytes, count(*) AS batches FROM batch'),
      oldest: database.prepare(
        "SELECT number, type, items FROM batch WHERE number <> ? ORDER BY type <> 'flows', number LIMIT 1",
      ),
    };
    const sum = this.#statements.sum.get();
    this.#bytes = Number(sum?.['bytes']);
    this.#batches = Number(sum?.['batches']);
    this.#lost = Number(this.#getMeta('lost') ?? 0);
    this.id = this.#getMeta('id') ?? randomUUID();
    this.#statements.setMeta.run('id', this.id);
  }

  get bytes(): number {
    return this.#bytes;
  }

  get batches(): number {
    return this.#batches;
  }

  /** Adds to what the next batch of flows says was lost. */
  countLost(flows: number): void {
    if (flows === 0) return;
    this.#lost += flows;
    this.#statements.setMeta.run('lost', String(this.#lost));
  }

  /** Durable when this returns. */
  append(content: JournalContent): void {
    this.#transaction(() => {
      const items = itemsOf(content);
      const number = Number(this.#statements.reserve.run(content.type, items).lastInsertRowid);
      const frame = encodeAgentMessage(messageOf(content, number, this.#lost));
      this.#statements.fill.run(frame.length, frame, number);
      this.#bytes += frame.length;
      this.#batches++;
      if (content.type === 'flows') this.#setLost(0);
      while (this.#bytes > this.#bytesMax && this.#batches > 1) this.#giveUpOldest(number);
    });
    for (const listener of this.#listeners) listener();
  }

  /** Not synced by itself: a batch that a crash brings back is sent again, and the manager knows its number. */
  acknowledge(number: number): void {
    this.#database.exec('PRAGMA synchronous = NORMAL');
    try {
      this.#remove(number);
    } finally {
      this.#database.exec('PRAGMA synchronous = FULL');
    }
  }

  /** The oldest batches after a number. */
  after(number: number, batchesMax: number): readonly Batch[] {
    return this.#statements.next.all(number, batchesMax).map((row) => ({
      number: Number(row['number']),
      frame: row['frame'] as Uint8Array,
    }));
  }

  onAppend(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  [Symbol.dispose](): void {
    this.#database.close();
  }

  #giveUpOldest(newest: number): void {
    const oldest = this.#statements.oldest.get(newest);
    if (oldest === undefined) return;
    this.#remove(Number(oldest['number']));
    this.#setLost(this.#lost + Number(oldest['items']));
  }

  #remove(number: number): void {
    const removed = this.#statements.remove.get(number);
    if (removed === undefined) return;
    this.#bytes -= Number(removed['bytes']);
    this.#batches--;
  }

  #setLost(lost: number): void {
    if (lost === this.#lost) return;
    this.#lost = lost;
    this.#statements.setMeta.run('lost', String(lost));
  }

  #getMeta(key: string): string | undefined {
    const row = this.#statements.getMeta.get(key);
    return row === undefined ? undefined : String(row['value']);
  }

  #transaction(run: () => void): void {
    const before = { bytes: this.#bytes, batches: this.#batches, lost: this.#lost };
    this.#database.exec('BEGIN IMMEDIATE');
    try {
      run();
      this.#database.exec('COMMIT');
    } catch (error) {
      this.#database.exec('ROLLBACK');
      this.#bytes = before.bytes;
      this.#batches = before.batches;
      this.#lost = before.lost;
      throw error;
    }
  }
}

function itemsOf(content: JournalContent): number {
  switch (content.type) {
    case 'flows':
      return content.flows.length;
    case 'outcomes':
      return content.outcomes.length;
    case 'divergences':
      return content.divergences.length;
  }
}

function messageOf(content: JournalContent, batch: number, lost: number): AgentMessage {
  switch (content.type) {
    case 'flows':
      return { type: 'flows', body: { batch, flows: content.flows, lost } };
    case 'outcomes':
      return { type: 'outcomes', body: { batch, outcomes: content.outcomes } };
    case 'divergences':
      return { type: 'divergences', body: { batch, divergences: content.divergences } };
  }
}
