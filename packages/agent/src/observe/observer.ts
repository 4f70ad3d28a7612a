/**
 * Flow records from the kernel's ring of events and from walks of the connection table. Refusals of the same kind are gathered for a
 * moment; whatever does not fit a bound is counted as lost, and the count goes with the flows.
 */
import { type Kernel, type KernelEvent, KernelError } from '@bulkhead/kernel';
import type { FlowRecord } from '@bulkhead/protocol';
import type { Logger } from 'pino';
import { every, type Clock } from '../clock.ts';
import { closedFlow, connectionFlow, openedFlow, refusedFlow, type FlowContext } from './flow-records.ts';

export const observeLimits = {
  drainPeriodMs: 20,
  eventsPerDrainMax: 20_000,
  /** Protocol timeouts are looked after this often. */
  sweepPeriodMs: 1_000,
  /** Connections that live on are told again this often. */
  walkPeriodMs: 15_000,
  /** Open connections told in one walk; the rest is told in a later one or when it closes. */
  walkedMax: 20_000,
  /** Refusals are gathered by ends, port and reason for so long. */
  gatherMs: 1_000,
  gatheredMax: 10_000,
} as const;

export interface ObserverOptions {
  readonly kernel: Kernel;
  readonly clock: Clock;
  readonly log: Logger;
  readonly context: FlowContext;
  readonly onFlow: (flow: FlowRecord) => void;
  /** Flows that are not going to be told. */
  readonly onLost: (flows: number) => void;
  /** A connection began that no question preceded. */
  readonly onOpened: (event: KernelEvent, flow: FlowRecord) => void;
}

export class Observer implements Disposable {
  readonly #options: ObserverOptions;
  readonly #gathered = new Map<string, FlowRecord>();
  readonly #cancels: (() => void)[];
  #lastWalkNs: bigint;
  #lostSeen: bigint | null = null;

  constructor(options: ObserverOptions) {
    const { clock, kernel } = options;
    this.#options = options;
    this.#lastWalkNs = kernel.nowNs();
    this.#cancels = [
      every(clock, observeLimits.drainPeriodMs, () => this.drain()),
      every(clock, observeLimits.sweepPeriodMs, () => this.#guarded('sweep', () => this.#sweep())),
      every(clock, observeLimits.walkPeriodMs, () => this.#guarded('walk', () => this.#walk())),
      every(clock, observeLimits.gatherMs, () => this.#tellGathered()),
    ];
  }

  /** Takes what the ring holds now. */
  drain(): void {
    this.#guarded('drain', () => {
      const { kernel, onLost } = this.#options;
      kernel.events.drain((event) => this.#take(event), observeLimits.eventsPerDrainMax);
      const lost = kernel.events.lost();
      if (this.#lostSeen !== null && lost > this.#lostSeen) onLost(Number(lost - this.#lostSeen));
      this.#lostSeen = lost;
    });
  }

  [Symbol.dispose](): void {
    for (const cancel of this.#cancels) cancel();
    this.drain();
    this.#tellGathered();
  }

  #take(event: KernelEvent): void {
    const { context, onFlow, onOpened } = this.#options;
    switch (event.kind) {
      case 'new': {
        const flow = openedFlow(context, event);
        onOpened(event, flow);
        onFlow(flow);
        break;
      }
      case 'close':
        onFlow(closedFlow(context, event));
        break;
      case 'deny':
      case 'drop':
        this.#gather(refusedFlow(context, event));
        break;
      case 'ask':
        // The question itself is what is told.
        break;
    }
  }

  #gather(flow: FlowRecord): void {
    const { source, destination } = flow;
    const key = [
      source.address,
      destination.address,
      destination.port,
      flow.protocol,
      flow.verdict,
      flow.egressReason,
      flow.ingressReason,
      flow.dropReason,
      flow.question,
    ].join(' ');
    const known = this.#gathered.get(key);
    if (known !== undefined) {
      known.packets[0]++;
      known.bytes[0] += flow.bytes[0];
      known.lastMs = Math.max(known.lastMs, flow.lastMs);
    } else if (this.#gathered.size < observeLimits.gatheredMax) this.#gathered.set(key, flow);
    else this.#options.onLost(1);
  }

  #tellGathered(): void {
    for (const flow of this.#gathered.values()) this.#options.onFlow(flow);
    this.#gathered.clear();
  }

  #sweep(): void {
    const { kernel, context, onFlow } = this.#options;
    kernel.maps.sweepConnections((connection) => {
      if (!connection.reported) onFlow(connectionFlow(context, connection, 'closed'));
    });
  }

  #walk(): void {
    const { kernel, context, onFlow } = this.#options;
    const since = this.#lastWalkNs;
    this.#lastWalkNs = kernel.nowNs();
    let told = 0;
    kernel.maps.forEachConnection((connection) => {
      const isKnown = connection.firstSeenNs < since && connection.lastSeenNs >= since && !connection.reported;
      if (!isKnown || told >= observeLimits.walkedMax) return;
      told++;
      onFlow(connectionFlow(context, connection, 'open'));
    });
  }

  #guarded(what: string, run: () => void): void {
    try {
      run();
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      this.#options.log.warn({ error: error.message }, `could not ${what}`);
    }
  }
}
