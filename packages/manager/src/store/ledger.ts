/**
 * The ledger: one sequence of batches that all managers agree on. A batch is opaque here; what it means is the state machine's
 * business (state.ts). The revision of the desired state is the sequence of its newest batch.
 */

export interface LedgerEntry {
  /** Starts at 1, no gaps. */
  readonly sequence: number;
  readonly batch: Uint8Array;
}

export type AppendResult =
  | { readonly kind: 'appended'; readonly sequence: number }
  /** Somebody else was first: `sequence` is the present end. Nothing was written. */
  | { readonly kind: 'conflict'; readonly sequence: number };

export type ReadResult =
  | { readonly kind: 'entries'; readonly entries: readonly LedgerEntry[] }
  /** Entries from there are gone; the snapshot stands for everything before `horizon`. */
  | { readonly kind: 'compacted'; readonly horizon: number };

export interface Snapshot {
  /** The state after this batch. */
  readonly sequence: number;
  readonly data: Uint8Array;
}

export interface Ledger extends AsyncDisposable {
  /**
   * Writes the batch as number `expectedSequence + 1` if the ledger ends at `expectedSequence`. Resolves after the batch is durable;
   * rejects with StoreError when that cannot be known. Concurrent appends that expect the same end: exactly one wins.
   */
  append(expectedSequence: number, batch: Uint8Array): Promise<AppendResult>;
  /** Batches after `after`, at most `limit`, in order. */
  read(after: number, limit: number): Promise<ReadResult>;
  /** Sequence of the newest batch, 0 when there is none. */
  last(): Promise<number>;
  snapshot(): Promise<Snapshot | null>;
  /** Keeps the snapshot and drops the one before. Batches up to `compactThrough` (at most the snapshot's sequence) may go. */
  saveSnapshot(snapshot: Snapshot, compactThrough: number): Promise<void>;
}

/** The store failed (disk full, file gone, locked). What was being written is not known to be durable. */
export class StoreError extends Error {
  constructor(operation: string, options: { readonly cause: unknown }) {
    super(`${operation}: ${options.cause instanceof Error ? options.cause.message : String(options.cause)}`, options);
    this.name = 'StoreError';
  }
}

/** Largest batch, bytes. An etcd adapter cuts it into requests of its own. */
export const batchBytesMax = 32 * 1024 * 1024;
