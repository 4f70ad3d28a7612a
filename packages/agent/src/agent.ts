/** The agent: kernel, core, questions, flows, link, attachments and control socket, started and stopped in order. */
import { type Kernel, KernelError, type PuntDevice } from '@bulkhead/kernel';
import type { DivergenceRecord, FlowRecord, ManagerMessage } from '@bulkhead/protocol';
import type { Logger } from 'pino';
import { every, systemClock, type Clock } from './clock.ts';
import { createMetrics } from './control/metrics.ts';
import { ControlServer } from './control/server.ts';
import type { AgentStatus } from './control/status.ts';
import { endpointViews } from './control/top.ts';
import { Core } from './core.ts';
import { Journal } from './journal/journal.ts';
import { JournalWriter } from './journal/writer.ts';
import type { ManagerLink, ManagerLinkFactory } from './link/manager-link.ts';
import { WorkloadReports } from './link/workload-reports.ts';
import type { AttachContext, Attachment, AttachmentFactory, Directory, EndpointRegistry } from './model.ts';
import { Observer } from './observe/observer.ts';
import { Questions, type QuestionOutcome } from './questions/questions.ts';
import { Terms } from './questions/terms.ts';
import { guardUplinks, uplinksAmong } from './uplinks.ts';
import { openAgentState, type AgentState } from './state.ts';

const heartbeatMs = 1_000;
const interfacesMs = 10_000;
const statusMs = 10_000;
const pruneMs = 600_000;
/** How long records may wait in memory for others to be written with them. */
const flowsDelayMs = 250;
const outcomesDelayMs = 50;
const puntRateDefault = 2_000;
const puntBurstDefault = 512;
const connectionsPerEndpointDefault = 16_384;

export interface AgentOptions {
  readonly host: string;
  readonly kernel: Kernel;
  readonly log: Logger;
  readonly stateDirectory: string;
  /** Another after each boot of the machine. */
  readonly bootId: string;
  /** Another for each start: makes the ids of questions unique. */
  readonly startId: string;
  readonly kernelName: string;
  readonly software: string;
  /** null: without a manager, with the last desired state. */
  readonly link: ManagerLinkFactory | null;
  readonly attachments: AttachmentFactory | null;
  /** null: none. */
  readonly controlSocket: string | null;
  /** Names of the interfaces that lead out of the machine; null: found by their addresses. */
  readonly uplinks?: readonly string[] | null;
  readonly clock?: Clock;
  readonly connectionsPerEndpoint?: number;
  /** Punts per second and endpoint, and how many at once. */
  readonly puntRate?: number;
  readonly puntBurst?: number;
}

export interface Agent extends AsyncDisposable {
  readonly registry: EndpointRegistry;
  readonly directory: Directory;
  status(): AgentStatus;
  /** Compares with kernel and engines at once. */
  resync(): Promise<void>;
  onFlow(listener: (flow: FlowRecord) => void): () => void;
}

/** Ready when the kernel holds what is desired, as far as known. What is pinned goes on being enforced after the agent ended. */
export async function startAgent(options: AgentOptions): Promise<Agent> {
  await using started = new AsyncDisposableStack();
  const agent = await RunningAgent.start(options, started);
  agent.own(started.move());
  return agent;
}

class RunningAgent implements Agent {
  readonly #options: AgentOptions;
  readonly #clock: Clock;
  readonly #core: Core;
  readonly #journal: Journal;
  readonly #flowListeners = new Set<(flow: FlowRecord) => void>();
  readonly #flows: JournalWriter<FlowRecord>;
  readonly #outcomes: JournalWriter<QuestionOutcome>;
  readonly #divergences: JournalWriter<DivergenceRecord>;
  readonly #reports: WorkloadReports;
  readonly #questions: Questions;
  readonly #terms: Terms;
  readonly #state: AgentState;
  readonly #device: PuntDevice;
  #link: ManagerLink | null = null;
  #attachment: Attachment | null = null;
  #owned: AsyncDisposableStack | null = null;
  #flowsLost = 0;
  #epochMs: number;
  #revisionSet = -1;

