import type { ReceiptMessage } from '@bulkhead/protocol';
import type { QuestionCounts } from '../questions/questions.ts';
import type { LearntCounts } from '../resolver/learnt-book.ts';

/** The agent at a glance: `bulkhead status` on its host. */
export interface AgentStatus {
  readonly host: string;
  readonly software: string;
  readonly revision: number;
  readonly receipt: ReceiptMessage | null;
  readonly enforcing: boolean;
  readonly link: { readonly isReady: boolean; readonly lastError: string };
  readonly programs: readonly string[];
  readonly endpoints: number;
  readonly workloads: number;
  readonly rows: number;
  readonly questions: QuestionCounts;
  /** Addresses that workloads learnt by names; how many had to make room for others, and how many are over. */
  readonly learnt: { readonly addresses: number } & Readonly<LearntCounts>;
  readonly journal: { readonly bytes: number; readonly batches: number };
  readonly flowsLost: number;
  readonly eventsLost: number;
  readonly puntsLost: number;
  readonly residentBytes: number;
}
