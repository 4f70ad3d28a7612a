/** Differences between what engines believe and what the wire shows, newest state of each; their history is a stream. */
import type { DivergenceRecord } from '@bulkhead/protocol';
import type { Page, PageRequest, Streams } from '../services.ts';

const stream = 'divergences';
/** Most divergences in memory, in all and of one host; resolved ones go first, then the longest unseen. */
const divergencesMax = 50_000;
export const divergencesPerHostMax = 2_000;
const recordsKept = 200_000;
const readMax = 5000;

export interface HostDivergence extends DivergenceRecord {
  readonly host: string;
}

export interface DivergenceFilter {
  readonly host?: string | undefined;
  readonly workload?: string | undefined;
  readonly kind?: string | undefined;
  /** Only open ones unless true. */
  readonly resolved?: boolean | undefined;
}

export class Divergences {
  readonly #streams: Streams;
  readonly #byHost = new Map<string, Map<string, HostDivergence>>();
  #count = 0;

  private constructor(streams: Streams) {
    this.#streams = streams;
  }

  static async open(streams: Streams): Promise<Divergences> {
    const divergences = new Divergences(streams);
    const last = await streams.last(stream);
    if (last > recordsKept) await streams.trim(stream, last - recordsKept + 1);
    for (let from = Math.max(1, last - recordsKept + 1); from <= last; from += readMax) {
      for (const record of await streams.read(stream, from, readMax)) {
        divergences.#keep(JSON.parse(new TextDecoder().decode(record.data)) as HostDivergence);
      }
    }
    return divergences;
  }

  /** Resolves when durable. The same record twice changes nothing. */
  async append(host: string, records: readonly DivergenceRecord[]): Promise<void> {
    // A host shows what it sees of its own workloads: another's name in its mouth is no evidence against that one.
    const stored = records.map((record): HostDivergence => {
      const own = record.workload?.startsWith(`${host}/`) === true;
      return { ...record, host, workload: own ? record.workload : null };
    });
    const encoder = new TextEncoder();
    await this.#streams.append(
      stream,
      stored.map((record) => encoder.encode(JSON.stringify(record))),
    );
    for (const record of stored) this.#keep(record);
  }

  /** Newest first. `visible` says which workloads the asking person may see. */
  list(
    filter: DivergenceFilter,
    page: PageRequest,
    visible: (workload: string | null) => boolean,
  ): Page<HostDivergence> {
    const after = page.cursor === undefined ? null : parseCursor(page.cursor);
    const matching = [...this.#all()]
      .filter(([, record]) => matches(record, filter) && visible(record.workload))
      .toSorted(([keyA, a], [keyB, b]) => b.lastMs - a.lastMs || (keyA < keyB ? -1 : 1))
      .filter(
        ([key, record]) =>
          after === null || record.lastMs < after.lastMs || (record.lastMs === after.lastMs && key > after.key),
      );
    const items = matching.slice(0, page.limit);
    const last = items.at(-1);
    const cursor =
      last === undefined || matching.length <= page.limit ? null : JSON.stringify([last[1].lastMs, last[0]]);
    return { items: items.map(([, record]) => record), cursor };
  }

  openCount(): number {
    let count = 0;
    for (const [, record] of this.#all()) if (!record.resolved) count += 1;
    return count;
  }

  #keep(record: HostDivergence): void {
    let ofHost = this.#byHost.get(record.host);
    if (ofHost === undefined) this.#byHost.set(record.host, (ofHost = new Map()));
    // Re-inserted, so that the map's order is that of the last sighting.
    if (!ofHost.delete(record.id)) this.#count += 1;
    ofHost.set(record.id, record);
    if (ofHost.size > divergencesPerHostMax) this.#forgetOne(ofHost);
    else if (this.#count > divergencesMax) this.#forgetOne(this.#largest());
  }

  #forgetOne(ofHost: Map<string, HostDivergence>): void {
    const resolved = ofHost.entries().find(([, other]) => other.resolved);
    const oldest = resolved?.[0] ?? ofHost.keys().next().value;
    if (oldest !== undefined && ofHost.delete(oldest)) this.#count -= 1;
  }

  #largest(): Map<string, HostDivergence> {
    return [...this.#byHost.values()].reduce((most, other) => (other.size > most.size ? other : most));
  }

  *#all(): Generator<readonly [key: string, record: HostDivergence]> {
    for (const [host, records] of this.#byHost) for (const [id, record] of records) yield [`${host}/${id}`, record];
  }
}

function matches(record: HostDivergence, filter: DivergenceFilter): boolean {
  return (
    (filter.host === undefined || record.host === filter.host) &&
    (filter.workload === undefined || record.workload === filter.workload) &&
    (filter.kind === undefined || record.kind === filter.kind) &&
    (filter.resolved === true || !record.resolved)
  );
}

function parseCursor(text: string): { readonly lastMs: number; readonly key: string } | null {
  try {
    const [lastMs, key] = JSON.parse(text) as [unknown, unknown];
    return typeof lastMs === 'number' && typeof key === 'string' ? { lastMs, key } : null;
  } catch {
    // A cursor that is not ours starts from the beginning.
    return null;
  }
}
