/**
 * The loop: events only mark dirty; one pass plans from desired and mirrored state, applies phase by phase, reads back, and says so.
 * What fails stays denied and is tried again with back-off; the rest proceeds.
 */
import { type Kernel, KernelError } from '@bulkhead/kernel';
import type { Logger } from 'pino';
import type { Clock } from '../clock.ts';
import type { ContentContext } from '../plan/contents.ts';
import {
  learntKey,
  noRefusals,
  rulesetFirst,
  type DesiredKernel,
  type Operation,
  type Plan,
  type Refusals,
  type RulesetContent,
} from '../plan/model.ts';
import { plan } from '../plan/plan.ts';
import { execute, failureText, judgeEndpointsAgain, readBack, removeConnectionsOf, type Target } from './execute.ts';
import { learnInPlace, type LearntInPlace } from './learn.ts';
import { KernelMirror } from './mirror.ts';

/** Plans in one pass: each round but the last found something that does not fit, and plans without it. */
const roundsMax = 8;
const retryMinMs = 500;
const retryMaxMs = 60_000;
/** How often the whole kernel state is read back. */
const readPeriodMs = 60_000;
/** Interned tables beyond those in use, before unused ones are forgotten. */
const tablesUnusedMax = 20_000;

export interface Outcome {
  /** The kernel was brought to the desired state and read back, but for what `failed` lists, which is denied. Else: what was before may still be. */
  readonly isSettled: boolean;
  readonly failed: readonly string[];
  readonly operations: number;
  readonly rows: number;
  readonly endpoints: number;
}

export interface ReconcilerOptions {
  readonly kernel: Kernel;
  readonly clock: Clock;
  readonly log: Logger;
  readonly context: ContentContext;
  readonly everything: RulesetContent;
  /** Computed anew at each pass. Makes durable first what the operations will refer to (rule numbers). */
  desired(): DesiredKernel;
  /** After each pass. */
  onApplied(outcome: Outcome): void;
  /** True while addresses have moved, or rows in force changed, whose live connections were not judged again yet. Survives the end of the process. */
  readonly unjudged: { get(): boolean; set(unjudged: boolean): void };
  /** Tables that must not be forgotten though no row has them yet. */
  tablesInUse(): Iterable<RulesetContent>;
}

export class Reconciler {
  readonly #options: ReconcilerOptions;
  readonly #target: Target;
  #mirrorIsRead = false;
  #nextRuleset = rulesetFirst;
  #refused: Mutable<Refusals> = emptyRefusals();
  /** What was refused, for people, for as long as it is. */
  readonly #refusedTexts = new Set<string>();
  #retryMs = retryMinMs;
  #cancelRetry: (() => void) | undefined;
  #cancelRead: (() => void) | undefined;
  #isScheduled = false;
  #isClosed = false;

  constructor(options: ReconcilerOptions) {
    const { kernel, context } = options;
    this.#options = options;
    this.#target = { kernel, mirror: new KernelMirror(kernel, context.store), removedSlots: new Set() };
    this.#scheduleRead();
  }

  get mirror(): KernelMirror {
    return this.#target.mirror;
  }

