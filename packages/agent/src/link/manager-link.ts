/** What the agent needs of a link, whatever carries it. */
import type { AgentMessage, ManagerMessage, QuestionMessage } from '@bulkhead/protocol';
import type { Logger } from 'pino';
import type { Clock } from '../clock.ts';
import type { Journal } from '../journal/journal.ts';

export interface ManagerLink extends Disposable {
  readonly isReady: boolean;
  /** Why there is no connection, for people. */
  readonly lastError: string;
  /** False where there is no connection, or it is too slow to take more now. */
  send(message: AgentMessage): boolean;
  ask(questions: readonly QuestionMessage[]): boolean;
  /** Begins again with the whole desired state. */
  reconnectFull(): void;
}

export interface LinkHandlers {
  /** After the welcome: the moment to send full reports. */
  onReady(): void;
  onDown(): void;
  onMessage(message: Extract<ManagerMessage, { type: 'desired' | 'decisions' | 'enforcement' | 'adopt' }>): void;
}

export interface LinkContext {
  readonly log: Logger;
  readonly clock: Clock;
  readonly journal: Journal;
  readonly handlers: LinkHandlers;
  /** Of the desired state, 0 to be told everything. */
  readonly revision: () => number;
}

/** Calls handlers only after it returned. */
export type ManagerLinkFactory = (context: LinkContext) => ManagerLink;
