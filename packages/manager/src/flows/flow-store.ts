/**
 * Flows, stored by one worker that owns the tables. What `append` resolves is committed and synced. Durability is the engine's: a
 * commit is in its log on disk before the agent is told, so that neither kill -9 nor a power cut takes it back.
 */
import { Worker } from 'node:worker_threads';
import type { FlowFilter, FlowRecord, FlowSort, StoredFlow } from '@bulkhead/protocol';
import type { FlowStore, InventoryView, Page, PageRequest, Unsubscribe } from '../services.ts';
import { FlowEncoder } from './encoder.ts';
import type { GroupedFlows } from './group.ts';
import { bufferedFlowsMax, groupingsMax, queriesMax, retentionEveryMs, watchersMax, workerLimits } from './limits.ts';
import { flowMatcher } from './matcher.ts';
import type { FlowMatcher } from './matcher.ts';
import type { Request, RequestMessage, Retention, Totals, WorkerMessage, WorkerOptions } from './messages.ts';

export interface FlowStoreOptions {
  /** File of the tables; its directory exists. */
  readonly path: string;
  readonly inventory: InventoryView;
  readonly retention: Retention;
  readonly after: (milliseconds: number, call: () => void) => Unsubscribe;
  /** A fault that nobody waits for, e.g. of retention; it is tried again. */
  readonly onFault: (error: unknown) => void;
}

/** The worker could not do it, or has no room. Nothing was stored; the caller may try again. */
export class FlowStoreError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'FlowStoreError';
  }
}

interface Call {
  readonly resolve: (message: WorkerMessage) => void;
  readonly reject: (error: Error) => void;
}

type Reply<Kind extends WorkerMessage['kind']> = Extract<WorkerMessage, { kind: Kind }>;

export class DuckFlowStore implements FlowStore {
  readonly #options: FlowStoreOptions;
  readonly #worker: Worker;
  readonly #calls = new Map<number, Call>();
  readonly #watchers = new Map<(flows: readonly StoredFlow[]) => void, FlowMatcher>();
  readonly #encoder: FlowEncoder;
  #totals: Totals;
  #nextCall = 1;
  #buffered = 0;
  #searches = 0;
  #groupings = 0;
  #fault: Error | null = null;
  #closing: Promise<void> | null = null;
  #retention: Unsubscribe | null = null;

  /** Opens the file, replaying what a crash left in its log. */
  static async open(options: FlowStoreOptions): Promise<DuckFlowStore> {
    const { path, retention } = options;
    const workerData: WorkerOptions = { path, retention };
    const worker = new Worker(new URL('worker.ts', import.meta.url), {
      workerData,
      name: 'flows',
      resourceLimits: workerLimits,
    });
    const ready = await whenReady(worker, path);
    return new DuckFlowStore(options, worker, ready);
  }

