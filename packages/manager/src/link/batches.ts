/**
 * Numbered batches of an agent, at least once on the wire and once in the stores: handled in the order of their numbers, the newest
 * number of each host and boot durable before the acknowledgement.
 */
import type { Streams } from '../services.ts';

/** Boots whose newest number is held in memory. */
const bootsMax = 20_000;

export class Batches {
  readonly #streams: Streams;
  readonly #newest = new Map<string, number>();
  /** The tail of each host's batches: a new connection's come after those of the one before. */
  readonly #running = new Map<string, Promise<unknown>>();

  constructor(streams: Streams) {
    this.#streams = streams;
  }

  /**
   * Runs `store` unless the batch was had before. Resolves when the batch may be acknowledged. A crash between the two makes `store`
   * see the batch once more. Batches of one host run one after the other.
   */
  take(host: string, boot: string, batch: number, store: () => Promise<void>): Promise<'stored' | 'repeated'> {
    const before = this.#running.get(host) ?? Promise.resolve();
    const taken = before.then(
      () => this.#takeNext(`batch:${host}:${boot}`, batch, store),
      // What failed before was told to who sent it; it will come again.
      () => this.#takeNext(`batch:${host}:${boot}`, batch, store),
    );
    this.#running.set(host, taken);
    const forget = () => {
      if (this.#running.get(host) === taken) this.#running.delete(host);
    };
    taken.then(forget, forget);
    return taken;
  }

  async #takeNext(key: string, batch: number, store: () => Promise<void>): Promise<'stored' | 'repeated'> {
    const newest = this.#newest.get(key) ?? (await this.#streams.mark(key)) ?? -1;
    if (batch <= newest) return 'repeated';
    await store();
    await this.#streams.setMark(key, batch);
    if (this.#newest.size >= bootsMax) this.#newest.clear();
    this.#newest.set(key, batch);
    return 'stored';
  }
}
