/**
 * One SQLite file, one writer, many small writes: what is submitted in one turn of the event loop is written in one transaction and
 * one fsync, and each promise resolves after it.
 */
import { DatabaseSync } from 'node:sqlite';
import { StoreError } from './ledger.ts';

/** Most writes of one transaction. */
const groupMax = 4096;
/** How long a write waits for another process's lock, milliseconds. */
const busyTimeoutMs = 5000;

interface Job {
  readonly operation: string;
  /** Runs inside the transaction, must not touch anything but the database: the transaction may be rolled back. */
  readonly work: () => unknown;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

export function openDatabase(path: string): DatabaseSync {
  const database = new DatabaseSync(path, { timeout: busyTimeoutMs });
  // FULL: the write-ahead log is synced at every commit, so that what was acknowledged survives a power cut.
  database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;');
  return database;
}

export class GroupCommit implements AsyncDisposable {
  readonly #database: DatabaseSync;
  #queue: Job[] = [];
  #scheduled = false;
  #closed = false;

  constructor(database: DatabaseSync) {
    this.#database = database;
  }

  submit<Value>(operation: string, work: () => Value): Promise<Value> {
    if (this.#closed) return Promise.reject(new StoreError(operation, { cause: new Error('the store is closed') }));
    const { promise, resolve, reject } = Promise.withResolvers<Value>();
    this.#queue.push({ operation, work, resolve: resolve as (value: unknown) => void, reject });
    if (!this.#scheduled) {
      this.#scheduled = true;
      setImmediate(() => this.#flush());
    }
    return promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    while (this.#queue.length > 0) this.#flush();
    this.#database.close();
  }

  #flush(): void {
    this.#scheduled = false;
    const jobs = this.#queue.splice(0, groupMax);
    if (jobs.length === 0) return;
    if (this.#queue.length > 0) {
      this.#scheduled = true;
      setImmediate(() => this.#flush());
    }
    const values: unknown[] = [];
    try {
      this.#database.exec('BEGIN IMMEDIATE');
      for (const job of jobs) values.push(job.work());
      this.#database.exec('COMMIT');
    } catch (cause) {
      // A failed COMMIT may have left the transaction open or not; what was asked for is reported as failed either way.
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
      for (const job of jobs) job.reject(new StoreError(job.operation, { cause }));
      return;
    }
    jobs.forEach((job, index) => job.resolve(values[index]));
  }
}
