/**
 * The seams inside the manager: what `link/` and `api/` ask of questions and flows, and what those ask of the core. Implementations
 * are made in main.ts and handed over; nobody imports another's implementation.
 */
import type {
  DecisionMessage,
  FlowFilter,
  FlowRecord,
  FlowSort,
  QuestionFilter,
  QuestionMessage,
  QuestionRecord,
  StoredFlow,
} from '@bulkhead/protocol';
import type { Labels, PolicySet, RecordedFlows } from '@bulkhead/policy';

/** A page of a list. `cursor` is null on the last page, otherwise opaque to everyone but its maker. */
export interface Page<Item> {
  readonly items: readonly Item[];
  readonly cursor: string | null;
}

export interface PageRequest {
  readonly cursor?: string | undefined;
  readonly limit: number;
  /** Segments that the asking person may see: an item is visible if either end is in one of them. Null: everything. */
  readonly scope: readonly string[] | null;
}

/** Removes a listener. Calling it twice does nothing. */
export type Unsubscribe = () => void;

/** How an agent used or replaced an answer; see `agentMessages.outcomes`. */
export interface Outcome {
  readonly question: QuestionMessage;
  readonly verdict: 'allow' | 'deny' | 'reject';
  readonly because: string;
  readonly atMs: number;
}

/** Who does something through the API. */
export interface Actor {
  /** Name of the person's token, a host (`host/NAME`), or `manager`. */
  readonly name: string;
  readonly role: string;
  readonly scope: readonly string[] | null;
}

export type AnswerResult =
  | { readonly kind: 'answered'; readonly question: QuestionRecord }
  | { readonly kind: 'not-found' }
  /** Answered before, expired, or never meant for a human. */
  | { readonly kind: 'not-waiting'; readonly question: QuestionRecord }
  | { readonly kind: 'not-allowed'; readonly why: string };

export interface QuestionService extends AsyncDisposable {
  /** Resolves only when every question is in the durable log. A question for a human is answered `pending`, and later by `onDecision`. */
  ask(host: string, questions: readonly QuestionMessage[]): Promise<readonly DecisionMessage[]>;
  /** Resolves when durable. May see the same outcomes again after a crash: deduplicates by question id. */
  outcomes(host: string, outcomes: readonly Outcome[]): Promise<void>;
  /** Answers that were not yet known when `ask` returned. The link forwards them to the host, if it is connected. */
  onDecision(listener: (host: string, decisions: readonly DecisionMessage[]) => void): Unsubscribe;
  /** Answers of a host's questions that came while it was not connected and have not expired; sent when it connects. */
  undelivered(host: string): readonly DecisionMessage[];
  list(filter: QuestionFilter, page: PageRequest): Promise<Page<QuestionRecord>>;
  get(id: string): Promise<QuestionRecord | null>;
  /** New questions and changes of state, as they happen. A slow listener must bound its own queue. */
  watch(listener: (question: QuestionRecord) => void): Unsubscribe;
  /** `forSeconds`: overrides the rule's `remember`, never beyond it. */
  approve(id: string, by: Actor, options?: { readonly forSeconds?: number | undefined }): Promise<AnswerResult>;
  refuse(id: string, by: Actor): Promise<AnswerResult>;
}

/** Recorded flows in columns, as analyses take them. */
export interface GroupedFlows {
  readonly flows: RecordedFlows;
  /** Flows that were stopped for something other than policy; they are not in `flows`. */
  readonly dropped: number;
}

export interface FlowStore extends AsyncDisposable {
  /**
   * Resolves when stored. The caller drops batches it has acknowledged, but may repeat the last one after a crash: a flow's id with its
   * host is unique, and a later record of the same id replaces the earlier one (`new` → `open` → `closed`). `lost` flows that the
   * agent had to drop are counted and shown.
   */
  append(
    host: string,
    batch: { readonly boot: string; readonly number: number; readonly lost: number },
    flows: readonly FlowRecord[],
  ): Promise<void>;
  query(filter: FlowFilter, sort: FlowSort, page: PageRequest): Promise<Page<StoredFlow>>;
  watch(
    filter: FlowFilter,
    scope: readonly string[] | null,
    listener: (flows: readonly StoredFlow[]) => void,
  ): Unsubscribe;
  /** Flows alike in all that policy reads, counted; null where there are more groups than one analysis takes. */
  group(filter: FlowFilter, scope: readonly string[] | null): Promise<GroupedFlows | null>;
  /** Totals since the store was made, for status and metrics. */
  counts(): { readonly stored: number; readonly lost: number };
}

/** What the core knows about a workload, for questions, flows and conditions. */
export interface WorkloadView {
  readonly workload: string;
  readonly name: string;
  readonly host: string;
  readonly identity: number;
  readonly generation: number;
  /** All labels: claimed and accepted ones, and facts (`bulkhead.dev/…`). */
  readonly labels: Labels;
  readonly segments: readonly string[];
  readonly isolationClass: string;
  readonly boundary: 'hardware' | 'emulated' | 'none';
  readonly image: string | null;
  readonly imageDigest: string | null;
}

export interface HostView {
  readonly name: string;
  readonly labels: Labels;
  readonly segments: readonly string[];
}

/** Read side of the inventory: synchronous, from memory. */
export interface InventoryView {
  workload(id: string): WorkloadView | null;
  /** A machine itself: its facts, and the segments that it is in. */
  host(name: string): HostView;
}

/** Read side of the documents in force: synchronous, from memory. */
export interface PolicyView {
  /** Immutable; another object after every change. */
  policySet(): PolicySet;
  /** Revision of the newest change of any document. */
  revision(): number;
  /** Called after a change is durable, with the revision that made it. */
  onChange(listener: (revision: number) => void): Unsubscribe;
}

/** One record of a stream; `sequence` starts at 1 and has no gaps. */
export interface StreamRecord {
  readonly sequence: number;
  readonly atMs: number;
  readonly data: Uint8Array;
}

/**
 * Durable append-only streams by name (`audit`, `questions`, …). Appends of the same turn of the event loop share one commit.
 */
export interface Streams extends AsyncDisposable {
  /** Resolves with the sequence of the first record once all of them are durable, in order. */
  append(stream: string, records: readonly Uint8Array[]): Promise<number>;
  /** Records from `from` on, at most `limit`, oldest first. */
  read(stream: string, from: number, limit: number): Promise<readonly StreamRecord[]>;
  /** The last `limit` records, oldest first. */
  tail(stream: string, limit: number): Promise<readonly StreamRecord[]>;
  /** Sequence of the newest record; 0 when there is none. */
  last(stream: string): Promise<number>;
  /** Removes records before `sequence`. The audit stream is never trimmed. */
  trim(stream: string, before: number): Promise<void>;
  /** A small durable value beside the streams: who has been acknowledged up to where. Durable with the next commit of this turn. */
  setMark(key: string, value: number): Promise<void>;
  mark(key: string): Promise<number | null>;
}

export interface AuditEvent {
  /** `person/NAME`, `host/NAME`, `manager`. */
  readonly actor: string;
  /** Verb in the past tense of what was done: `documents.applied`, `question.approved`, `login.failed`. */
  readonly action: string;
  /** What it was done to. */
  readonly subject: string;
  readonly details: Readonly<Record<string, unknown>>;
}

export interface AuditWriter {
  /** Resolves when the line is durable. */
  record(event: AuditEvent): Promise<void>;
}
