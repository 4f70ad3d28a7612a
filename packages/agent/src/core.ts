/** Desired state, registry and the reconcile loop, put together: what decides what is in the kernel. */
import type { Kernel, KernelVerdict } from '@bulkhead/kernel';
import { type Labels, type Problem, protocolNumber, reservedIdentity } from '@bulkhead/policy';
import type { DesiredMessage, ReceiptMessage } from '@bulkhead/protocol';
import type { Logger } from 'pino';
import { Reconciler, type Outcome } from './apply/reconcile.ts';
import type { Clock } from './clock.ts';
import { KernelStateBuilder } from './desired/kernel-state.ts';
import { expectedLabels, KnownLabels, labelsKey } from './desired/known-labels.ts';
import { LocalPolicy } from './desired/policy.ts';
import { RuleNumbers } from './desired/rule-numbers.ts';
import { DesiredStore } from './desired/store.ts';
import { Revisions } from './observe/revisions.ts';
import type { GuardPorts } from './host/guard.ts';
import { HostEnd } from './host/host-end.ts';
import { StagedJudge } from './observe/staged-judge.ts';
import { Parties } from './parties.ts';
import { lookup } from './plan/contents.ts';
import type { RulesetContent } from './plan/model.ts';
import { peerOf } from './plan/moves.ts';
import { PrefixTable } from './plan/prefixes.ts';
import { rulesOf, TableStore, verdictOf, type KernelTable } from './plan/tables.ts';
import { Registry } from './registry/registry.ts';
import { LearntBook } from './resolver/learnt-book.ts';
import { Learning } from './resolver/learning.ts';
import type { AgentState } from './state.ts';

export interface CoreOptions {
  readonly host: string;
  readonly kernel: Kernel;
  readonly clock: Clock;
  readonly log: Logger;
  readonly state: AgentState;
  readonly bootId: string;
  /** What the agent was told to say about its host. */
  readonly hostLabels: Labels;
  /** Most entries of the connection table that one endpoint may own. */
  readonly connectionsPerEndpoint: number;
  /** A revision is in the kernel, or what failed of it changed. */
  readonly onReceipt: (receipt: ReceiptMessage) => void;
  /** After every pass. */
  readonly onApplied: () => void;
  /** The store's revision is in force. */
  readonly setRevision: () => void;
}

export class Core {
  readonly #options: CoreOptions;
  readonly #tables = new TableStore();
  readonly #builder: KernelStateBuilder;
  readonly #switch;
  readonly #knownLabels: KnownLabels;
  readonly #denial: KernelTable;
  readonly policy: LocalPolicy;
  readonly store: DesiredStore;
  readonly rules: RuleNumbers;
  /** The host as a party of policy. */
  readonly hostEnd: HostEnd;
  readonly staged: StagedJudge;
  readonly registry: Registry;
  readonly parties: Parties;
  readonly reconciler: Reconciler;
  readonly learning: Learning;
  readonly revisions = new Revisions();
  /** What the programs stamp verdicts with. */
  #stamped: number;
  #interfaceAddresses: ReadonlySet<string> = new Set();
  #isEnforcing: boolean;
  #arrivedNs: bigint;
  /** Of the mirror's networks, for `verdict`: the resolver asks for each of a workload's names. */
  #prefixes: PrefixTable | null = null;
  #receipt: ReceiptMessage | null = null;
  #refusedRevision: readonly string[] = [];