  /** Something changed: one pass follows in this turn of the event loop's end, however often this is called before. */
  markDirty(): void {
    if (this.#isScheduled || this.#isClosed) return;
    this.#isScheduled = true;
    setImmediate(() => {
      if (this.#isScheduled && !this.#isClosed) this.reconcileNow();
    });
  }

  /** The next pass starts from what the kernel really holds, and tries again what failed. */
  resync(): void {
    this.#mirrorIsRead = false;
    this.#forgetRefusals();
    this.markDirty();
  }

  /** One pass, at once. Never throws for the environment's failures: they are in the outcome. */
  reconcileNow(): Outcome {
    this.#isScheduled = false;
    let unsettled: readonly string[] = ['more was to be done than one pass may do'];
    let isSettled = false;
    let operations = 0;
    let garbage: readonly Operation[] = [];
    try {
      if (!this.#mirrorIsRead) this.#read();
      this.#judgeWhatWasLeft();
      for (let round = 0; round < roundsMax; round++) {
        const made = this.#plan();
        const failures = this.#applyPhases(made, (count) => (operations += count));
        if (failures.length > 0) {
          unsettled = failures;
          this.#judgeWhatWasLeft();
          continue;
        }
        unsettled = this.#finish(made);
        isSettled = unsettled.length === 0;
        garbage = made.garbage;
        break;
      }
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      unsettled = [error.message];
      this.#mirrorIsRead = false;
    }
    const failed = [...new Set([...this.#refusedTexts, ...unsettled])];
    this.#scheduleRetry(failed.length > 0);
    const { mirror } = this.#target;
    const outcome = { isSettled, failed, operations, rows: mirror.rowCount, endpoints: mirror.endpoints.size };
    if (failed.length > 0)
      this.#options.log.warn({ failed: failed.slice(0, 10), count: failed.length }, 'not everything could be applied');
    this.#options.onApplied(outcome);
    // Nobody waits for what is not in force any more: after the receipt.
    this.#collect(garbage);
    return outcome;
  }

  /** Writes what was learnt where nothing else has to change for it. False: a pass has to do it. */
  learn(learnt: LearntInPlace): boolean {
    if (!this.#mirrorIsRead || this.#isScheduled || isRefusing(this.#refused)) return false;
    try {
      return learnInPlace(this.#target, this.#options.context, learnt);
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      this.#mirrorIsRead = false;
      return false;
    }
  }

  close(): void {
    this.#isClosed = true;
    this.#cancelRetry?.();
    this.#cancelRead?.();
  }

  #plan(): Plan {
    const { context, everything } = this.#options;
    const desired = this.#options.desired();
    this.#forgetVoidRefusals(desired);
    const made = plan({
      desired,
      actual: this.#target.mirror,
      refusals: this.#refused,
      nextRuleset: this.#nextRuleset,
      context,
      everything,
    });
    this.#nextRuleset = made.nextRuleset;
    return made;
  }

  /** Stops after the first phase with a failure; what failed is refused in the next round. */
  #applyPhases(made: Plan, count: (operations: number) => void): readonly string[] {
    const isMoving = made.phases.some((phase) =>
      phase.some(({ kind }) => kind === 'judge-again' || kind === 'judge-endpoints'),
    );
    if (isMoving) this.#options.unjudged.set(true);
    for (const phase of made.phases) {
      const failures: string[] = [];
      for (const operation of phase) {
        try {
          execute(this.#target, operation);
        } catch (error) {
          if (!(error instanceof KernelError)) throw error;
          const text = failureText(operation, error);
          failures.push(text);
          if (this.#refuse(operation)) this.#refusedTexts.add(text);
        }
      }
      this.#removeConnections();
      count(phase.length);
      if (failures.length > 0) return failures;
    }
    if (isMoving) this.#options.unjudged.set(false);
    return [];
  }

  /** A pass that ended between moved addresses and their connections: the next plan finds nothing moved, so all are judged. */
  #judgeWhatWasLeft(): void {
    const { unjudged } = this.#options;
    if (!unjudged.get()) return;
    judgeEndpointsAgain(this.#target, [...this.mirror.endpoints.keys()]);
    unjudged.set(false);
  }

  /** Returns what was not found as it was written. */
  #finish(made: Plan): readonly string[] {
    const { mirror } = this.#target;
    for (const [ruleset, content] of made.basis) {
      const mirrored = mirror.rulesets.get(ruleset);
      if (mirrored !== undefined) mirrored.basis = content;
    }
    const differences = readBack(this.#target, made.phases.flat());
    if (differences.length > 0) this.#mirrorIsRead = false;
    return differences;
  }

  #collect(garbage: readonly Operation[]): void {
    try {
      for (const operation of garbage) execute(this.#target, operation);
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      // Found again at the next read-back.
      this.#options.log.warn({ error: error.message }, 'not everything unused could be removed');
      this.#mirrorIsRead = false;
    }
    this.#forgetTables();
  }

  /** A refusal ends with what it was about: an endpoint that could not be had was given up, and the next may have its slot and address. */
  #forgetVoidRefusals({ endpoints, addresses, cidrs, learnt }: DesiredKernel): void {
    const refused = this.#refused;
    for (const slot of refused.slots) if (!endpoints.has(slot)) refused.slots.delete(slot);
    for (const address of refused.addresses) if (!addresses.has(address)) refused.addresses.delete(address);
    for (const cidr of refused.cidrs) if (!cidrs.has(cidr)) refused.cidrs.delete(cidr);
    for (const key of refused.learnt) if (!learnt.has(key)) refused.learnt.delete(key);
  }

  #forgetRefusals(): void {
    this.#refused = emptyRefusals();
    this.#refusedTexts.clear();
  }

  #removeConnections(): void {
    const { removedSlots, kernel } = this.#target;
    if (removedSlots.size === 0) return;
    removeConnectionsOf(kernel, removedSlots);
    removedSlots.clear();
  }

  /** False where nothing can be planned round it. */
  #refuse(operation: Operation): boolean {
    const refused = this.#refused;
    switch (operation.kind) {
      case 'set-rows': {
        const { purpose } = operation;
        if (purpose.kind === 'closed') return false;
        if (purpose.kind === 'content') refused.contents.add(purpose.content);
        else if (purpose.kind === 'amendment') refused.amendments = true;
        else if (purpose.kind === 'peers') for (const peer of purpose.peers) refused.peers.add(peer);
        else refused.transitions = true;
        return true;
      }
      case 'set-address':
        refused.addresses.add(operation.address);
        return true;
      case 'set-cidrs':
        for (const { cidr } of operation.entries) refused.cidrs.add(cidr);
        return true;
      case 'set-learnt':
        for (const entry of operation.entries) refused.learnt.add(learntKey(entry));
        return true;
      case 'set-endpoint':
        refused.slots.add(operation.entry.slot);
        return true;
      case 'attach':
        refused.slots.add(operation.slot);
        return true;
      case 'remove-endpoint':
      case 'remove-address':
      case 'remove-cidrs':
      case 'set-host-ports':
      case 'remove-learnt':
      case 'remove-rows':
      case 'judge-endpoints':
      case 'judge-again':
        // The next round tries them again, and the last one leaves them to the retry.
        return false;
    }
  }

  #scheduleRetry(hasFailed: boolean): void {
    const hasRefusals = hasFailed || isRefusing(this.#refused);
    if (!hasRefusals) {
      this.#retryMs = retryMinMs;
      return;
    }
    if (this.#cancelRetry !== undefined) return;
    this.#cancelRetry = this.#options.clock.after(this.#retryMs, () => {
      this.#cancelRetry = undefined;
      this.#retryMs = Math.min(this.#retryMs * 2, retryMaxMs);
      this.#forgetRefusals();
      this.markDirty();
    });
  }

  #scheduleRead(): void {
    this.#cancelRead = this.#options.clock.after(readPeriodMs, () => {
      this.#mirrorIsRead = false;
      this.markDirty();
      this.#scheduleRead();
    });
  }

