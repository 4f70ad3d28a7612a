/**
 * From the agent's records to columns. What repeats (ends with their labels, reasons, hosts) is numbered: a number is sent once with
 * its meaning, and rows carry numbers.
 */
import type { FlowRecord, StoredFlow, StoredParty } from '@bulkhead/protocol';
import type { HostView, InventoryView, WorkloadView } from '../services.ts';
import { dictionaryMax } from './limits.ts';
import { stagedVerdicts, states, verdicts } from './messages.ts';
import type { EndRow, FlowColumns, TextRow } from './messages.ts';

export interface EncodedFlows {
  readonly rows: number;
  readonly columns: FlowColumns;
  /** Meanings that the worker has not had. */
  readonly ends: readonly EndRow[];
  readonly texts: readonly TextRow[];
}

type Party = FlowRecord['source'];

/** What is known of a workload or of a machine. */
type EndView = Pick<WorkloadView, 'labels' | 'segments'> & { readonly name: string | null };
const nobody: EndView = { name: null, labels: {}, segments: [] };

interface KnownEnd {
  readonly number: number;
  readonly view: EndView | null;
  readonly identity: number;
}

export class FlowEncoder {
  readonly #inventory: InventoryView;
  #next: number;
  #ends = new Map<string, KnownEnd>();
  #texts = new Map<string, number>();
  #newEnds: EndRow[] = [];
  #lastHost: HostView | null = null;
  #newTexts: TextRow[] = [];

  constructor(inventory: InventoryView, nextNumber: number) {
    this.#inventory = inventory;
    this.#next = nextNumber;
  }

  encode(host: string, flows: readonly FlowRecord[]): EncodedFlows {
    if (this.#ends.size + this.#texts.size > dictionaryMax) {
      this.#ends = new Map();
      this.#texts = new Map();
    }
    this.#lastHost = null;
    const columns = emptyColumns(flows.length);
    const hostNumber = this.#text(host);
    for (let row = 0; row < flows.length; row += 1) {
      const flow = attributable(host, flows[row]!);
      columns.host[row] = hostNumber;
      columns.source[row] = this.#end(host, flow.source);
      columns.destination[row] = this.#end(host, flow.destination);
      columns.egress_reason[row] = this.#text(flow.egressReason);
      columns.ingress_reason[row] = this.#text(flow.ingressReason);
      if (flow.staged !== null) {
        columns.staged[row] = stagedVerdicts.indexOf(flow.staged.verdict);
        columns.staged_egress_reason[row] = this.#text(flow.staged.egressReason);
        columns.staged_ingress_reason[row] = this.#text(flow.staged.ingressReason);
      }
      columns.drop_reason[row] = flow.dropReason === null ? 0 : this.#text(flow.dropReason);
      fillPlain(columns, row, flow);
    }
    const encoded = { rows: flows.length, columns, ends: this.#newEnds, texts: this.#newTexts };
    this.#newEnds = [];
    this.#newTexts = [];
    return encoded;
  }

  /** The record as listeners and searches show it. */
  stored(host: string, reported: FlowRecord): StoredFlow {
    const flow = attributable(host, reported);
    return { ...flow, host, source: this.#party(host, flow.source), destination: this.#party(host, flow.destination) };
  }

  #party(host: string, party: Party): StoredParty {
    const { name, labels, segments } = this.#view(host, party) ?? nobody;
    return { ...party, name, labels, segments: [...segments] };
  }

  #view(host: string, { workload }: Party): EndView | null {
    if (workload === 'host') return this.#hostView(host);
    return workload === null ? null : this.#inventory.workload(workload);
  }

  /** What is known of a machine is looked up once for all of its flows that come together. */
  #hostView(host: string): EndView {
    if (this.#lastHost?.name !== host) this.#lastHost = this.#inventory.host(host);
    return this.#lastHost;
  }

