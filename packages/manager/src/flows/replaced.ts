/**
 * Which stored row a later record of the same flow replaces. Open flows are kept in memory by host and id, flows closed lately too,
 * since an agent may report a flow again after a restart. A flow that fell out of the bound keeps its earlier row.
 */
import { closedFlowsMax, openFlowsMax } from './limits.ts';

/** Keeps at least the last half of `max` keys. Two generations: taking out the oldest key of one large map costs its whole length. */
class RecentKeys {
  readonly #generationMax: number;
  #young = new Map<string, number>();
  #old = new Map<string, number>();

  constructor(max: number) {
    this.#generationMax = Math.floor(max / 2);
  }

  take(key: string): number | null {
    const found = this.#young.get(key) ?? this.#old.get(key);
    if (found === undefined) return null;
    this.#young.delete(key);
    this.#old.delete(key);
    return found;
  }

  put(key: string, value: number): void {
    if (this.#young.size >= this.#generationMax) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(key, value);
  }
}

export class ReplacedRows {
  readonly #open = new RecentKeys(openFlowsMax);
  readonly #closed = new RecentKeys(closedFlowsMax);

  /** Gives the arrival of the row that this one replaces, or null. */
  put(host: string, id: string, arrival: number, closed: boolean): number | null {
    const key = `${host}/${id}`;
    const before = this.#open.take(key) ?? this.#closed.take(key);
    (closed ? this.#closed : this.#open).put(key, arrival);
    return before;
  }
}
