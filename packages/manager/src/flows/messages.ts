/** What crosses between the store and its one worker. Columns are arrays of numbers, so that they move without being copied row by row. */
import type { RecordedFlows } from '@bulkhead/policy';
import type { FlowFilter, FlowSort, StoredFlow } from '@bulkhead/protocol';

/** In the order of the table. `integer`: Int32Array, `number`: Float64Array, `text`: string[], '' is NULL. */
export const flowColumns = {
  arrival: 'number',
  host: 'integer',
  id: 'text',
  source: 'integer',
  source_address: 'text',
  source_port: 'integer',
  destination: 'integer',
  destination_address: 'text',
  destination_port: 'integer',
  protocol: 'integer',
  verdict: 'integer',
  egress_reason: 'integer',
  ingress_reason: 'integer',
  drop_reason: 'integer',
  question: 'text',
  revision: 'number',
  first_ms: 'number',
  last_ms: 'number',
  packets_out: 'number',
  packets_in: 'number',
  bytes_out: 'number',
  bytes_in: 'number',
  state: 'integer',
  staged: 'integer',
  staged_egress_reason: 'integer',
  staged_ingress_reason: 'integer',
} as const;
export type FlowColumn = keyof typeof flowColumns;
interface ColumnArrays {
  readonly integer: Int32Array<ArrayBuffer>;
  readonly number: Float64Array<ArrayBuffer>;
  readonly text: string[];
}
/** `arrival` is filled in by the worker. */
export type FlowColumns = { readonly [Column in FlowColumn]: ColumnArrays[(typeof flowColumns)[Column]] };

export const verdicts = ['allow', 'deny', 'reject'] as const;
/** Of what staged policies would have made of it; the first stands for no difference. */
export const stagedVerdicts = [null, 'allow', 'deny', 'reject', 'ask'] as const;
export const states = ['new', 'open', 'closed'] as const;

/** An end as it was known when a flow arrived; its address and port stand with the flow. */
export interface EndRow {
  readonly number: number;
  readonly workload: string | null;
  readonly identity: number;
  readonly name: string | null;
  /** JSON. */
  readonly labels: string;
  /** `|a|b|`, or empty. */
  readonly segments: string;
  /** JSON: names that were learnt for an address outside. */
  readonly names: string;
}

export interface TextRow {
  readonly number: number;
  readonly text: string;
}

export interface AppendRequest {
  readonly kind: 'append';
  readonly host: string;
  readonly boot: string;
  readonly batch: number;
  readonly lost: number;
  readonly rows: number;
  readonly columns: FlowColumns;
  readonly ends: readonly EndRow[];
  readonly texts: readonly TextRow[];
}

export interface QueryRequest {
  readonly kind: 'query';
  readonly filter: FlowFilter;
  readonly sort: FlowSort;
  readonly cursor: string | null;
  readonly limit: number;
  readonly scope: readonly string[] | null;
}

/** Flows alike in all that policy reads, counted. */
export interface GroupRequest {
  readonly kind: 'group';
  readonly filter: FlowFilter;
  readonly scope: readonly string[] | null;
}

export type Request =
  | AppendRequest
  | QueryRequest
  | GroupRequest
  | { readonly kind: 'retain' }
  | { readonly kind: 'close' };
export type RequestMessage = { readonly call: number; readonly request: Request };

export interface Totals {
  readonly stored: number;
  readonly lost: number;
  /** Flows that retention removed. */
  readonly expired: number;
}

/** `nextNumber`: the first number free for ends and texts. */
export type WorkerMessage =
  | { readonly kind: 'ready'; readonly nextNumber: number; readonly totals: Totals }
  | { readonly kind: 'stored'; readonly call: number; readonly repeated: boolean; readonly totals: Totals }
  | {
      readonly kind: 'page';
      readonly call: number;
      readonly items: readonly StoredFlow[];
      readonly cursor: string | null;
    }
  | { readonly kind: 'groups'; readonly call: number; readonly flows: RecordedFlows; readonly dropped: number }
  /** More groups than `groupsMax`. */
  | { readonly kind: 'too-many'; readonly call: number }
  | { readonly kind: 'done'; readonly call: number; readonly totals: Totals }
  | { readonly kind: 'failed'; readonly call: number; readonly reason: string };

export interface WorkerOptions {
  readonly path: string;
  readonly retention: Retention;
}

export interface Retention {
  /** Flows that ended longer ago than this go. */
  readonly ageMsMax: number;
  /** Size of the file beyond which the oldest go. */
  readonly bytesMax: number;
}
