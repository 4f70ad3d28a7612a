/** The agent: kernel, core, questions, flows, link, attachments and control socket, started and stopped in order. */
import { KernelError, type PuntDevice } from '@bulkhead/kernel';
import type { FlowRecord } from '@bulkhead/protocol';
import { systemClock, type Clock } from './clock.ts';
import { findings } from './control/doctor.ts';
import { createMetrics } from './control/metrics.ts';
import { ControlServer } from './control/server.ts';
import type { AgentStatus } from './control/status.ts';
import { endpointViews } from './control/top.ts';
import { Core } from './core.ts';
import { HostWatch } from './host/host-watch.ts';
import { Journal } from './journal/journal.ts';
import { openWriters, type Writers } from './journal/writers.ts';
import { Conversation } from './link/conversation.ts';
import type { ManagerLink, ManagerLinkFactory } from './link/manager-link.ts';
import type { AttachContext, Attachment, Directory, EndpointRegistry } from './model.ts';
import { Observer } from './observe/observer.ts';
import { Questions } from './questions/questions.ts';
import { Terms } from './questions/terms.ts';
import { guardUplinks, uplinksAmong } from './uplinks.ts';
import { puntBurstDefault, puntRateDefault, type Agent, type AgentOptions } from './agent-options.ts';
import { guarded, startTicks, type Tick } from './ticks.ts';
import { openAgentState, type AgentState } from './state.ts';

const heartbeatMs = 1_000;
const interfacesMs = 10_000;
const learntMs = 5_000;
const guardMs = 60_000;
const statusMs = 10_000;
const pruneMs = 600_000;
const connectionsPerEndpointDefault = 16_384;

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
  readonly #writers: Writers;
  readonly #conversation: Conversation;
  readonly #questions: Questions;
  readonly #terms: Terms;
  readonly #state: AgentState;
  readonly #device: PuntDevice;
  readonly #hostWatch: HostWatch;
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
    this.#writers = stack.use(
      openWriters(this.#journal, clock, (items, error) => {
        this.#flowsLost += items;
        log.error({ items, error }, 'records could not be journalled and are lost');
      }),
    );
    this.#core = new Core({
      ...{ host, kernel, clock, log, state, bootId },
      hostLabels: options.hostLabels ?? {},
      connectionsPerEndpoint: options.connectionsPerEndpoint ?? connectionsPerEndpointDefault,
      onReceipt: (receipt) => this.#conversation.tellReceipt(receipt),
      onApplied: () => this.#onApplied(),
      // What fails is tried again with the next heartbeat.
      setRevision: () => void guarded(log, 'tell the programs the revision', () => this.#setConfig()),
    });
    stack.defer(() => this.#core.reconciler.close());
    const guard = options.guard ?? (() => ({ ssh: [], managers: [], more: [] }));
    this.#hostWatch = new HostWatch({ ...{ kernel, log, guard }, core: this.#core });
    const { store, rules, parties } = this.#core;
    this.#terms = new Terms(rules, () => store.policySet);
    this.#questions = stack.use(
      new Questions({
        ...{ device, clock, parties },
        terms: this.#terms,
        revision: () => store.revision,
        idPrefix: `${host.slice(0, 24)}:${options.startId.slice(0, 16)}`,
        send: (questions) => this.#link?.ask(questions) ?? false,
        recordOutcome: (outcome) => this.#writers.outcomes.add(outcome),
      }),
    );
    this.#conversation = new Conversation({
      ...{ kernel, log, core: this.#core, questions: this.#questions },
      link: () => this.#link,
      attachment: () => this.#attachment,
      status: () => this.status(),
    });
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
    const { reconciler, store, registry, receipt, isEnforcing, learning } = this.#core;
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
      learnt: learning.counts,
      journal: { bytes: this.#journal.bytes, batches: this.#journal.batches },
      flowsLost: this.#flowsLost,
      eventsLost: Number(kernel.events.lost()),
      puntsLost: Number(this.#device.lost()),
      residentBytes: process.memoryUsage.rss(),
    };
  }

  #onApplied(): void {
    this.#hostWatch.applied();
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
          revisionOf: (stamped, reasons) => this.#core.revisions.of(stamped, reasons),
          attributionOf: (key) => this.#questions.attributionOf(key),
          epochMs: () => this.#epochMs,
          namesOf: (slot, address) => this.#core.learning.namesOf(slot, address),
          staged: this.#core.staged,
          asks: (rule) => this.#terms.asks(rule),
        },
        onFlow: (flow) => {
          this.#writers.flows.add(flow);
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
    const beat: Tick = {
      periodMs: heartbeatMs,
      what: 'tell the programs that the agent lives',
      run: () => {
        kernel.maps.heartbeat();
        this.#setConfig();
        this.#epochMs = this.#clock.nowMs() - Number(kernel.nowNs()) / 1e6;
      },
    };
    guarded(log, beat.what, beat.run);
    const ticks: readonly Tick[] = [
      beat,
      { periodMs: learntMs, what: 'end what was learnt', run: () => this.#core.learning.expire() },
      { periodMs: interfacesMs, what: 'read the interfaces', run: () => void this.#readInterfaces() },
      { periodMs: guardMs, what: 'look for SSH servers', run: () => this.#hostWatch.readGuard() },
      { periodMs: statusMs, what: 'report the status', run: () => this.#conversation.tellStatus() },
      { periodMs: pruneMs, what: 'forget unused rule numbers', run: () => this.#core.pruneRules() },
    ];
    stack.use(startTicks(this.#clock, log, ticks));
  }

  /** Addresses of the machine itself. A failure leaves those that were known. */
  async #readInterfaces(): Promise<void> {
    try {
      // Idempotent: somebody may have detached it.
      this.#options.kernel.links.attach(this.#device.ifindex, 'punt');
      const interfaces = await this.#options.kernel.routes.interfaces();
      const addresses = interfaces.flatMap((each) => each.addresses.map((address) => address.split('/')[0]!));
      this.#core.setInterfaceAddresses(new Set(addresses));
      const workloads = new Set(this.registry.endpoints().map(({ ifindex }) => ifindex));
      const uplinks = uplinksAmong(interfaces, workloads, this.#options.uplinks ?? null);
      guardUplinks(this.#options.kernel, uplinks);
      await this.#hostWatch.interfacesRead({ interfaces, uplinks, workloads }, new Set(addresses));
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      this.#options.log.warn({ error: error.message }, 'could not read or guard the interfaces');
    }
  }

  #connect(factory: ManagerLinkFactory): ManagerLink {
    return factory({
      log: this.#options.log,
      clock: this.#clock,
      journal: this.#journal,
      revision: () => this.#core.store.revision,
      handlers: this.#conversation,
    });
  }

  #attachContext(): AttachContext {
    const { host, kernel, log } = this.#options;
    return {
      ...{ host, kernel, log },
      state: this.#state,
      registry: this.registry,
      directory: this.directory,
      nowMs: () => this.#clock.nowMs(),
      reportDivergence: (record) => this.#writers.divergences.add(record),
      onFlow: (listener) => this.onFlow(listener),
      allows: (question) => this.#core.verdict(question).action === 'allow',
      learn: (workload, asked, message) => this.#core.learning.learn(workload, asked, message),
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
        doctor: () => findings(kernel, registry, this.status()),
        workloads: () => registry.workloads(),
        top: () => endpointViews(kernel, registry, reconciler.mirror),
      },
      metrics: createMetrics(kernel, () => this.status()),
      commands: () => new Map([...commands, ...(this.#attachment?.commands ?? [])]),
    });
  }
}
