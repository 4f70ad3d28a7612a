/** Flows alike in all that policy reads, counted by the engine and handed on in columns, as analyses take them. */
import { reservedIdentity } from '@bulkhead/policy';
import type { Party, RecordedFlows } from '@bulkhead/policy';
import type { FlowFilter } from '@bulkhead/protocol';
import { groupsMax } from './limits.ts';
import { filterClauses, meaningsText } from './search.ts';
import { claimsOf, namesOf } from './stored-row.ts';
import type { StoredEnd } from './stored-row.ts';
import type { GroupedFlows } from '../services.ts';

export type { GroupedFlows };

export interface Grouping {
  readonly text: string;
  /** How many flows were left out, since something other than policy stopped them. */
  readonly droppedText: string;
  readonly values: Record<string, string | number>;
}

/** What was only observed was judged by policy all the same. */
const judged = `(drop_reason = 0 OR drop_reason IN (SELECT number FROM texts WHERE text = 'observed'))`;

export function groupFlows(filter: FlowFilter, scope: readonly string[] | null): Grouping {
  const { clauses, values } = filterClauses(filter, scope);
  const where = (...more: readonly string[]): string => [...clauses, ...more].join(' AND ');
  // Addresses count only where nobody is known behind them.
  const outside = (end: 'source' | 'destination'): string =>
    `CASE WHEN ${end} IN (SELECT number FROM ends WHERE workload IS NULL) THEN ${end}_address END`;
  const keys = 'source, sa, destination, da, protocol, destination_port, verdict, asked, egress_reason, ingress_reason';
  const text = `
    SELECT ${keys}, count(*)::DOUBLE AS flows FROM (
      SELECT source, ${outside('source')} AS sa, destination, ${outside('destination')} AS da, protocol, destination_port, verdict,
        question IS NOT NULL AS asked, egress_reason, ingress_reason FROM flows WHERE ${where(judged)})
    GROUP BY ${keys} LIMIT ${groupsMax + 1}`;
  return { text, values, droppedText: `SELECT count(*)::DOUBLE FROM flows WHERE ${where(`NOT ${judged}`)}` };
}

/** In the order of the query. */
export type GroupColumns = readonly [
  source: readonly number[],
  sourceAddress: readonly (string | null)[],
  destination: readonly number[],
  destinationAddress: readonly (string | null)[],
  protocol: readonly number[],
  port: readonly number[],
  verdict: readonly number[],
  asked: readonly boolean[],
  egressReason: readonly number[],
  ingressReason: readonly number[],
  flows: readonly number[],
];

export const noFlows: RecordedFlows = { parties: [], reasons: [], batches: [] };

type Read = (query: string) => Promise<readonly unknown[]>;

export async function recordedFlows(columns: GroupColumns, read: Read): Promise<RecordedFlows> {
  const [
    source,
    sourceAddress,
    destination,
    destinationAddress,
    protocol,
    port,
    verdict,
    asked,
    egress,
    ingress,
    flows,
  ] = columns;
  const ends = (await read(meaningsText('ends', new Set([...source, ...destination])))) as readonly StoredEnd[];
  const words = (await read(meaningsText('texts', new Set([...egress, ...ingress])))) as readonly {
    readonly number: number;
    readonly text: string;
  }[];
  const parties = new PartyList(new Map(ends.map((end) => [end.number, end])));
  const places = new Map(words.map(({ number }, place) => [number, place]));
  const placeOf = (number: number): number => places.get(number)!;
  return {
    reasons: words.map(({ text }) => text.trim()),
    batches: [
      {
        length: flows.length,
        source: Int32Array.from(source, (end, row) => parties.placeOf(end, sourceAddress[row] ?? null)),
        destination: Int32Array.from(destination, (end, row) => parties.placeOf(end, destinationAddress[row] ?? null)),
        protocol: Uint8Array.from(protocol),
        port: Uint16Array.from(port),
        count: Float64Array.from(flows),
        verdict: Uint8Array.from(verdict),
        asked: Uint8Array.from(asked, Number),
        egressReason: Int32Array.from(egress, placeOf),
        ingressReason: Int32Array.from(ingress, placeOf),
      },
    ],
    parties: parties.parties,
  };
}

/** Of the columns, for a move to another thread without a copy. */
export function buffersOf({ batches }: RecordedFlows): readonly ArrayBuffer[] {
  return batches.flatMap((batch) =>
    Object.values(batch).flatMap((column: unknown) =>
      ArrayBuffer.isView(column) ? [column.buffer as ArrayBuffer] : [],
    ),
  );
}

/** Ends that are alike to policy are one party: after a restart of the manager a workload has another number. */
class PartyList {
  readonly parties: Party[] = [];
  readonly #ends: ReadonlyMap<number, StoredEnd>;
  readonly #byEnd = new Map<number, number>();
  readonly #byText = new Map<string, number>();

  constructor(ends: ReadonlyMap<number, StoredEnd>) {
    this.#ends = ends;
  }

  placeOf(number: number, address: string | null): number {
    if (address !== null) return this.#place(`${number} ${address}`, () => this.#party(number, address));
    let place = this.#byEnd.get(number);
    if (place === undefined) {
      const party = this.#party(number, '');
      place = this.#place(JSON.stringify(party), () => party);
      this.#byEnd.set(number, place);
    }
    return place;
  }

  #place(text: string, make: () => Party): number {
    const known = this.#byText.get(text);
    if (known !== undefined) return known;
    const place = this.parties.push(make()) - 1;
    this.#byText.set(text, place);
    return place;
  }

  #party(number: number, address: string): Party {
    const end = this.#ends.get(number);
    if (end === undefined) throw new Error(`a flow has lost its end ${number}`);
    if (end.identity === reservedIdentity.unknown) return { kind: 'unknown' };
    const { labels } = claimsOf(end);
    if (end.workload === 'host') return { kind: 'host', labels };
    if (end.workload !== null) return { kind: 'workload', labels, ...(end.name === null ? {} : { name: end.name }) };
    const names = namesOf(end);
    return { kind: 'address', address, ...(names.length === 0 ? {} : { names }) };
  }
}
