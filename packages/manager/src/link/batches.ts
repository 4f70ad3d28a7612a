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

  constructor(streams: Streams) {
    this.#streams = streams;
  }

  /**
   * Runs `store` unless the batch was had before. Resolves when the batch may be acknowledged. A crash between the two makes `store`
   * see the batch once more. The caller hands in one batch of a host at a time.
   */
  async take(host: string, boot: string, batch: number, store: () => Promise<void>): Promise<'stored' | 'repeated'> {
    const key = `batch:${host}:${boot}`;
    const newest = this.#newest.get(key) ?? (await this.#streams.mark(key)) ?? -1;
    if (batch <= newest) return 'repeated';
    await store();
    await this.#streams.setMark(key, batch);
    if (this.#newest.size >= bootsMax) this.#newest.clear();
    this.#newest.set(key, batch);
    return 'stored';
  }
}
