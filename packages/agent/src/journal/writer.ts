/** Gathers items into batches, so that a busy host makes few durable writes: written when enough came together or time has passed. */
import type { Clock } from '../clock.ts';
import type { Journal, JournalContent } from './journal.ts';

const itemsPerBatchMax = 2_000;

export interface WriterOptions<Item> {
  readonly journal: Journal;
  readonly clock: Clock;
  /** How long an item may wait in memory, where a kill -9 would lose it. */
  readonly delayMs: number;
  readonly content: (items: Item[]) => JournalContent;
  /** The disk refused (it is full, or broken): so many items are lost. */
  readonly onFailed: (items: number, error: unknown) => void;
}

export class JournalWriter<Item> implements Disposable {
  readonly #options: WriterOptions<Item>;
  #items: Item[] = [];
  #cancel: (() => void) | undefined;

  constructor(options: WriterOptions<Item>) {
    this.#options = options;
  }

  add(item: Item): void {
    this.#items.push(item);
    if (this.#items.length >= itemsPerBatchMax) return this.flush();
    this.#cancel ??= this.#options.clock.after(this.#options.delayMs, () => this.flush());
  }

  flush(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    if (this.#items.length === 0) return;
    const items = this.#items;
    this.#items = [];
    const { journal, content, onFailed } = this.#options;
    try {
      journal.append(content(items));
    } catch (error) {
      // Enforcement goes on without its record; the loss is counted.
      onFailed(items.length, error);
    }
  }

  [Symbol.dispose](): void {
    this.flush();
  }
}
