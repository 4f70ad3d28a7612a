/** Small services that really keep what they are given, for tests of the link that are not about questions or flows. */
import type { DecisionMessage, FlowRecord, QuestionMessage } from '@bulkhead/protocol';
import type { FlowStore, Outcome, QuestionService } from '../services.ts';

export interface MemoryQuestions extends QuestionService {
  readonly asked: { readonly host: string; readonly question: QuestionMessage }[];
  readonly ended: Outcome[];
  /** Sends an answer as a human's would come. */
  answer(host: string, decision: DecisionMessage): void;
}

/** Allows every question for its connection. */
export function memoryQuestions(): MemoryQuestions {
  const listeners = new Set<(host: string, decisions: readonly DecisionMessage[]) => void>();
  const asked: MemoryQuestions['asked'] = [];
  const ended: Outcome[] = [];
  return {
    asked,
    ended,
    answer: (host, decision) => listeners.forEach((listener) => listener(host, [decision])),
    async ask(host, questions) {
      asked.push(...questions.map((question) => ({ host, question })));
      return questions.map((question) => ({
        question: question.id,
        verdict: 'allow',
        scope: 'connection',
        forSeconds: 0,
        expiresMs: question.atMs + 10_000,
        why: 'test',
      }));
    },
    async outcomes(_host, outcomes) {
      ended.push(...outcomes);
    },
    onDecision(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    undelivered: () => [],
    list: async () => ({ items: [], cursor: null }),
    get: async () => null,
    watch: () => () => undefined,
    approve: async () => ({ kind: 'not-found' }),
    refuse: async () => ({ kind: 'not-found' }),
    [Symbol.asyncDispose]: async () => undefined,
  };
}

export interface MemoryFlows extends FlowStore {
  readonly stored: { readonly host: string; readonly flow: FlowRecord }[];
}

export function memoryFlows(): MemoryFlows {
  const stored: MemoryFlows['stored'] = [];
  let lost = 0;
  return {
    stored,
    async append(host, batch, flows) {
      stored.push(...flows.map((flow) => ({ host, flow })));
      lost += batch.lost;
    },
    query: async () => ({ items: [], cursor: null }),
    watch: () => () => undefined,
    counts: () => ({ stored: stored.length, lost }),
    [Symbol.asyncDispose]: async () => undefined,
  };
}