  #read(): void {
    const { mirror } = this.#target;
    mirror.read();
    this.#mirrorIsRead = true;
    for (const ruleset of mirror.rulesets.keys()) this.#nextRuleset = Math.max(this.#nextRuleset, ruleset + 1);
  }

  #forgetTables(): void {
    const { store } = this.#options.context;
    const used = this.#target.mirror.usedTables();
    if (store.size < used.size * 2 + tablesUnusedMax) return;
    const kept = new Set(used).add(this.#options.context.denial);
    for (const content of [...this.#options.tablesInUse(), this.#options.everything]) {
      for (const table of content.egress.values()) kept.add(table);
      for (const table of content.ingress.values()) kept.add(table);
    }
    store.sweep(kept);
  }
}

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] extends ReadonlySet<infer Item> ? Set<Item> : T[Key] };

function emptyRefusals(): Mutable<Refusals> {
  return {
    ...noRefusals,
    slots: new Set(),
    contents: new Set(),
    peers: new Set(),
    addresses: new Set(),
    cidrs: new Set(),
    learnt: new Set(),
  };
}

function isRefusing(refusals: Refusals): boolean {
  const { slots, contents, peers, addresses, cidrs, learnt, transitions, amendments } = refusals;
  const items = slots.size + contents.size + peers.size + addresses.size + cidrs.size + learnt.size;
  return items > 0 || transitions || amendments;
}