  private constructor(options: FlowStoreOptions, worker: Worker, ready: Reply<'ready'>) {
    this.#options = options;
    this.#worker = worker;
    this.#totals = ready.totals;
    this.#encoder = new FlowEncoder(options.inventory, ready.nextNumber);
    worker.on('message', (message: WorkerMessage) => this.#receive(message));
    worker.on('error', (cause) => this.#die(new FlowStoreError('The worker of the flow store failed.', { cause })));
    worker.on('exit', () => this.#die(new FlowStoreError('The flow store is closed.')));
    this.#armRetention();
  }

  async append(
    host: string,
    batch: { readonly boot: string; readonly number: number; readonly lost: number },
    flows: readonly FlowRecord[],
  ): Promise<void> {
    if (this.#buffered + flows.length > bufferedFlowsMax)
      throw new FlowStoreError(`More than ${bufferedFlowsMax} flows wait to be stored.`);
    const { rows, columns, ends, texts } = this.#encoder.encode(host, flows);
    const request: Request = {
      kind: 'append',
      host,
      boot: batch.boot,
      batch: batch.number,
      lost: batch.lost,
      rows,
      columns,
      ends,
      texts,
    };
    const buffers = Object.values(columns).flatMap((column) => (Array.isArray(column) ? [] : [column.buffer]));
    this.#buffered += rows;
    try {
      const reply = (await this.#call(request, buffers)) as Reply<'stored'>;
      this.#totals = reply.totals;
      if (!reply.repeated) this.#tell(host, flows);
    } finally {
      this.#buffered -= rows;
    }
  }

  async query(filter: FlowFilter, sort: FlowSort, page: PageRequest): Promise<Page<StoredFlow>> {
    if (this.#searches >= queriesMax) throw new FlowStoreError(`More than ${queriesMax} searches wait.`);
    this.#searches += 1;
    try {
      const { cursor = null, limit, scope } = page;
      const { items, cursor: next } = (await this.#call({
        kind: 'query',
        filter,
        sort,
        cursor,
        limit,
        scope,
      })) as Reply<'page'>;
      return { items, cursor: next };
    } finally {
      this.#searches -= 1;
    }
  }

  async group(filter: FlowFilter, scope: readonly string[] | null): Promise<GroupedFlows | null> {
    if (this.#groupings >= groupingsMax) throw new FlowStoreError(`More than ${groupingsMax} analyses wait for flows.`);
    this.#groupings += 1;
    try {
      const reply = (await this.#call({ kind: 'group', filter, scope })) as Reply<'groups' | 'too-many'>;
      return reply.kind === 'too-many' ? null : { flows: reply.flows, dropped: reply.dropped };
    } finally {
      this.#groupings -= 1;
    }
  }

  /** Called with what is stored, batch by batch, at once; whoever passes it on bounds its own queue. */
  watch(
    filter: FlowFilter,
    scope: readonly string[] | null,
    listener: (flows: readonly StoredFlow[]) => void,
  ): Unsubscribe {
    if (this.#watchers.size >= watchersMax) throw new FlowStoreError(`More than ${watchersMax} listeners watch flows.`);
    const own = (flows: readonly StoredFlow[]): void => listener(flows);
    this.#watchers.set(own, flowMatcher(filter, scope));
    return () => this.#watchers.delete(own);
  }

  counts(): Totals {
    return this.#totals;
  }

  /** Removes what retention lets go, now. Resolves when it is gone. */
  async retain(): Promise<void> {
    const { totals } = (await this.#call({ kind: 'retain' })) as Reply<'done'>;
    this.#totals = totals;
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#retention?.();
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    if (this.#fault !== null) return;
    const exited = new Promise((resolve) => this.#worker.once('exit', resolve));
    await this.#call({ kind: 'close' });
    await exited;
  }

  #armRetention(): void {
    this.#retention = this.#options.after(retentionEveryMs, () => {
      this.retain()
        .catch((error: unknown) => this.#options.onFault(error))
        .finally(() => {
          if (this.#closing === null && this.#fault === null) this.#armRetention();
        });
    });
  }

  #call(request: Request, transfer: readonly ArrayBuffer[] = []): Promise<WorkerMessage> {
    if (this.#fault !== null) return Promise.reject(this.#fault);
    const { promise, resolve, reject } = Promise.withResolvers<WorkerMessage>();
    const call = this.#nextCall++;
    this.#calls.set(call, { resolve, reject });
    const message: RequestMessage = { call, request };
    this.#worker.postMessage(message, [...transfer]);
    return promise;
  }

  #receive(message: WorkerMessage): void {
    if (message.kind === 'ready') return;
    const call = this.#calls.get(message.call);
    this.#calls.delete(message.call);
    if (message.kind === 'failed') call?.reject(new FlowStoreError(message.reason));
    else call?.resolve(message);
  }

  #die(error: Error): void {
    this.#fault ??= error;
    for (const { reject } of this.#calls.values()) reject(this.#fault);
    this.#calls.clear();
  }

  #tell(host: string, flows: readonly FlowRecord[]): void {
    if (this.#watchers.size === 0) return;
    const stored = flows.map((flow) => this.#encoder.stored(host, flow));
    for (const [listener, matches] of this.#watchers) {
      const matching = stored.filter(matches);
      if (matching.length > 0) listener(matching);
    }
  }
}

/** The first message says that the tables are open. Its listeners are taken off again, one by one: a worker has some of its own. */
function whenReady(worker: Worker, path: string): Promise<Reply<'ready'>> {
  const { promise, resolve, reject } = Promise.withResolvers<Reply<'ready'>>();
  const failed = (cause?: unknown): void =>
    reject(new FlowStoreError(`The flow store ${path} does not open.`, { cause }));
  const received = (message: WorkerMessage): void => {
    if (message.kind === 'ready') resolve(message);
  };
  worker.on('message', received).on('error', failed).on('exit', failed);
  return promise.finally(() => worker.off('message', received).off('error', failed).off('exit', failed));
}
