/** Small services that really keep what they are given, for tests of the link that are not about questions or flows. */
import { EventEmitter, once } from 'node:events';
import type { DecisionMessage, FlowRecord, QuestionMessage, StoredFlow } from '@bulkhead/protocol';
import { FlowStoreError } from '../flows/flow-store.ts';
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
  /** Shows a flow to whoever watches. */
  show(host: string, id: string): void;
  /** Resolves when so many watch. */
  watching(count: number): Promise<void>;
  /** As when there are too many of them. */
  refuseWatchers(): void;
}

export function memoryFlows(): MemoryFlows {
  const stored: MemoryFlows['stored'] = [];
  const watchers = new Set<(flows: readonly StoredFlow[]) => void>();
  const changed = new EventEmitter();
  let lost = 0;
  let refusing = false;
  return {
    stored,
    refuseWatchers: () => {
      refusing = true;
    },
    show: (host, id) => watchers.forEach((watcher) => watcher([storedFlowOf(host, id)])),
    async watching(count) {
      while (watchers.size !== count) await once(changed, 'change', { signal: AbortSignal.timeout(10_000) });
    },
    async append(host, batch, flows) {
      stored.push(...flows.map((flow) => ({ host, flow })));
      lost += batch.lost;
    },
    query: async () => ({ items: [], cursor: null }),
    group: async () => ({ flows: { parties: [], reasons: [], batches: [] }, dropped: 0 }),
    watch(_filter, _scope, listener) {
      if (refusing) throw new FlowStoreError('More than 0 listeners watch flows.');
      watchers.add(listener);
      changed.emit('change');
      return () => {
        watchers.delete(listener);
        changed.emit('change');
      };
    },
    counts: () => ({ stored: stored.length, lost }),
    [Symbol.asyncDispose]: async () => undefined,
  };
}

function storedFlowOf(host: string, id: string): StoredFlow {
  const end = { workload: null, identity: 2, address: '192.0.2.1', port: 1, name: null, labels: {}, segments: [] };
  return {
    id,
    host,
    source: end,
    destination: end,
    protocol: 6,
    verdict: 'allow',
    egressReason: '',
    ingressReason: '',
    dropReason: null,
    question: null,
    staged: null,
    revision: 1,
    firstMs: 1,
    lastMs: 1,
    packets: [1, 1],
    bytes: [1, 1],
    state: 'closed',
  };
}
