/** Runs what has the same key one after the other, and everything else at the same time. */
const waitingMax = 64;

export class KeyedQueue {
  readonly #tails = new Map<string, { tail: Promise<unknown>; waiting: number }>();

  /** Rejects at once when too much waits for the key. */
  async run<T>(key: string, task: () => Promise<T>): Promise<T> {
    const entry = this.#tails.get(key) ?? { tail: Promise.resolve(), waiting: 0 };
    if (entry.waiting >= waitingMax) throw new Error(`${key}: more than ${waitingMax} requests wait for it`);
    entry.waiting++;
    const result = entry.tail.then(task);
    entry.tail = result.catch(() => undefined);
    this.#tails.set(key, entry);
    try {
      return await result;
    } finally {
      entry.waiting--;
      if (entry.waiting === 0) this.#tails.delete(key);
    }
  }
}
