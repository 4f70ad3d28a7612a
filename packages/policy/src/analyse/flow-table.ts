import type { Party } from '../model.ts';
import { type FlowColumns, type FlowTable, type RecordedFlow, recordedVerdicts } from './simulation.ts';

/** Groups in one batch of columns: the columns grow by whole batches, so that nothing is copied. */
const batchSize = 65_536;

type Mutable<Columns> = { -readonly [Key in keyof Columns]: Columns[Key] };

/** An empty table. A group is found again through one text for each flow; whoever has groups already fills columns instead. */
export function createFlowTable(): FlowTable {
  const parties = new Interning<Party>(partyKey);
  const reasons = new Interning<string>((text) => text);
  const places = new Map<string, number>();
  const batches: Mutable<FlowColumns>[] = [];

  const columnsAt = (place: number): Mutable<FlowColumns> =>
    (batches[Math.floor(place / batchSize)] ??= emptyColumns());

  return {
    add(flow: RecordedFlow, count = 1): void {
      const source = parties.number(flow.source);
      const destination = parties.number(flow.destination);
      const egress = reasons.number(flow.egressReason);
      const ingress = reasons.number(flow.ingressReason);
      const verdict = recordedVerdicts.indexOf(flow.verdict);
      const asked = Number(flow.asked);
      const key = [source, destination, flow.protocol, flow.port, verdict, asked, egress, ingress].join(' ');
      const known = places.get(key);
      const place = known ?? places.size;
      const [columns, row] = [columnsAt(place), place % batchSize];
      columns.count[row]! += count;
      if (known !== undefined) return;
      places.set(key, place);
      columns.length = row + 1;
      columns.source[row] = source;
      columns.destination[row] = destination;
      columns.protocol[row] = flow.protocol;
      columns.port[row] = flow.port;
      columns.verdict[row] = verdict;
      columns.asked[row] = asked;
      columns.egressReason[row] = egress;
      columns.ingressReason[row] = ingress;
    },
    flows: () => ({ parties: parties.items, reasons: reasons.items, batches }),
  };
}

function emptyColumns(): Mutable<FlowColumns> {
  return {
    length: 0,
    source: new Uint32Array(batchSize),
    destination: new Uint32Array(batchSize),
    protocol: new Uint8Array(batchSize),
    port: new Uint16Array(batchSize),
    count: new Float64Array(batchSize),
    verdict: new Uint8Array(batchSize),
    asked: new Uint8Array(batchSize),
    egressReason: new Uint32Array(batchSize),
    ingressReason: new Uint32Array(batchSize),
  };
}

class Interning<Item> {
  readonly items: Item[] = [];
  readonly #keyOf: (item: Item) => string;
  readonly #byKey = new Map<string, number>();
  /** Callers that keep their objects need no key for each flow. */
  readonly #byItem = new Map<Item, number>();

  constructor(keyOf: (item: Item) => string) {
    this.#keyOf = keyOf;
  }

  number(item: Item): number {
    const seen = this.#byItem.get(item);
    if (seen !== undefined) return seen;
    const key = this.#keyOf(item);
    let number = this.#byKey.get(key);
    if (number === undefined) {
      number = this.items.length;
      this.items.push(item);
      this.#byKey.set(key, number);
      this.#byItem.set(item, number);
    }
    return number;
  }
}

/** Equal for parties that are alike in everything, names of workloads included: they are what people want to see. */
function partyKey(party: Party): string {
  const sorted = Object.entries(party).map(([field, value]) => [
    field,
    field === 'labels' ? Object.entries(value as object).sort() : value,
  ]);
  return JSON.stringify(sorted.sort());
}
