/**
 * Which stored row a later record of the same flow replaces. Open flows are kept in memory by host and id, flows closed lately too,
 * since an agent may report a flow again after a restart. A flow that fell out of the bound keeps its earlier row.
 */
import { closedFlowsMax, openFlowsMax } from './limits.ts';

export class ReplacedRows {
  #open = new Map<string, number>();
  #closed = new Map<string, number>();

  /** Gives the arrival of the row that this one replaces, or null. */
  put(host: string, id: string, arrival: number, closed: boolean): number | null {
    const key = `${host}/${id}`;
    const before = this.#open.get(key) ?? this.#closed.get(key) ?? null;
    this.#open.delete(key);
    this.#closed.delete(key);
    const kept = closed ? this.#closed : this.#open;
    kept.set(key, arrival);
    if (kept.size > (closed ? closedFlowsMax : openFlowsMax)) {
      const [oldest] = kept.keys();
      if (oldest !== undefined) kept.delete(oldest);
    }
    return before;
  }

  get size(): number {
    return this.#open.size + this.#closed.size;
  }
}
