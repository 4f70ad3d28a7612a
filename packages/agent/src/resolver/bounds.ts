/** Bounds on what one workload may cost: questions per second, questions under way, and what is remembered. Pure: time is an argument. */

/** Tokens that come back steadily, up to a burst. */
export class TokenBuckets {
  readonly #perSecond: number;
  readonly #burst: number;
  readonly #ownersMax: number;
  /** Owner → tokens at a time. The order is that of the last use. */
  readonly #buckets = new Map<string, { tokens: number; atMs: number }>();

  constructor(options: { readonly perSecond: number; readonly burst: number; readonly ownersMax: number }) {
    this.#perSecond = options.perSecond;
    this.#burst = options.burst;
    this.#ownersMax = options.ownersMax;
  }

  /** True when one was left. */
  take(owner: string, nowMs: number): boolean {
    const former = this.#buckets.get(owner);
    // A clock that was set back gives none back, and takes none away.
    const elapsedMs = former === undefined ? 0 : Math.max(0, nowMs - former.atMs);
    const tokens =
      former === undefined ? this.#burst : Math.min(this.#burst, former.tokens + (elapsedMs / 1000) * this.#perSecond);
    this.#buckets.delete(owner);
    // The one unused for longest is full again, or nearly.
    if (this.#buckets.size >= this.#ownersMax) this.#buckets.delete(this.#buckets.keys().next().value!);
    this.#buckets.set(owner, { tokens: tokens >= 1 ? tokens - 1 : tokens, atMs: nowMs });
    return tokens >= 1;
  }
}

/** Answers by question, each for its time to live; the one unused for longest goes first. */
export class AnswerCache {
  readonly #entriesMax: number;
  readonly #bytesMax: number;
  readonly #entries = new Map<string, { message: Uint8Array; fromMs: number; untilMs: number }>();
  #bytes = 0;

  constructor(options: { readonly entriesMax: number; readonly bytesMax: number }) {
    this.#entriesMax = options.entriesMax;
    this.#bytesMax = options.bytesMax;
  }

  get(key: string, nowMs: number): Uint8Array | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    this.#remove(key, entry.message);
    // From the future: the clock was set back, and nobody knows how old it is.
    if (entry.untilMs <= nowMs || entry.fromMs > nowMs) return undefined;
    this.#entries.set(key, entry);
    this.#bytes += entry.message.length;
    return entry.message;
  }

  set(key: string, message: Uint8Array, ttlSeconds: number, nowMs: number): void {
    const former = this.#entries.get(key);
    if (former !== undefined) this.#remove(key, former.message);
    if (ttlSeconds <= 0 || message.length > this.#bytesMax) return;
    this.#entries.set(key, { message, fromMs: nowMs, untilMs: nowMs + ttlSeconds * 1000 });
    this.#bytes += message.length;
    while (this.#entries.size > this.#entriesMax || this.#bytes > this.#bytesMax) {
      const [oldest, entry] = this.#entries.entries().next().value!;
      this.#remove(oldest, entry.message);
    }
  }

  get bytes(): number {
    return this.#bytes;
  }
  get size(): number {
    return this.#entries.size;
  }

  #remove(key: string, message: Uint8Array): void {
    this.#entries.delete(key);
    this.#bytes -= message.length;
  }
}

/** How many are under way, for each owner and in all. */
export class InFlight {
  readonly #ownerMax: number;
  readonly #max: number;
  readonly #owners = new Map<string, number>();
  #count = 0;

  constructor(options: { readonly ownerMax: number; readonly max: number }) {
    this.#ownerMax = options.ownerMax;
    this.#max = options.max;
  }

  /** Runs it, or gives null at once where too many are under way. */
  async run<T>(owner: string, task: () => Promise<T>): Promise<T | null> {
    const mine = this.#owners.get(owner) ?? 0;
    if (mine >= this.#ownerMax || this.#count >= this.#max) return null;
    this.#owners.set(owner, mine + 1);
    this.#count++;
    try {
      return await task();
    } finally {
      const left = this.#owners.get(owner)! - 1;
      if (left === 0) this.#owners.delete(owner);
      else this.#owners.set(owner, left);
      this.#count--;
    }
  }
}