  #text(text: string): number {
    const known = this.#texts.get(text);
    if (known !== undefined) return known;
    const number = this.#next++;
    this.#texts.set(text, number);
    this.#newTexts.push({ number, text });
    return number;
  }

  #end(host: string, party: Party): number {
    const names = party.names ?? [];
    const key =
      party.workload === 'host' ? `host ${host}` : (party.workload ?? `#${party.identity} ${names.join(' ')}`);
    const known = this.#ends.get(key);
    // Of a workload that has gone its last flows are told after it: they keep what was known of it.
    const view = this.#view(host, party) ?? (known?.identity === party.identity ? known.view : null);
    if (known !== undefined && known.identity === party.identity && sameView(known.view, view)) return known.number;
    const number = this.#next++;
    this.#ends.set(key, { number, view, identity: party.identity });
    this.#newEnds.push({
      number,
      workload: party.workload,
      identity: party.identity,
      name: view?.name ?? null,
      labels: JSON.stringify(view?.labels ?? {}),
      segments: view === null || view.segments.length === 0 ? '' : `|${view.segments.join('|')}|`,
      names: JSON.stringify(names),
    });
    return number;
  }
}

/**
 * A host sees the traffic of its own workloads and its own. What it says about two others is kept as what it saw, addresses, under its
 * own name: it does not become part of what is known about those workloads, nor visible to whoever may see them.
 */
function attributable(host: string, flow: FlowRecord): FlowRecord {
  const { source, destination } = flow;
  if (source.workload === null && destination.workload === null) return flow;
  if (isOf(host, source) || isOf(host, destination)) return flow;
  return { ...flow, source: { ...source, workload: null }, destination: { ...destination, workload: null } };
}

function isOf(host: string, { workload }: Party): boolean {
  if (workload === null) return false;
  return workload === 'host' || (workload.startsWith(host) && workload[host.length] === '/');
}

function sameView(a: EndView | null, b: EndView | null): boolean {
  if (a === b) return true;
  if (a === null || b === null || a.name !== b.name) return false;
  const sameLabels = a.labels === b.labels || JSON.stringify(a.labels) === JSON.stringify(b.labels);
  return sameLabels && (a.segments === b.segments || a.segments.join('|') === b.segments.join('|'));
}

function fillPlain(columns: FlowColumns, row: number, flow: FlowRecord): void {
  columns.id[row] = flow.id;
  columns.source_address[row] = flow.source.address;
  columns.source_port[row] = flow.source.port;
  columns.destination_address[row] = flow.destination.address;
  columns.destination_port[row] = flow.destination.port;
  columns.protocol[row] = flow.protocol;
  columns.verdict[row] = verdicts.indexOf(flow.verdict);
  columns.question[row] = flow.question ?? '';
  columns.revision[row] = flow.revision;
  columns.first_ms[row] = flow.firstMs;
  columns.last_ms[row] = flow.lastMs;
  columns.packets_out[row] = flow.packets[0];
  columns.packets_in[row] = flow.packets[1];
  columns.bytes_out[row] = flow.bytes[0];
  columns.bytes_in[row] = flow.bytes[1];
  columns.state[row] = states.indexOf(flow.state);
}

function emptyColumns(rows: number): FlowColumns {
  const integers = (): Int32Array<ArrayBuffer> => new Int32Array(rows);
  const numbers = (): Float64Array<ArrayBuffer> => new Float64Array(rows);
  const texts = (): string[] => Array.from<string>({ length: rows });
  return {
    arrival: numbers(),
    host: integers(),
    id: texts(),
    source: integers(),
    source_address: texts(),
    source_port: integers(),
    destination: integers(),
    destination_address: texts(),
    destination_port: integers(),
    protocol: integers(),
    verdict: integers(),
    egress_reason: integers(),
    ingress_reason: integers(),
    drop_reason: integers(),
    question: texts(),
    revision: numbers(),
    first_ms: numbers(),
    last_ms: numbers(),
    packets_out: numbers(),
    packets_in: numbers(),
    bytes_out: numbers(),
    bytes_in: numbers(),
    state: integers(),
    staged: integers(),
    staged_egress_reason: integers(),
    staged_ingress_reason: integers(),
  };
}
