/** Connections per minute between two workloads, as this host saw them: two fixed windows, weighted into a sliding one. */

const windowMs = 60_000;
/** Pairs that are counted; the one silent for longest goes first, and counts from zero when it comes back. */
export const pairsMax = 65_536;

interface Count {
  readonly window: number;
  current: number;
  previous: number;
}

export class PairRates {
  readonly #byPair = new Map<string, Count>();

  get size(): number {
    return this.#byPair.size;
  }

  /** Counts one connection, and returns the rate with it. */
  count(pair: string, nowMs: number): number {
    const window = Math.floor(nowMs / windowMs);
    const before = this.#byPair.get(pair);
    let count: Count = { window, current: 0, previous: 0 };
    if (before?.window === window) count = before;
    else if (before?.window === window - 1) count = { window, current: 0, previous: before.current };
    count.current++;
    this.#byPair.delete(pair);
    this.#byPair.set(pair, count);
    if (this.#byPair.size > pairsMax) this.#forgetOldest();
    const elapsed = (nowMs % windowMs) / windowMs;
    return count.current + count.previous * (1 - elapsed);
  }

  #forgetOldest(): void {
    for (const oldest of this.#byPair.keys()) {
      this.#byPair.delete(oldest);
      return;
    }
  }
}
