/** The durable record of questions, as a port: on one machine SQLite, elsewhere another engine. */
import type { PartyFacts } from '@bulkhead/policy';
import type { QuestionFilter, QuestionRecord } from '@bulkhead/protocol';
import type { Page, PageRequest } from '../services.ts';
import type { ConditionRecord } from './judge.ts';

/** What a decision was made from, so that it can be explained and evaluated again. */
export interface DecisionInputs {
  /** When it was judged, and under which revision of the documents. */
  readonly judgedMs: number;
  readonly revision: number;
  readonly conditions: readonly ConditionRecord[];
  /** Null where an end was not known, which is a denial. */
  readonly source: PartyFacts | null;
  readonly destination: PartyFacts | null;
}

export interface LoggedQuestion {
  readonly record: QuestionRecord;
  readonly inputs: DecisionInputs;
  /** The id of the waiting question with the same key that answers this one too. */
  readonly leader: string | null;
  /** Roles that have not approved yet, while it waits. */
  readonly roles: readonly string[];
  /** An answer later than this is of no use to the agent. By the agent's clock, which only the agent compares with its own. */
  readonly usableUntilMs: number;
  /** Whether the agent holds the packet while a human decides. */
  readonly held: boolean;
  /** What the agent said afterwards: how the answer was used, or what it decided alone. */
  readonly outcome: {
    readonly verdict: 'allow' | 'deny' | 'reject';
    readonly because: string;
    readonly atMs: number;
  } | null;
}

/** What a human decided, for later questions. */
export interface RememberedDecision {
  readonly key: string;
  readonly verdict: 'allow' | 'deny' | 'reject';
  readonly by: string;
  readonly question: string;
  readonly expiresMs: number;
}

export interface QuestionLog extends AsyncDisposable {
  /** Resolves when durable: for each, null if it is new, or the one that has had this id before. */
  append(questions: readonly LoggedQuestion[]): Promise<readonly (LoggedQuestion | null)[]>;
  /**
   * For each id: reads, lets `change` say what to write (null: nothing), and remembers, all in one commit. Resolves with what was
   * written, once that is durable. `change` must only compute; it runs inside the transaction.
   */
  change(
    ids: readonly string[],
    change: (id: string, before: LoggedQuestion | null) => LoggedQuestion | null,
    remembered?: RememberedDecision | null,
  ): Promise<readonly LoggedQuestion[]>;
  find(id: string): LoggedQuestion | null;
  /** Newest first. Searches with bounds, so a page may be short and still have a cursor. */
  list(filter: QuestionFilter, page: PageRequest): Promise<Page<QuestionRecord>>;
  /** Those that wait for a human, followers included; oldest first. */
  waiting(): readonly LoggedQuestion[];
  /** Those answered late, for which the agent may still hold a packet. */
  heldAfter(nowMs: number): readonly LoggedQuestion[];
  remembered(nowMs: number): readonly RememberedDecision[];
  count(): number;
}
