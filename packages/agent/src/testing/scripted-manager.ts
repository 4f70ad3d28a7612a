/** A manager for tests, in the same process: allocates identities, sends desired state, answers as it is told, remembers everything. */
import {
  type AgentMessage,
  decodeAgentMessage,
  decodeManagerMessage,
  encodeAgentMessage,
  encodeManagerMessage,
} from '@bulkhead/protocol';
import type {
  DecisionMessage,
  DesiredMessage,
  FlowRecord,
  ManagerMessage,
  QuestionMessage,
  ReceiptMessage,
  WorkloadReport,
} from '@bulkhead/protocol';
import type { LinkContext, ManagerLink, ManagerLinkFactory } from '../link/manager-link.ts';

type Workload = DesiredMessage['workloads'][number];
type Answer = Partial<DecisionMessage> & Pick<DecisionMessage, 'verdict'>;

const firstIdentity = 256;

export class ScriptedManager {
  readonly host: string;
  readonly receipts: ReceiptMessage[] = [];
  readonly questions: QuestionMessage[] = [];
  readonly flows: FlowRecord[] = [];
  readonly outcomes: Extract<AgentMessage, { type: 'outcomes' }>['body']['outcomes'] = [];
  readonly reports = new Map<string, WorkloadReport>();
  readonly messages: AgentMessage[] = [];
  lostFlows = 0;
  revision = 0;
  /** null: the question stays without an answer. */
  answer: (question: QuestionMessage) => Answer | null = () => null;
  acknowledges = true;
  readonly #documents = new Map<string, Record<string, unknown>>();
  readonly #identities = new Map<string, number>();
  readonly #workloads = new Map<string, Workload>();
  #agent: ScriptedLink | null = null;
  #reachable = true;

  constructor(host: string) {
    this.host = host;
  }

  readonly factory: ManagerLinkFactory = (context) => {
    const link = new ScriptedLink(this, context);
    this.#agent = link;
    if (this.#reachable) queueMicrotask(() => link.connect());
    return link;
  };

  get isReachable(): boolean {
    return this.#reachable;
  }

  setReachable(reachable: boolean): void {
    this.#reachable = reachable;
    if (reachable) this.#agent?.connect();
    else this.#agent?.disconnect();
  }

  /** The agent this was linked with is dead. */
  forgetAgent(): void {
    this.#agent = null;
  }

  apply(...documents: readonly Record<string, unknown>[]): void {
    for (const document of documents) this.#documents.set(keyOf(document), document);
    this.#send({ documents: [...documents] });
  }

  remove(kind: string, name: string): void {
    this.#documents.delete(`${kind}/${name}`);
    this.#send({ documentsRemoved: [{ kind, name }] });
  }

  /** A workload of another host. */
  setRemote(workload: string, labels: Record<string, string>, addresses: readonly string[]): void {
    const { identity, isNew } = this.#identityOf(labels);
    const entry = {
      workload,
      name: workload,
      host: 'elsewhere',
      identity,
      generation: 1,
      labels,
      addresses: [...addresses],
    };
    this.#workloads.set(workload, entry);
    this.#send({ workloads: [entry], identities: isNew ? [[identity, labels]] : [] });
  }

  /** Gives the identity of a set of labels other labels, as when fewer keys are relevant. */
  relabel(labels: Record<string, string>, others: Record<string, string>): void {
    const found = [...this.#identities].find(([key]) => {
      const known = JSON.parse(key) as Record<string, string>;
      return Object.entries(labels).every(([name, value]) => known[name] === value);
    });
    if (found === undefined) throw new Error('no such identity');
    this.#identities.delete(found[0]);
    this.#identities.set(JSON.stringify(others), found[1]);
    this.#send({ identities: [[found[1], others]] });
  }

  removeRemote(workload: string): void {
    this.#workloads.delete(workload);
    this.#send({ workloadsRemoved: [workload] });
  }

  send(message: ManagerMessage): void {
    this.#agent?.take(message);
  }

  full(): DesiredMessage {
    return {
      ...emptyDesired(this.revision, 0),
      documents: [...this.#documents.values()],
      identities: [...this.#identities].map(([labels, identity]) => [
        identity,
        JSON.parse(labels) as Record<string, string>,
      ]),
      workloads: [...this.#workloads.values()],
    };
  }

  received(message: AgentMessage): void {
    this.messages.push(message);
    switch (message.type) {
      case 'workloads':
        return this.#report(message.body);
      case 'receipt':
        return void this.receipts.push(message.body);
      case 'questions':
        return this.#ask(message.body.questions);
      case 'flows':
        this.flows.push(...message.body.flows);
        this.lostFlows += message.body.lost;
        return;
      case 'outcomes':
        return void this.outcomes.push(...message.body.outcomes);
      case 'hello':
      case 'divergences':
      case 'status':
      case 'renew':
        return;
    }
  }

  #report({ full, set, removed }: Extract<AgentMessage, { type: 'workloads' }>['body']): void {
    if (full) for (const id of this.reports.keys()) if (!set.some(({ workload }) => workload === id)) removed.push(id);
    const workloads: Workload[] = [];
    const identities: DesiredMessage['identities'] = [];
    for (const report of set) {
      this.reports.set(report.workload, report);
      const labels = { ...report.labels, ...factsOf(this.host, report) };
      const { identity, isNew } = this.#identityOf(labels);
      if (isNew) identities.push([identity, labels]);
      const addresses = report.endpoints.flatMap((endpoint) => endpoint.addresses);
      const entry = {
        workload: report.workload,
        name: report.name,
        host: this.host,
        identity,
        generation: report.generation,
        labels,
        addresses,
      };
      if (JSON.stringify(this.#workloads.get(report.workload)) === JSON.stringify(entry)) continue;
      this.#workloads.set(report.workload, entry);
      workloads.push(entry);
    }
    for (const id of removed) {
      this.reports.delete(id);
      this.#workloads.delete(id);
    }
    if (workloads.length + removed.length > 0) this.#send({ workloads, identities, workloadsRemoved: removed });
  }

  #ask(questions: readonly QuestionMessage[]): void {
    const decisions = questions.flatMap((question) => {
      this.questions.push(question);
      const answer = this.answer(question);
      return answer === null ? [] : [decisionOf(question, answer)];
    });
    if (decisions.length > 0) this.send({ type: 'decisions', body: { decisions } });
  }

  #identityOf(labels: Record<string, string>): { readonly identity: number; readonly isNew: boolean } {
    const key = JSON.stringify(Object.fromEntries(Object.entries(labels).sort()));
    const known = this.#identities.get(key);
    if (known !== undefined) return { identity: known, isNew: false };
    const identity = firstIdentity + this.#identities.size;
    this.#identities.set(key, identity);
    return { identity, isNew: true };
  }

