/** The real manager core on real stores, with the real connections over the simulated network. Crashes and comes back with its disk. */
import { mkdtempSync, rmSync } from 'node:fs';
import path from 'node:path';
import { encodeManagerMessage } from '@bulkhead/protocol';
import { createPolicySet, type Document, type Labels, type PolicySet } from '@bulkhead/policy';
import { pino } from 'pino';
import type { WebSocket } from 'ws';
import type { VirtualClock } from '../../packages/agent/src/testing/virtual-clock.ts';
import { type Core, openCore } from '../../packages/manager/src/core.ts';
import { Questions } from '../../packages/manager/src/decisions/question-service.ts';
import { openSqliteQuestionLog } from '../../packages/manager/src/decisions/sqlite-question-log.ts';
import { defaultLifetimes } from '../../packages/manager/src/hosts/authority.ts';
import { Connection } from '../../packages/manager/src/link/connection.ts';
import { desiredMessages } from '../../packages/manager/src/link/desired.ts';
import { memoryFlows } from '../../packages/manager/src/testing/fakes.ts';
import type { Network } from './network.ts';

/** What was agreed at one revision: the meaning of policy, and who has which labels, by workload id. */
export interface Agreed {
  readonly policySet: PolicySet;
  readonly labels: ReadonlyMap<string, Labels>;
}

const administrator = { name: 'simulation', role: 'administrator', scope: null } as const;

export class SimulatedManager implements AsyncDisposable {
  readonly #clock: VirtualClock;
  readonly #network: Network;
  readonly #directory: string;
  readonly #hosts: readonly string[];
  /** By revision; revision 0 has nothing. */
  readonly #agreed: Agreed[] = [];
  readonly #connections = new Map<string, Connection>();
  #core: Core | null = null;
  #questions: Questions | null = null;

  private constructor(clock: VirtualClock, network: Network, hosts: readonly string[], temporary: string) {
    this.#clock = clock;
    this.#network = network;
    this.#hosts = hosts;
    this.#directory = mkdtempSync(path.join(temporary, 'manager-'));
    this.#agreed.push({ policySet: policySetOf([]), labels: new Map() });
  }

  static async start(
    clock: VirtualClock,
    network: Network,
    hosts: readonly string[],
    temporary: string,
  ): Promise<SimulatedManager> {
    const manager = new SimulatedManager(clock, network, hosts, temporary);
    await manager.start();
    return manager;
  }

  get isUp(): boolean {
    return this.#core !== null;
  }
  get revision(): number {
    return this.#agreed.length - 1;
  }
  /** Of the newest change that concerns agents. */
  get desiredRevision(): number {
    return this.#core?.committer.state.desiredRevision ?? this.revision;
  }
  agreed(revision: number): Agreed {
    return this.#agreed[Math.min(revision, this.revision)]!;
  }

  async start(): Promise<void> {
    const nowMs = () => this.#clock.nowMs();
    const onFault = (error: unknown): never => {
      throw new Error('a store of the manager failed', { cause: error });
    };
    const core = await openCore({ dataDirectory: this.#directory, nowMs, lifetimes: defaultLifetimes, onFault });
    await this.#enrol(core);
    const questions = new Questions({
      log: openSqliteQuestionLog(path.join(this.#directory, 'questions.sqlite')),
      inventory: core.inventory,
      policySet: () => core.policies.policySet(),
      revision: () => core.policies.revision(),
      nowMs,
      after: (milliseconds, call) => this.#clock.after(milliseconds, call),
      onFault,
    });
    this.#core = core;
    this.#questions = questions;
    this.#remember(core);
    core.committer.onCommit(() => {
      this.#remember(core);
      setImmediate(() => this.#connections.forEach((connection) => connection.deliver()));
    });
    questions.onDecision((host, decisions) => this.#connections.get(host)?.decide(decisions));
    const services = {
      ...core,
      questions,
      flows: memoryFlows(),
      logger: pino({ level: 'silent' }),
      authorities: core.authority.certificatePem,
      nowMs,
    };
    this.#network.listen((host, socket) => this.#accept(host, socket, services));
  }

  /** What it has not made durable is gone, and so is whoever was connected. */
  async crash(): Promise<void> {
    this.#network.silence();
    const [core, questions] = [this.#core, this.#questions];
    this.#core = null;
    this.#questions = null;
    this.#connections.clear();
    await questions?.[Symbol.asyncDispose]();
    await core?.[Symbol.asyncDispose]();
  }

  /** Replaces all documents. */
  async apply(documents: readonly Document[]): Promise<void> {
    const core = this.#core;
    if (core === null) return;
    const kept = new Set(documents.map(({ kind, metadata }) => `${kind}/${metadata.name}`));
    const removed = [...core.committer.state.documents.entries.values()]
      .map(({ document }) => document)
      .filter(({ kind, metadata }) => !kept.has(`${kind}/${metadata.name}`));
    const sources = documents.map((value, index) => ({ value, index }));
    const keys = removed.map(({ kind, metadata }) => ({ kind, name: metadata.name }));
    const result = await core.policies.apply(administrator, 'person/simulation', {
      documents: sources,
      removed: keys,
      dryRun: false,
    });
    if (result.kind !== 'applied') throw new Error(`generated documents were not applied: ${JSON.stringify(result)}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.crash();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #accept(host: string, socket: WebSocket, services: ConstructorParameters<typeof Connection>[0]['services']): void {
    void new Connection({
      host,
      notAfterMs: Number.POSITIVE_INFINITY,
      socket,
      services,
      desired: (from) => {
        const { state } = services.committer;
        const frames = desiredMessages(state, from, null).map((body) =>
          encodeManagerMessage({ type: 'desired', body }),
        );
        return { revision: state.desiredRevision, frames };
      },
      onReady: (ready) => this.#connections.set(host, ready),
      onClose: (closed) => {
        if (this.#connections.get(host) === closed) this.#connections.delete(host);
      },
    });
  }

  async #enrol(core: Core): Promise<void> {
    if (core.committer.state.hosts.hosts.size > 0) return;
    const commands = this.#hosts.map(
      (host) =>
        ({
          kind: 'host-enrolled',
          host,
          token: host,
          certificate: { serial: host, notAfterMs: Number.MAX_SAFE_INTEGER },
          labelsAllowed: null,
          addressesAllowed: null,
        }) as const,
    );
    await core.committer.commit('manager', () => ({ commands, result: null }));
  }

  #remember(core: Core): void {
    const { state } = core.committer;
    const labels = new Map([...state.inventory.workloads].map(([id, entry]) => [id, entry.labels]));
    const policySet = core.policies.policySet();
    while (this.#agreed.length <= state.revision) this.#agreed.push({ policySet, labels });
  }
}

function policySetOf(documents: readonly Document[]): PolicySet {
  const made = createPolicySet(documents, { checkCondition: () => null });
  if (made.kind !== 'ok') throw new Error('no policy set of nothing');
  return made.policySet;
}