  static async start(options: AgentOptions, stack: AsyncDisposableStack): Promise<RunningAgent> {
    const { kernel } = options;
    kernel.programs.load();
    const device = stack.use(await kernel.openPuntDevice());
    kernel.links.attach(device.ifindex, 'punt');
    const agent = new RunningAgent(options, device, stack);
    await agent.#readInterfaces();
    agent.#setConfig();
    agent.#core.reconciler.reconcileNow();
    agent.#observe(stack);
    agent.#tick(stack);
    if (options.link !== null) agent.#link = stack.use(agent.#connect(options.link));
    if (options.attachments !== null) agent.#attachment = stack.use(await options.attachments(agent.#attachContext()));
    if (options.controlSocket !== null) stack.use(await agent.#listen(options.controlSocket));
    return agent;
  }

  private constructor(options: AgentOptions, device: PuntDevice, stack: AsyncDisposableStack) {
    const { host, kernel, log, stateDirectory, bootId } = options;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    const clock = this.#clock;
    this.#epochMs = clock.nowMs() - Number(kernel.nowNs()) / 1e6;
    const state = stack.use(openAgentState(stateDirectory));
    this.#state = state;
    this.#device = device;
    this.#journal = stack.use(new Journal(stateDirectory));
    const journal = this.#journal;
    this.#flows = stack.use(
      new JournalWriter<FlowRecord>({
        journal,
        clock,
        delayMs: flowsDelayMs,
        content: (flows) => ({ type: 'flows', flows }),
      }),
    );
    this.#outcomes = stack.use(
      new JournalWriter<QuestionOutcome>({
        ...{ journal, clock, delayMs: outcomesDelayMs },
        content: (outcomes) => ({ type: 'outcomes', outcomes }),
      }),
    );
    this.#divergences = stack.use(
      new JournalWriter<DivergenceRecord>({
        ...{ journal, clock, delayMs: outcomesDelayMs },
        content: (divergences) => ({ type: 'divergences', divergences }),
      }),
    );
    this.#core = new Core({
      ...{ host, kernel, clock, log, state, bootId },
      connectionsPerEndpoint: options.connectionsPerEndpoint ?? connectionsPerEndpointDefault,
      onReceipt: (body) => void this.#link?.send({ type: 'receipt', body }),
      onApplied: () => this.#onApplied(),
      setRevision: () => this.#tellRevision(),
    });
    stack.defer(() => this.#core.reconciler.close());
    const { store, rules, parties, registry } = this.#core;
    this.#reports = new WorkloadReports(registry, (message) => this.#link?.send(message) ?? false);
    this.#terms = new Terms(rules, () => store.policySet);
    this.#questions = stack.use(
      new Questions({
        ...{ device, clock, parties },
        terms: this.#terms,
        revision: () => store.revision,
        idPrefix: `${host.slice(0, 24)}:${options.startId.slice(0, 16)}`,
        send: (questions) => this.#link?.ask(questions) ?? false,
        recordOutcome: (outcome) => this.#outcomes.add(outcome),
      }),
    );
  }

  get registry(): EndpointRegistry {
    return this.#core.registry;
  }

  get directory(): Directory {
    const { store } = this.#core;
    return {
      byName: (name) => store.byName(name),
      byAddress: (address) => store.byAddress(address),
      byWorkload: (workload) => store.workloads.get(workload),
    };
  }

  own(stack: AsyncDisposableStack): void {
    this.#owned = stack;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned?.disposeAsync();
  }

  onFlow(listener: (flow: FlowRecord) => void): () => void {
    this.#flowListeners.add(listener);
    return () => void this.#flowListeners.delete(listener);
  }

  async resync(): Promise<void> {
    await this.#readInterfaces();
    this.#core.reconciler.resync();
    this.#core.reconciler.reconcileNow();
    await this.#attachment?.resync();
  }

  status(): AgentStatus {
    const { kernel, host, software } = this.#options;
    const { reconciler, store, registry, receipt, isEnforcing } = this.#core;
    return {
      ...{ host, software, receipt },
      revision: store.revision,
      enforcing: isEnforcing,
      link: { isReady: this.#link?.isReady ?? false, lastError: this.#link?.lastError ?? 'no manager is configured' },
      programs: kernel.programs.loaded(),
      endpoints: registry.endpoints().length,
      workloads: registry.workloads().length,
      rows: reconciler.mirror.rowCount,
      questions: this.#questions.counts(),
      journal: { bytes: this.#journal.bytes, batches: this.#journal.batches },
      flowsLost: this.#flowsLost,
      eventsLost: Number(kernel.events.lost()),
      puntsLost: Number(this.#device.lost()),
      residentBytes: process.memoryUsage.rss(),
    };
  }

  #onApplied(): void {
    const { mirror } = this.#core.reconciler;
    this.#questions.judgeHeld((slot) => slot !== 0 && mirror.endpoints.get(slot)?.state === 'held');
  }

  /** What the programs need to know beside the tables. Written when the revision changes, which is part of it. */
  #setConfig(): void {
    const { kernel, puntRate, puntBurst } = this.#options;
    const { revision } = this.#core.store;
    if (revision === this.#revisionSet) return;
    kernel.maps.setConfig({
      revision,
      puntIfindex: this.#device.ifindex,
      overlayIfindex: 0,
      puntRate: puntRate ?? puntRateDefault,
      puntBurst: puntBurst ?? puntBurstDefault,
      gatewayIpv4: null,
      gatewayIpv6: null,
    });
    this.#revisionSet = revision;
  }

  /** What fails is tried again with the next heartbeat. */
  #tellRevision(): void {
    try {
      this.#setConfig();
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      this.#options.log.warn({ error: error.message }, 'the programs could not be told the revision');
    }
  }

  #observe(stack: AsyncDisposableStack): void {
    const { kernel, log, bootId } = this.#options;
    const { parties, rules } = this.#core;
    stack.use(
      new Observer({
        ...{ kernel, log },
        clock: this.#clock,
        context: {
          ...{ parties, rules },
          boot: bootId.slice(0, 8),
          attributionOf: (key) => this.#questions.attributionOf(key),
          epochMs: () => this.#epochMs,
        },
        onFlow: (flow) => {
          this.#flows.add(flow);
          for (const listener of this.#flowListeners) listener(flow);
        },
        onLost: (flows) => {
          this.#flowsLost += flows;
          this.#journal.countLost(flows);
        },
        onOpened: ({ egressRule, ingressRule }, { source, destination }) => {
          // Connections that were asked about are counted when they are.
          if (this.#terms.asks(egressRule) || this.#terms.asks(ingressRule)) return;
          this.#questions.countConnection(
            source.workload ?? source.address,
            destination.workload ?? destination.address,
          );
        },
      }),
    );
  }

  #tick(stack: AsyncDisposableStack): void {
    const { kernel, log } = this.#options;
    const guarded = (what: string, run: () => void): (() => void) => {
      return () => {
        try {
          run();
        } catch (error) {
          if (!(error instanceof KernelError)) throw error;
          log.error({ error: error.message }, `could not ${what}`);
        }
      };
    };
    const beat = guarded('tell the programs that the agent lives', () => {
      kernel.maps.heartbeat();
      this.#setConfig();
      this.#epochMs = this.#clock.nowMs() - Number(kernel.nowNs()) / 1e6;
    });
    beat();
    const cancels = [
      every(this.#clock, heartbeatMs, beat),
      every(this.#clock, interfacesMs, () => void this.#readInterfaces()),
      every(
        this.#clock,
        statusMs,
        guarded('report the status', () => this.#sendStatus()),
      ),
      every(
        this.#clock,
        pruneMs,
        guarded('forget unused rule numbers', () => this.#core.pruneRules()),
      ),
    ];
    stack.defer(() => cancels.forEach((cancel) => cancel()));
  }

  /** Addresses of the machine itself. A failure leaves those that were known. */
  async #readInterfaces(): Promise<void> {
    try {
      const interfaces = await this.#options.kernel.routes.interfaces();
      const addresses = interfaces.flatMap((each) => each.addresses.map((address) => address.split('/')[0]!));
      this.#core.setInterfaceAddresses(new Set(addresses));
      const workloads = new Set(this.registry.endpoints().map(({ ifindex }) => ifindex));
      guardUplinks(this.#options.kernel, uplinksAmong(interfaces, workloads, this.#options.uplinks ?? null));
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      this.#options.log.warn({ error: error.message }, 'could not read or guard the interfaces');
    }
  }

  #connect(factory: ManagerLinkFactory): ManagerLink {
    const { log } = this.#options;
    return factory({
      log,
      clock: this.#clock,
      journal: this.#journal,
      revision: () => this.#core.store.revision,
      handlers: {
        onReady: () => {
          this.#core.store.forgetParts();
          this.#reports.linkReady();
          const { receipt } = this.#core;
          if (receipt !== null && receipt.revision > 0) this.#link?.send({ type: 'receipt', body: receipt });
          this.#questions.linkReady();
          this.#sendStatus();
        },
        onDown: () => log.warn('without a manager: what is in force stays, questions end as their rules say'),
        onMessage: (message) => this.#onMessage(message),
      },
    });
  }

  #onMessage(message: Extract<ManagerMessage, { type: 'desired' | 'decisions' | 'enforcement' | 'adopt' }>): void {
    switch (message.type) {
      case 'desired':
        if (this.#core.takeDesired(message.body) === 'mismatch') this.#link?.reconnectFull();
        return;
      case 'decisions':
        return this.#questions.decide(message.body.decisions);
      case 'enforcement':
        return this.#core.setEnforcing(message.body.on);
      case 'adopt':
        return void this.#adopt(message.body.workload, message.body.mode);
    }
  }

  async #adopt(workload: string, mode: 'observe' | 'enforce' | 'release'): Promise<void> {
    const { log } = this.#options;
    try {
      const isKnown = (await this.#attachment?.adopt(workload, mode)) ?? false;
      if (!isKnown) log.warn({ workload, mode }, 'asked to adopt a workload that is not here');
    } catch (error) {
      log.error({ workload, mode, error }, 'the workload could not be adopted');
    }
  }

  #sendStatus(): void {
    const { kernel } = this.#options;
    this.#reports.retry();
    const { eventsLost, puntsLost, residentBytes, enforcing, questions } = this.status();
    const counters = Object.fromEntries([...kernel.maps.counters()].map(([name, count]) => [name, Number(count)]));
    for (const [name, count] of Object.entries(questions)) counters[`questions_${name}`] = count;
    this.#link?.send({ type: 'status', body: { counters, eventsLost, puntsLost, residentBytes, enforcing } });
  }

  #attachContext(): AttachContext {
    const { host, kernel, log } = this.#options;
    return {
      ...{ host, kernel, log },
      state: this.#state,
      registry: this.registry,
      directory: this.directory,
      nowMs: () => this.#clock.nowMs(),
      reportDivergence: (record) => this.#divergences.add(record),
      onFlow: (listener) => this.onFlow(listener),
      allows: (question) => this.#core.verdict(question).action === 'allow',
    };
  }

  #listen(path: string): Promise<ControlServer> {
    const { kernel, log } = this.#options;
    const { registry, reconciler } = this.#core;
    const commands = new Map<string, (argument: unknown) => Promise<unknown>>([['resync', () => this.resync()]]);
    return ControlServer.listen({
      ...{ path, log },
      views: {
        status: () => this.status(),
        workloads: () => registry.workloads(),
        top: () => endpointViews(kernel, registry, reconciler.mirror),
      },
      metrics: createMetrics(kernel, () => this.status()),
      commands: () => new Map([...commands, ...(this.#attachment?.commands ?? [])]),
    });
  }
}
