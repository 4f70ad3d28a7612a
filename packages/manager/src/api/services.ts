/** What the handlers need of the rest of the manager. */
import type { Logger } from 'pino';
import type { Analysis } from '../analysis/analysis.ts';
import type { Universes } from '../analysis/universe.ts';
import type { AuditLog } from '../audit/audit-log.ts';
import type { RepetitionLimit } from '../audit/repetition-limit.ts';
import type { Authority } from '../hosts/authority.ts';
import type { Enrolment } from '../hosts/enrolment.ts';
import type { Presence } from '../hosts/presence.ts';
import type { Divergences } from '../inventory/divergences.ts';
import type { Inventory } from '../inventory/inventory.ts';
import type { People } from '../people/people.ts';
import type { DocumentHistory } from '../policies/history.ts';
import type { Policies } from '../policies/policies.ts';
import type { FlowStore, QuestionService } from '../services.ts';
import type { Committer } from '../store/committer.ts';

export interface ApiServices {
  readonly committer: Committer;
  readonly policies: Policies;
  readonly history: DocumentHistory;
  readonly analysis: Analysis;
  readonly universes: Universes;
  readonly inventory: Inventory;
  readonly presence: Presence;
  readonly divergences: Divergences;
  readonly enrolment: Enrolment;
  readonly authority: Authority;
  readonly people: People;
  readonly audit: AuditLog;
  readonly questions: QuestionService;
  readonly flows: FlowStore;
  readonly auditLimit: RepetitionLimit;
  readonly logger: Logger;
  readonly nowMs: () => number;
  readonly software: string;
  readonly startedMs: number;
  readonly linkPort: () => number;
  readonly linkConnections: () => number;
  readonly certificateEndsMs: () => number;
}
