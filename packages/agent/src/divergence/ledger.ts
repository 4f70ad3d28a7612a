/**
 * Differences over time: opened when first seen, updated (not too often) while they last, resolved when they are gone. Pure: the time is
 * an argument; the result is what has to be reported.
 */
import type { DivergenceRecord } from '@bulkhead/protocol';
import type { Difference } from './compare.ts';

export interface LedgerOptions {
  readonly host: string;
  /** Open differences that are kept; beyond it new ones are counted, not kept. */
  readonly openMax: number;
  /** A difference that lasts is reported again after so long, or at once when what was observed changed. */
  readonly updateMs: number;
}

const textMax = { believed: 2048, observed: 2048, evidence: 4096, id: 200 } as const;

interface Open {
  record: DivergenceRecord;
  reportedMs: number;
}

export class DivergenceLedger {
  readonly #options: LedgerOptions;
  readonly #open = new Map<string, Open>();
  #overflowed = 0;

  constructor(options: LedgerOptions) {
    this.#options = options;
  }

  /** One round's differences; returns the records that are new, changed or resolved. */
  round(differences: readonly Difference[], nowMs: number): readonly DivergenceRecord[] {
    const reports: DivergenceRecord[] = [];
    const seen = new Set<string>();
    for (const difference of differences) {
      const id = cut(`${this.#options.host} ${difference.id}`, textMax.id);
      if (seen.has(id)) continue;
      seen.add(id);
      const open = this.#open.get(id);
      if (open === undefined) {
        const record = recordOf(id, difference, nowMs, nowMs, 1);
        if (this.#open.size >= this.#options.openMax) {
          this.#overflowed++;
          continue;
        }
        this.#open.set(id, { record, reportedMs: nowMs });
        reports.push(record);
        continue;
      }
      const record = recordOf(id, difference, open.record.firstMs, nowMs, open.record.count + 1);
      const changed = record.observed !== open.record.observed || record.believed !== open.record.believed;
      open.record = record;
      if (!changed && nowMs - open.reportedMs < this.#options.updateMs) continue;
      open.reportedMs = nowMs;
      reports.push(record);
    }
    for (const [id, open] of this.#open) {
      if (seen.has(id)) continue;
      this.#open.delete(id);
      reports.push({ ...open.record, resolved: true });
    }
    return reports;
  }

  /** Differences that found no place, ever. */
  get overflowed(): number {
    return this.#overflowed;
  }
  get size(): number {
    return this.#open.size;
  }
}

function recordOf(
  id: string,
  difference: Difference,
  firstMs: number,
  lastMs: number,
  count: number,
): DivergenceRecord {
  return {
    ...{ id, kind: difference.kind, workload: difference.workload, firstMs, lastMs, count, resolved: false },
    believed: cut(difference.believed, textMax.believed),
    observed: cut(difference.observed, textMax.observed),
    evidence: cut(difference.evidence, textMax.evidence),
  };
}

function cut(text: string, charactersMax: number): string {
  return text.length <= charactersMax ? text : `${text.slice(0, charactersMax - 1)}…`;
}