  constructor(options: CoreOptions) {
    const { host, kernel, clock, log, state, bootId } = options;
    this.#options = options;
    this.#arrivedNs = kernel.nowNs();
    this.#switch = state.records('switch', (value) => value === true);
    this.#isEnforcing = this.#switch.get('off') !== true;
    this.#knownLabels = new KnownLabels(state);
    this.store = new DesiredStore(state);
    this.#stamped = this.store.revision;
    this.rules = new RuleNumbers(state);
    const unknown = this.rules.numberOf({ reason: { kind: 'builtin', name: 'unknown' } });
    this.#denial = this.#tables.intern({ ranges: [], otherwise: { action: 'deny', rule: unknown } });
    const everything = this.#tables.intern({ ranges: [], otherwise: { action: 'allow', rule: unknown } });
    const closed = everywhere(this.#denial);
    this.hostEnd = new HostEnd(host, options.hostLabels);
    this.staged = new StagedJudge(this.store, this.hostEnd.labels);
    this.policy = new LocalPolicy(this.store, this.rules, this.#tables, this.hostEnd.labels);
    const apply = (): void => void this.reconciler.reconcileNow();
    const markDirty = (): void => this.reconciler.markDirty();
    const isGuarded = (ifindex: number): boolean => this.reconciler.mirror.attached.has(ifindex);
    this.registry = new Registry({ kernel, state, clock, bootId, isGuarded, apply, markDirty });
    this.parties = new Parties(this.registry, this.store);
    const isKnown = (endpoint: string): boolean => this.registry.endpoint(endpoint) !== undefined;
    const learnt = new LearntBook(state, isKnown, clock.nowMs());
    this.#builder = new KernelStateBuilder({
      host,
      registry: this.registry,
      store: this.store,
      policy: this.policy,
      rules: this.rules,
      knownLabels: this.#knownLabels,
      closed,
      hostAddresses: () => this.#interfaceAddresses,
      isEnforcing: () => this.isEnforcing,
      hostEnd: this.hostEnd,
      limits: kernel.maps.limits,
      nowMs: () => clock.nowMs(),
      connectionsMax: options.connectionsPerEndpoint,
      learnt,
    });
    this.reconciler = new Reconciler({
      kernel,
      clock,
      log,
      context: { store: this.#tables, denial: this.#denial },
      everything: everywhere(everything),
      desired: () => this.#builder.build(),
      onApplied: (outcome) => this.#onApplied(outcome),
      unjudged: unjudgedRecord(state),
      tablesInUse: () => [...this.policy.contents(), closed],
    });
    const { registry, policy, reconciler } = this;
    this.learning = new Learning({
      ...{ kernel, clock, registry, policy, reconciler },
      ...{ book: learnt, staged: this.staged },
    });
  }

  get isEnforcing(): boolean {
    return this.#isEnforcing;
  }

  get receipt(): ReceiptMessage | null {
    return this.#receipt;
  }

  setEnforcing(on: boolean): void {
    if (on === this.isEnforcing) return;
    this.#options.log.warn({ on }, on ? 'enforcement is on again' : 'enforcement is off: everything passes');
    this.#switch.set('off', !on);
    this.#isEnforcing = on;
    this.reconciler.reconcileNow();
  }

  /** Addresses of the machine's interfaces, as they are now. */
  setInterfaceAddresses(addresses: ReadonlySet<string>): void {
    const before = this.#interfaceAddresses;
    if (before.size === addresses.size && [...addresses].every((address) => before.has(address))) return;
    this.#interfaceAddresses = addresses;
    this.reconciler.markDirty();
  }

  /** What the host's guard keeps open. True where it was something else before. */
  setGuard(ports: GuardPorts): boolean {
    if (!this.hostEnd.setGuard(ports)) return false;
    this.policy.setHost(this.hostEnd.labels);
    this.staged.setHost(this.hostEnd.labels);
    this.reconciler.markDirty();
    return true;
  }

  /** Takes a message of desired state. `mismatch`: the whole state is needed. */
  takeDesired(message: DesiredMessage): 'taken' | 'mismatch' {
    const arrivedNs = this.#options.kernel.nowNs();
    const { policySet } = this.store;
    const applied = this.store.apply(message);
    switch (applied.kind) {
      case 'incomplete':
        return 'taken';
      case 'mismatch':
        this.#options.log.info({ why: applied.why }, 'the desired state does not continue what is here');
        return 'mismatch';
      case 'refused':
        this.#refuseRevision(message.revision, applied.problems);
        return 'taken';
      case 'applied':
        this.#arrivedNs = arrivedNs;
        this.#refusedRevision = [];
        this.revisions.changed(this.#stamped, this.store.revision, policySet, this.store.policySet);
        this.policy.changed(applied.change);
        this.#learnLabels(applied.change.workloadsSet);
        this.reconciler.reconcileNow();
        // Nothing in force waits for it.
        this.staged.changed(applied.change);
        return 'taken';
    }
  }

  /** What policy in force says of one connection out of a workload of this host. Unknown is denied. */
  verdict(question: {
    readonly workload: string;
    readonly address: string;
    readonly protocol: 'tcp' | 'udp';
    readonly port: number;
  }): KernelVerdict {
    const workload = this.registry.workload(question.workload);
    const endpoints = this.registry.endpoints().filter((endpoint) => endpoint.workload === question.workload);
    const identity = workload === undefined ? undefined : this.#builder.identityOf(workload, endpoints);
    const content = identity === undefined ? undefined : this.policy.content(identity);
    if (content === undefined) return this.#denial.content.otherwise;
    const { mirror } = this.reconciler;
    const identityOf = (slot: number): number => mirror.endpoints.get(slot)?.identity ?? reservedIdentity.unknown;
    const peer = peerOf(
      question.address,
      mirror.addresses.get(question.address),
      identityOf,
      (this.#prefixes ??= new PrefixTable(mirror.cidrs)),
    );
    const table = lookup({ store: this.#tables, denial: this.#denial }, content, 'egress', peer);
    return verdictOf(table, protocolNumber[question.protocol], question.port);
  }

  /** Forgets rule numbers that nothing mentions. */
  pruneRules(): void {
    this.rules.prune(() => {
      const used = new Set<number>();
      const tables = new Set(this.reconciler.mirror.usedTables());
      for (const content of this.policy.contents()) {
        for (const table of [...content.egress.values(), ...content.ingress.values()]) tables.add(table);
      }
      for (const table of tables) for (const rule of rulesOf(table)) used.add(rule);
      this.#options.kernel.maps.forEachConnection(({ egressRule, ingressRule }) =>
        used.add(egressRule).add(ingressRule),
      );
      for (const entry of this.#options.kernel.maps.hostPorts()) if (entry.kind === 'guard') used.add(entry.rule);
      return used;
    });
  }

  #onApplied(outcome: Outcome): void {
    const { kernel, clock, onReceipt, onApplied, setRevision } = this.#options;
    this.#prefixes = null;
    const before = this.#receipt;
    // A pass that did not settle enforces nothing new: the receipt stays with the revision that was.
    const revision = outcome.isSettled ? this.store.revision : (before?.revision ?? 0);
    const { auditHead } = this.store;
    if (outcome.isSettled) {
      this.#stamped = this.store.revision;
      setRevision();
    }
    const failed = [...this.#refusedRevision, ...new Set(outcome.failed)]
      .slice(0, 100)
      .map((text) => text.slice(0, 1024));
    const isNews = before?.revision !== revision || before.failed.join('\n') !== failed.join('\n');
    const enforcedMs =
      before?.revision === revision ? before.enforcedMs : Number(kernel.nowNs() - this.#arrivedNs) / 1e6;
    const { endpoints, rows } = outcome;
    this.#receipt = { revision, enforcedMs, atMs: clock.nowMs(), endpoints, rows, failed, auditHead };
    if (isNews && revision > 0) onReceipt(this.#receipt);
    onApplied();
  }

  #refuseRevision(revision: number, problems: readonly Problem[]): void {
    const texts = problems
      .slice(0, 20)
      .map(({ document, path, reason }) => `revision ${revision}: ${document ?? ''} ${path}: ${reason}`);
    this.#options.log.error(
      { revision, problems: texts },
      'documents of the desired state cannot be read: the one before stays',
    );
    this.#refusedRevision = texts;
    this.reconciler.reconcileNow();
  }

  /** Label sets of this host's own workloads, for starts while the manager is away. */
  #learnLabels(workloads: readonly string[]): void {
    if (workloads.length === 0) return;
    const { host, clock, state } = this.#options;
    const byWorkload = Map.groupBy(this.registry.endpoints(), ({ workload }) => workload);
    state.transaction(() => {
      for (const id of workloads) {
        const told = this.store.workloads.get(id);
        const workload = told?.host === host ? this.registry.workload(id) : undefined;
        if (told === undefined || workload === undefined) continue;
        // Only where the manager took every claim: else the same claims might mean something else another time.
        const labels = expectedLabels(host, workload, byWorkload.get(id) ?? []);
        if (labelsKey(labels) === labelsKey(told.labels)) this.#knownLabels.learn(labels, told.identity, clock.nowMs());
      }
    }, 'process');
  }
}

/** Not for the disk: connections do not survive a reboot either. */
function unjudgedRecord(state: AgentState): { get(): boolean; set(unjudged: boolean): void } {
  const records = state.records('unjudged', (value) => value === true);
  let is = records.get('connections') === true;
  return {
    get: () => is,
    set(unjudged) {
      if (unjudged === is) return;
      state.transaction(() => records.set('connections', unjudged), 'process');
      is = unjudged;
    },
  };
}

function everywhere(table: KernelTable): RulesetContent {
  const rows = new Map<number, KernelTable>([[reservedIdentity.any, table]]);
  return { egress: rows, ingress: rows };
}
