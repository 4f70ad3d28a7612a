/** What a connection needs of the rest of the manager. */
import type { Logger } from 'pino';
import type { RepetitionLimit } from '../audit/repetition-limit.ts';
import type { Batches } from './batches.ts';
import type { Divergences } from '../inventory/divergences.ts';
import type { Enrolment } from '../hosts/enrolment.ts';
import type { Inventory } from '../inventory/inventory.ts';
import type { Presence } from '../hosts/presence.ts';
import type { AuditWriter, FlowStore, QuestionService } from '../services.ts';
import type { Committer } from '../store/committer.ts';

export interface LinkServices {
  readonly committer: Committer;
  readonly inventory: Inventory;
  readonly presence: Presence;
  readonly enrolment: Enrolment;
  readonly questions: QuestionService;
  readonly flows: FlowStore;
  readonly divergences: Divergences;
  readonly batches: Batches;
  readonly audit: AuditWriter;
  readonly auditLimit: RepetitionLimit;
  readonly logger: Logger;
  /** PEM of the authorities that agents are to trust. */
  readonly authorities: string;
  readonly nowMs: () => number;
}
