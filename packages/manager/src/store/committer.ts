/**
 * The only way to change the state: a proposal looks at the newest state and gives commands, the ledger makes them durable, then they
 * are applied and the listeners hear of it. Proposals run one after the other, so each sees what the ones before it did; when another
 * manager was first, its batches are applied and the proposal runs again.
 */
import { applyBatch, emptyState } from './state.ts';
import { decodeBatch, encodeBatch } from './commands.ts';
import { decodeState, encodeState } from './state-snapshot.ts';
import type { Batch, Command } from './commands.ts';
import type { Ledger } from './ledger.ts';
import type { State } from './state.ts';
import type { Unsubscribe } from '../services.ts';

/** Most proposals that wait. Beyond it the caller is told to try later. */
const proposalsMax = 20_000;
/** How often a proposal runs again because another manager was first. */
const conflictsMax = 100;
/** Entries read at once while catching up. */
const readMax = 500;
/** A snapshot is written after so many batches; entries older than the newest `entriesKept` go. */
const snapshotEvery = 2000;
const entriesKept = 100_000;

/** What a proposal says: commands and what to tell the caller, or only the latter. */
export interface Proposed<Result> {
  readonly commands: readonly Command[];
  readonly result: Result;
}

export interface Committed<Result> {
  readonly result: Result;
  /** Revision that the commands made; the present one when there were none. */
  readonly revision: number;
}

export class BusyError extends Error {
  constructor() {
    super(`More than ${proposalsMax} changes wait for the ledger.`);
    this.name = 'BusyError';
  }
}

export type CommitListener = (sequence: number, batch: Batch) => void;

export class Committer implements AsyncDisposable {
  readonly #ledger: Ledger;
  readonly #nowMs: () => number;
  readonly #onFault: (error: unknown) => void;
  readonly #listeners = new Set<CommitListener>();
  readonly #queue: (() => Promise<void>)[] = [];
  #state: State;
  #running: Promise<void> | null = null;
  #snapshotSequence: number;

  private constructor(ledger: Ledger, nowMs: () => number, onFault: (error: unknown) => void, state: State) {
    this.#ledger = ledger;
    this.#nowMs = nowMs;
    this.#onFault = onFault;
    this.#state = state;
    this.#snapshotSequence = state.revision;
  }

  /** Reads the snapshot and what came after it. `onFault` hears of snapshots that could not be written. */
  static async open(ledger: Ledger, nowMs: () => number, onFault: (error: unknown) => void): Promise<Committer> {
    const snapshot = await ledger.snapshot();
    const committer = new Committer(
      ledger,
      nowMs,
      onFault,
      snapshot === null ? emptyState() : decodeState(snapshot.data),
    );
    await committer.#catchUp();
    return committer;
  }

  get state(): State {
    return this.#state;
  }

  onCommit(listener: CommitListener): Unsubscribe {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** `propose` may run several times and must only read. Resolves when its commands are durable and applied. */
  commit<Result>(by: string, propose: (state: State) => Proposed<Result>): Promise<Committed<Result>> {
    if (this.#queue.length >= proposalsMax) return Promise.reject(new BusyError());
    const { promise, resolve, reject } = Promise.withResolvers<Committed<Result>>();
    this.#queue.push(() => this.#run(by, propose).then(resolve, reject));
    this.#running ??= this.#drain();
    return promise;
  }

  /** The entries after `after`, for the history of revisions. */
  async history(
    after: number,
    limit: number,
  ): Promise<readonly { readonly sequence: number; readonly batch: Batch }[]> {
    const read = await this.#ledger.read(after, limit);
    const entries = read.kind === 'entries' ? read.entries : await this.#readFrom(read.horizon - 1, limit);
    return entries.map((entry) => ({ sequence: entry.sequence, batch: decodeBatch(entry.batch) }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    while (this.#running !== null) await this.#running;
    await this.#ledger[Symbol.asyncDispose]();
  }

  async #drain(): Promise<void> {
    for (;;) {
      const next = this.#queue.shift();
      if (next === undefined) break;
      await next();
      // Whoever waited has the answer; a snapshot that fails is tried again after the next batch.
      await this.#snapshotWhenDue().catch(this.#onFault);
    }
    this.#running = null;
  }

  async #run<Result>(by: string, propose: (state: State) => Proposed<Result>): Promise<Committed<Result>> {
    for (let attempt = 0; attempt < conflictsMax; attempt += 1) {
      const proposed = propose(this.#state);
      if (proposed.commands.length === 0) return { result: proposed.result, revision: this.#state.revision };
      const batch: Batch = { atMs: this.#nowMs(), by, commands: proposed.commands };
      let appended;
      try {
        appended = await this.#ledger.append(this.#state.revision, encodeBatch(batch));
      } catch (error) {
        // It may have become durable all the same: what the ledger holds counts.
        await this.#catchUp();
        throw error;
      }
      if (appended.kind === 'appended') {
        this.#apply(appended.sequence, batch);
        return { result: proposed.result, revision: appended.sequence };
      }
      await this.#catchUp();
    }
    throw new BusyError();
  }

  #apply(sequence: number, batch: Batch): void {
    applyBatch(this.#state, sequence, batch);
    for (const listener of this.#listeners) listener(sequence, batch);
  }

  async #catchUp(): Promise<void> {
    for (;;) {
      const read = await this.#ledger.read(this.#state.revision, readMax);
      if (read.kind === 'compacted') {
        // The listeners cannot be told of batches that are gone: a new start reads the snapshot.
        throw new Error(
          `The ledger begins at ${read.horizon}, and this manager knows it up to ${this.#state.revision} only.`,
        );
      }
      if (read.entries.length === 0) return;
      for (const entry of read.entries) this.#apply(entry.sequence, decodeBatch(entry.batch));
    }
  }

  async #readFrom(after: number, limit: number) {
    const read = await this.#ledger.read(after, limit);
    return read.kind === 'entries' ? read.entries : [];
  }

  async #snapshotWhenDue(): Promise<void> {
    const { revision } = this.#state;
    if (revision - this.#snapshotSequence < snapshotEvery) return;
    await this.#ledger.saveSnapshot({ sequence: revision, data: encodeState(this.#state) }, revision - entriesKept);
    this.#snapshotSequence = revision;
  }
}
