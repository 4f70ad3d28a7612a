/** A small cluster for tests and measurements: a desk, a database, rules between them, and a clock that only tests move. */
import { conditionFault, createPolicySet, parseDocument } from '@bulkhead/policy';
import type { PolicySet } from '@bulkhead/policy';
import type { QuestionMessage } from '@bulkhead/protocol';
import type { InventoryView, Unsubscribe, WorkloadView } from '../../services.ts';
import { Questions } from '../question-service.ts';
import type { QuestionLog } from '../question-log.ts';

export interface VirtualClock {
  readonly nowMs: () => number;
  readonly after: (milliseconds: number, call: () => void) => Unsubscribe;
  /** Moves time on and calls what is due, in order. */
  readonly advance: (milliseconds: number) => void;
}

export function virtualClock(startMs: number): VirtualClock {
  let now = startMs;
  let timers: { readonly atMs: number; readonly call: () => void }[] = [];
  return {
    nowMs: () => now,
    after(milliseconds, call) {
      const timer = { atMs: now + milliseconds, call };
      timers.push(timer);
      return () => {
        timers = timers.filter((other) => other !== timer);
      };
    },
    advance(milliseconds) {
      now += milliseconds;
      const due = timers.filter(({ atMs }) => atMs <= now);
      timers = timers.filter(({ atMs }) => atMs > now);
      for (const { call } of due) call();
    },
  };
}

export type RuleFields = Readonly<Record<string, unknown>>;

function segment(name: string, app: string): unknown {
  return {
    apiVersion: 'bulkhead.dev/v1',
    kind: 'Segment',
    metadata: { name },
    spec: { selector: { matchLabels: { app } } },
  };
}

/** Policy `orders` in tier `application` with these rules, each asking from the desk to the database unless it says otherwise. */
export function policySetOf(rules: readonly RuleFields[], timeZone = 'UTC'): PolicySet {
  const filled = rules.map((rule) => ({
    action: 'ask',
    from: { segment: 'desk' },
    to: { segment: 'database' },
    ...rule,
  }));
  const policy = {
    apiVersion: 'bulkhead.dev/v1',
    kind: 'Policy',
    metadata: { name: 'orders' },
    spec: { timeZone, rules: filled },
  };
  const documents = [segment('desk', 'desk'), segment('database', 'database'), policy].map((value) => {
    const parsed = parseDocument(value, {});
    if (parsed.kind === 'refused') throw new Error(JSON.stringify(parsed.problems));
    return parsed.document;
  });
  const result = createPolicySet(documents, { checkCondition: conditionFault });
  if (result.kind === 'refused') throw new Error(JSON.stringify(result.problems));
  return result.policySet;
}

export function workloadOf(name: string, app: string, more: Partial<WorkloadView> = {}): WorkloadView {
  return {
    workload: `h1/docker/${name}`,
    name,
    host: 'h1',
    identity: app === 'desk' ? 300 : 301,
    generation: 1,
    labels: { app, team: 'orders', 'bulkhead.dev/class': 'microvm' },
    segments: [app],
    isolationClass: 'microvm',
    boundary: 'hardware',
    image: 'registry/desk:1',
    imageDigest: null,
    ...more,
  };
}

export class World {
  readonly clock: VirtualClock;
  readonly workloads = new Map<string, WorkloadView>();
  readonly faults: unknown[] = [];
  policySet: PolicySet;
  revision = 7;
  #asked = 0;

  constructor(rules: readonly RuleFields[], startMs = Date.UTC(2026, 10, 20, 9, 0)) {
    this.clock = virtualClock(startMs);
    this.policySet = policySetOf(rules);
    for (const workload of [workloadOf('desk-1', 'desk'), workloadOf('desk-2', 'desk'), workloadOf('db', 'database')]) {
      this.workloads.set(workload.workload, workload);
    }
  }

  get inventory(): InventoryView {
    return {
      workload: (id) => this.workloads.get(id) ?? null,
      host: (name) => ({ name, labels: {}, segments: [] }),
    };
  }

  service(log: QuestionLog): Questions {
    return new Questions({
      log,
      inventory: this.inventory,
      policySet: () => this.policySet,
      revision: () => this.revision,
      nowMs: this.clock.nowMs,
      after: this.clock.after,
      onFault: (error) => this.faults.push(error),
    });
  }

  question(
    rules: string | readonly string[],
    more: Partial<QuestionMessage> = {},
    from = 'desk-1',
    to = 'db',
  ): QuestionMessage {
    const end = (name: string, port: number): QuestionMessage['source'] => {
      const known = this.workloads.get(`h1/docker/${name}`);
      const { workload, identity, generation } = known ?? {
        workload: `h1/docker/${name}`,
        identity: 999,
        generation: 1,
      };
      return { workload, identity, generation, address: '10.0.0.1', port };
    };
    this.#asked += 1;
    return {
      id: `h1:boot:${this.#asked}`,
      rules: [rules].flat().map((rule) => ({ tier: 'application', policy: 'orders', rule })),
      revision: this.revision,
      source: end(from, 40_000 + (this.#asked % 20_000)),
      destination: end(to, 5432),
      protocol: 6,
      ratePerMinute: 1,
      atMs: this.clock.nowMs(),
      ...more,
    };
  }
}