  #send(change: Partial<DesiredMessage>): void {
    const from = this.revision++;
    this.send({ type: 'desired', body: { ...emptyDesired(this.revision, from), ...change } });
  }
}

export function decisionOf(question: QuestionMessage, answer: Answer): DecisionMessage {
  return {
    question: question.id,
    scope: 'connection',
    forSeconds: 0,
    expiresMs: question.atMs + 60_000,
    why: 'as the test says',
    ...answer,
  };
}

class ScriptedLink implements ManagerLink {
  readonly #manager: ScriptedManager;
  readonly #context: LinkContext;
  readonly #unsubscribe: () => void;
  #isReady = false;
  #isFull = false;
  #sent = 0;

  constructor(manager: ScriptedManager, context: LinkContext) {
    this.#manager = manager;
    this.#context = context;
    this.#unsubscribe = context.journal.onAppend(() => this.#pump());
  }

  get isReady(): boolean {
    return this.#isReady;
  }
  readonly lastError = 'unreachable';

  /** As the wire does it: encoded, checked, decoded. */
  send(message: AgentMessage): boolean {
    if (!this.#isReady) return false;
    const decoded = decodeAgentMessage(encodeAgentMessage(message));
    if (decoded.kind === 'malformed') throw new Error(`${decoded.path}: ${decoded.reason}`);
    this.#manager.received(decoded.message);
    return true;
  }

  ask(questions: readonly QuestionMessage[]): boolean {
    return this.send({ type: 'questions', body: { questions: [...questions] } });
  }

  take(message: ManagerMessage): void {
    if (!this.#isReady) return;
    const decoded = decodeManagerMessage(encodeManagerMessage(message));
    if (decoded.kind === 'malformed') throw new Error(`${decoded.path}: ${decoded.reason}`);
    const { message: taken } = decoded;
    if (
      taken.type === 'desired' ||
      taken.type === 'decisions' ||
      taken.type === 'enforcement' ||
      taken.type === 'adopt'
    ) {
      this.#context.handlers.onMessage(taken);
    }
  }

  connect(): void {
    if (this.#isReady) return;
    this.#isReady = true;
    this.#sent = 0;
    const from = this.#isFull ? 0 : this.#context.revision();
    this.#isFull = false;
    // A difference only where there is nothing to tell: the tests' managers keep no history.
    const { revision } = this.#manager;
    const desired = from === revision && from > 0 ? emptyDesired(revision, revision) : this.#manager.full();
    this.take({ type: 'desired', body: desired });
    this.#context.handlers.onReady();
    this.#pump();
  }

  disconnect(): void {
    if (!this.#isReady) return;
    this.#isReady = false;
    this.#context.handlers.onDown();
  }

  reconnectFull(): void {
    this.#isFull = true;
    this.disconnect();
    queueMicrotask(() => this.connect());
  }

  [Symbol.dispose](): void {
    this.#isReady = false;
    this.#unsubscribe();
  }

  #pump(): void {
    if (!this.#isReady || !this.#manager.acknowledges) return;
    for (const { number, frame } of this.#context.journal.after(this.#sent, 1000)) {
      this.#sent = number;
      const decoded = decodeAgentMessage(frame);
      if (decoded.kind === 'malformed') throw new Error(`${decoded.path}: ${decoded.reason}`);
      this.#manager.received(decoded.message);
      this.#context.journal.acknowledge(number);
    }
  }
}

function emptyDesired(revision: number, from: number): DesiredMessage {
  return {
    ...{ revision, from, more: false, auditHead: null },
    ...{
      documents: [],
      documentsRemoved: [],
      identities: [],
      identitiesRemoved: [],
      workloads: [],
      workloadsRemoved: [],
    },
  };
}

function keyOf(document: Record<string, unknown>): string {
  return `${String(document['kind'])}/${(document['metadata'] as { readonly name: string }).name}`;
}

function factsOf(host: string, report: WorkloadReport): Record<string, string> {
  return {
    'bulkhead.dev/host': host,
    'bulkhead.dev/class': report.isolationClass,
    'bulkhead.dev/boundary': report.boundary,
    'bulkhead.dev/engine': report.engine,
    ...(report.imageDigest === null ? {} : { 'bulkhead.dev/image': report.imageDigest }),
  };
}
