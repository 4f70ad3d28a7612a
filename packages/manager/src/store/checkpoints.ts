/**
 * Copies a write-ahead log into its database on a thread of its own. By default SQLite does so at the end of whatever commit made the
 * log long, and an answer that waits for that commit waits for several syncs more.
 */
import { once } from 'node:events';
import type { DatabaseSync } from 'node:sqlite';
import { Worker } from 'node:worker_threads';

/** Rows written after which the log is copied. */
const rowsPerCheckpoint = 512;
/**
 * Pages of the log (64 MiB) at which a commit copies after all: the log begins anew only at a moment when all of it was copied, which
 * does not come by itself while commits follow each other closely. By then the thread has left little to copy.
 */
const pagesMax = 16_384;
/** SQLite's own value, in force when the thread is lost. */
const pagesDefault = 1_000;

export class Checkpoints implements AsyncDisposable {
  readonly #database: DatabaseSync;
  readonly #path: string;
  #worker: Worker | null = null;
  #rows = 0;
  #running = false;
  #lost = false;

  /** `database`: the connection that writes to the file at `path`. */
  constructor(database: DatabaseSync, path: string) {
    this.#database = database;
    this.#path = path;
    database.exec(`PRAGMA wal_autocheckpoint = ${pagesMax}`);
  }

  /** So many rows were committed. */
  count(rows: number): void {
    this.#rows += rows;
    if (this.#rows < rowsPerCheckpoint || this.#running || this.#lost) return;
    this.#rows = 0;
    this.#running = true;
    this.#worker ??= this.#start();
    tell(this.#worker, 'checkpoint');
  }

  /** Before the database is closed: whoever closes last copies what is left, and removes the log. */
  async [Symbol.asyncDispose](): Promise<void> {
    const worker = this.#worker;
    this.#worker = null;
    if (worker === null || this.#lost) return;
    this.#lost = true;
    worker.ref();
    const gone = once(worker, 'exit');
    tell(worker, 'close');
    await gone;
  }

  #start(): Worker {
    const worker = new Worker(new URL('./checkpoint-worker.ts', import.meta.url), { workerData: this.#path });
    worker.on('message', () => (this.#running = false));
    worker.on('error', () => this.#lose());
    worker.unref();
    return worker;
  }

  /** Copying is then the commits' again. */
  #lose(): void {
    if (this.#lost) return;
    this.#lost = true;
    this.#database.exec(`PRAGMA wal_autocheckpoint = ${pagesDefault}`);
  }
}

export type CheckpointOrder = 'checkpoint' | 'close';

function tell(worker: Worker, order: CheckpointOrder): void {
  worker.postMessage(order, []);
}
