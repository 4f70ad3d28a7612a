/**
 * Analyses on threads of their own, so that questions keep their latency: one lane for what people ask, one for the checks that an
 * apply waits for. A lane has one thread, which is started when it is needed and ended when it has been idle, too slow or too large.
 */
import { Worker } from 'node:worker_threads';
import { analysisMs, idleMs, waitingMax, workerLimits } from './limits.ts';
import type { AnalysisAnswers, AnalysisRequest, WorkerAnswer, WorkerOptions } from './messages.ts';

export type Lane = 'people' | 'applies';

/** `busy`: too many wait; `too-long` and `too-large`: it was ended at a bound; `failed`: the analysis itself refused. */
export class AnalysisError extends Error {
  readonly kind: 'busy' | 'too-long' | 'too-large' | 'failed';

  constructor(kind: AnalysisError['kind'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'AnalysisError';
    this.kind = kind;
  }
}

interface Job {
  readonly request: AnalysisRequest;
  readonly transfer: readonly ArrayBuffer[];
  readonly resolve: (value: AnalysisAnswers[keyof AnalysisAnswers]) => void;
  readonly reject: (error: Error) => void;
}

export class Analysis implements AsyncDisposable {
  readonly #lanes: Readonly<Record<Lane, AnalysisLane>>;

  /** `path`: the file of the history of documents. */
  constructor(path: string, limits: { readonly analysisMs: number } = { analysisMs }) {
    this.#lanes = {
      people: new AnalysisLane(path, limits.analysisMs),
      applies: new AnalysisLane(path, limits.analysisMs),
    };
  }

  /** Rejects with AnalysisError. What `transfer` names is gone from the caller. */
  ask<Kind extends AnalysisRequest['kind']>(
    lane: Lane,
    request: Extract<AnalysisRequest, { kind: Kind }>,
    transfer: readonly ArrayBuffer[] = [],
  ): Promise<AnalysisAnswers[Kind]> {
    return this.#lanes[lane].ask(request, transfer) as Promise<AnalysisAnswers[Kind]>;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(Object.values(this.#lanes).map((lane) => lane[Symbol.asyncDispose]()));
  }
}

class AnalysisLane implements AsyncDisposable {
  readonly #path: string;
  readonly #jobMs: number;
  readonly #waiting: Job[] = [];
  #worker: Worker | null = null;
  #current: Job | null = null;
  #timer: NodeJS.Timeout | null = null;
  #closed = false;

  constructor(path: string, jobMs: number) {
    this.#path = path;
    this.#jobMs = jobMs;
  }

  ask(request: AnalysisRequest, transfer: readonly ArrayBuffer[]): Promise<AnalysisAnswers[keyof AnalysisAnswers]> {
    if (this.#closed) return Promise.reject(new AnalysisError('busy', 'The manager is ending.'));
    if (this.#waiting.length >= waitingMax)
      return Promise.reject(new AnalysisError('busy', `More than ${waitingMax} analyses wait.`));
    const { promise, resolve, reject } = Promise.withResolvers<AnalysisAnswers[keyof AnalysisAnswers]>();
    this.#waiting.push({ request, transfer, resolve, reject });
    this.#next();
    return promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    const ending = new AnalysisError('busy', 'The manager is ending.');
    for (const job of this.#waiting.splice(0)) job.reject(ending);
    this.#current?.reject(ending);
    await this.#end();
  }

  #next(): void {
    if (this.#current !== null) return;
    const job = this.#waiting.shift();
    if (job === undefined) return this.#rest();
    this.#current = job;
    this.#worker ??= this.#start();
    this.#worker.ref();
    this.#arm(this.#jobMs, () => {
      const why = `The analysis took longer than ${this.#jobMs / 1000} s.`;
      this.#fail(new AnalysisError('too-long', why));
    });
    this.#worker.postMessage(job.request, [...job.transfer]);
  }

  #start(): Worker {
    const workerData: WorkerOptions = { path: this.#path };
    const worker = new Worker(new URL('worker.ts', import.meta.url), {
      workerData,
      name: 'analysis',
      resourceLimits: workerLimits,
    });
    worker.on('message', (answer: WorkerAnswer) => {
      const job = this.#current;
      this.#current = null;
      if (answer.kind === 'answer') job?.resolve(answer.value);
      else job?.reject(new AnalysisError('failed', answer.reason));
      this.#next();
    });
    worker.on('error', (cause: NodeJS.ErrnoException) => {
      const isMemory = cause.code === 'ERR_WORKER_OUT_OF_MEMORY';
      this.#fail(
        isMemory
          ? new AnalysisError('too-large', `The analysis needs more than ${workerLimits.maxOldGenerationSizeMb} MiB.`)
          : new AnalysisError('failed', cause.message, { cause }),
      );
    });
    return worker;
  }

  /** The thread goes; what waits gets a new one. */
  #fail(error: AnalysisError): void {
    const job = this.#current;
    this.#current = null;
    void this.#end();
    job?.reject(error);
    this.#next();
  }

  #rest(): void {
    this.#worker?.unref();
    if (this.#worker !== null) this.#arm(idleMs, () => void this.#end());
  }

  #arm(ms: number, call: () => void): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = setTimeout(call, ms);
    this.#timer.unref();
  }

  async #end(): Promise<void> {
    if (this.#timer !== null) clearTimeout(this.#timer);
    const worker = this.#worker;
    this.#worker = null;
    worker
      ?.removeAllListeners('message')
      .removeAllListeners('error')
      .on('error', () => undefined);
    await worker?.terminate();
  }
}
