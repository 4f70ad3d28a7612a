/**
 * A simulated machine: one kernel whose state outlives its agents. `open()` gives the port to one agent; `crash()` ends that agent,
 * `reboot()` the machine. Packets are delivered whether an agent is there or not. Nothing here knows a real clock or real randomness.
 */
import { KernelError, type Kernel, type Limits } from '../port.ts';
import { openAgent, type OpenAgent } from './agent.ts';
import { enforce } from './datapath.ts';
import { Failures, type FailureOptions } from './failures.ts';
import { frameOf, parseFrame, type Packet } from './frame.ts';
import type { Arrival, Delivery, Surroundings } from './packet-judging.ts';
import type { SimulatedPuntDevice } from './punt.ts';
import { addInterface, dropInterface } from './routes.ts';
import { defaultLimits, emptyNetwork, type Network, type Pinned } from './state.ts';

export interface SimulatedOptions {
  /** Nanoseconds of the machine's monotonic clock. */
  readonly nowNs: () => bigint;
  /** Uniform in [0, 1): gives the ids of held packets. */
  readonly random: () => number;
  readonly limits?: Partial<Limits>;
  readonly failures?: FailureOptions;
}

/** A packet at a machine's edge: the interface that it enters or leaves by. */
export type SimulatedArrival =
  | { readonly hook: 'from-workload'; readonly ifindex: number }
  | { readonly hook: 'to-workload'; readonly ifindex: number; readonly marked?: boolean; readonly forwarded?: boolean }
  | { readonly hook: 'from-overlay'; readonly host: string; readonly identity: number }
  | { readonly hook: 'to-uplink'; readonly ifindex: number; readonly forwarded?: boolean }
  | { readonly hook: 'from-uplink'; readonly ifindex: number };

export type SimulatedDelivery =
  | Delivery
  /** No program is attached: `held back` by the host's forward chain, or not. */
  | { readonly kind: 'unfiltered'; readonly passes: boolean };

export interface SimulatedMachine {
  /** The port, for one agent at a time. */
  open(): Kernel;
  /** Delivers a packet as the programs would; a test of invariants asks for `passed`. */
  deliver(packet: Packet, arrival: SimulatedArrival): SimulatedDelivery;
  /** Told what became of packets that were held and came back. */
  onReleased(handler: (packet: Packet, delivery: Delivery) => void): void;
  /** The agent dies: pinned state stays, descriptors, handlers and queued frames are gone. */
  crash(): void;
  /** The machine restarts: everything is gone. */
  reboot(): void;
  /** An interface disappears, as when its container dies. */
  vanish(name: string): void;
  /** The next `load()` finds another object than the one that is pinned. */
  upgradeObjects(): void;
}

/** The machine as its agents see it from inside the package. */
class Machine implements SimulatedMachine {
  readonly limits: Limits;
  readonly failures: Failures;
  readonly options: SimulatedOptions;
  network: Network = emptyNetwork();
  pinned: Pinned | null = null;
  objectVersion = 1;
  device: SimulatedPuntDevice | null = null;
  #agent: OpenAgent | null = null;
  #released: ((packet: Packet, delivery: Delivery) => void) | null = null;

  constructor(options: SimulatedOptions) {
    this.options = options;
    this.limits = { ...defaultLimits, ...options.limits };
    this.failures = new Failures(options.failures ?? null);
    addLoopback(this.network);
  }

  open(): Kernel {
    this.crash();
    this.#agent = openAgent(this);
    return this.#agent.kernel;
  }

  crash(): void {
    this.#agent?.close();
    this.#agent = null;
    this.device?.close();
    this.device = null;
  }

  reboot(): void {
    this.crash();
    this.pinned = null;
    this.network = emptyNetwork();
    addLoopback(this.network);
  }

  vanish(name: string): void {
    dropInterface(this.network, this.pinned, name);
  }
  upgradeObjects(): void {
    this.objectVersion++;
  }
  onReleased(handler: (packet: Packet, delivery: Delivery) => void): void {
    this.#released = handler;
  }
  released(packet: Packet, delivery: Delivery): void {
    this.#released?.(packet, delivery);
  }

  deliver(packet: Packet, arrival: SimulatedArrival): SimulatedDelivery {
    if (!this.#isAttached(arrival)) {
      // Without a program nothing carries its mark, so a forward chain of ours stops it.
      return { kind: 'unfiltered', passes: this.network.rulesets.size === 0 };
    }
    return this.run(frameOf(packet), fullArrival(arrival));
  }

  #isAttached(arrival: SimulatedArrival): boolean {
    if (this.pinned === null) return false;
    const hook = arrival.hook === 'to-uplink' || arrival.hook === 'from-uplink' ? 'uplink' : 'workload';
    if (arrival.hook !== 'from-overlay') return this.pinned.links.get(arrival.ifindex)?.has(hook) === true;
    return this.pinned.links.get(this.pinned.config.overlayIfindex)?.has('overlay') === true;
  }

  run(frame: Uint8Array, arrival: Arrival): Delivery {
    const delivery = enforce(this.surroundings(), parseFrame(frame), frame.length, arrival);
    if (delivery.kind === 'punted') this.device?.take(delivery.id, frame);
    return delivery;
  }

  surroundings(): Surroundings {
    if (this.pinned === null) throw new KernelError('run programs', 'ENOENT');
    return {
      pinned: this.pinned,
      limits: this.limits,
      nowNs: this.options.nowNs(),
      randomId: () => Math.floor(this.options.random() * 2 ** 31) * 2 + 1,
    };
  }
}

function addLoopback(network: Network): void {
  addInterface(network, { name: 'lo', kind: 'loopback', mac: '00:00:00:00:00:00', mtu: 65536, peerIfindex: 0 });
}

function fullArrival(arrival: SimulatedArrival): Arrival {
  switch (arrival.hook) {
    case 'to-workload':
      return { ...arrival, marked: arrival.marked ?? false, forwarded: arrival.forwarded ?? arrival.marked ?? false };
    case 'to-uplink':
      return { ...arrival, forwarded: arrival.forwarded ?? false };
    case 'from-workload':
    case 'from-overlay':
    case 'from-uplink':
      return arrival;
  }
}

export function createSimulatedMachine(options: SimulatedOptions): SimulatedMachine {
  return new Machine(options);
}

/** A machine with an agent's port already open. */
export function createSimulatedKernel(options: SimulatedOptions): Kernel & { readonly machine: SimulatedMachine } {
  const machine = createSimulatedMachine(options);
  return { ...machine.open(), machine };
}
