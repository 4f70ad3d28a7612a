/** The port as one agent of a simulated machine has it; useless once that agent is dead. */
import { KernelError, type Hook, type Kernel, type KernelEvent, type Limits } from '../port.ts';
import { tableKey } from './connections.ts';
import { answerHeld } from './datapath.ts';
import type { Failures } from './failures.ts';
import { parseFrame, type Packet } from './frame.ts';
import { refuseHeld, releaseHeld, sweepHeld } from './held.ts';
import { SimulatedMaps } from './maps.ts';
import type { Arrival, Delivery, Surroundings } from './packet-judging.ts';
import { SimulatedPuntDevice, puntInterfaceName, type PuntVerb } from './punt.ts';
import { addInterface, SimulatedRoutes } from './routes.ts';
import { emptyPinned, type HeldPacket, type Network, type Pinned } from './state.ts';

/** The machine from inside: what an agent may reach of it. */
export interface AgentMachine {
  readonly limits: Limits;
  readonly failures: Failures;
  readonly options: { readonly nowNs: () => bigint };
  readonly network: Network;
  readonly objectVersion: number;
  pinned: Pinned | null;
  device: SimulatedPuntDevice | null;
  crash(): void;
  surroundings(): Surroundings;
  run(frame: Uint8Array, arrival: Arrival): Delivery;
  released(packet: Packet, delivery: Delivery): void;
}

export interface OpenAgent {
  readonly kernel: Kernel;
  close(): void;
}

const programNames = ['from_overlay', 'from_punt', 'from_uplink', 'from_workload', 'to_workload'] as const;
const layout = 'simulated';
/** Results of a traffic control program. */
const action = { ok: 0, shot: 2, redirect: 7 } as const;

export function openAgent(machine: AgentMachine): OpenAgent {
  return new Agent(machine);
}

/** What one agent holds of the machine; useless once it is closed. */
class Agent implements OpenAgent {
  readonly kernel: Kernel;
  readonly #machine: AgentMachine;
  readonly #maps: SimulatedMaps;
  #closed = false;

  constructor(machine: AgentMachine) {
    this.#machine = machine;
    this.#maps = new SimulatedMaps(machine.limits, machine.failures, machine.options.nowNs);
    const routes = new SimulatedRoutes(
      machine.network,
      (operation) => {
        this.#alive(operation);
        return machine.pinned;
      },
      machine.failures,
    );
    this.kernel = {
      maps: this.#maps,
      programs: this.#programs(),
      links: this.#links(),
      routes,
      events: this.#events(),
      openPuntDevice: async () => this.#openPuntDevice(),
      nowNs: machine.options.nowNs,
      [Symbol.asyncDispose]: async () => {
        if (!this.#closed) machine.crash();
      },
    };
  }

  close(): void {
    this.#closed = true;
    this.#maps.close();
  }

  #alive(operation: string): void {
    if (this.#closed) throw new KernelError(operation, 'EBADF', { detail: 'this agent is dead' });
  }
  #loaded(operation: string): Pinned {
    this.#alive(operation);
    if (this.#machine.pinned === null)
      throw new KernelError(operation, 'ENOENT', { detail: 'the programs are not loaded' });
    return this.#machine.pinned;
  }

  #programs(): Kernel['programs'] {
    const machine = this.#machine;
    return {
      load: () => {
        this.#alive('load programs');
        machine.failures.meet('programs', 'load programs');
        const before = machine.pinned;
        machine.pinned ??= emptyPinned(machine.objectVersion);
        const isSame = before?.objectVersion === machine.objectVersion;
        machine.pinned.objectVersion = machine.objectVersion;
        this.#maps.open(machine.pinned);
        return { kind: before === null ? 'loaded' : isSame ? 'reopened' : 'replaced', layout };
      },
      loaded: () => (machine.pinned === null || this.#closed ? [] : [...programNames]),
      testRun: (program, frame, options) => {
        this.#loaded(`run ${program}`);
        if (program !== 'from_workload' && program !== 'to_workload') throw new KernelError(`run ${program}`, 'ENOENT');
        const repeat = options.repeat ?? 1;
        let result = 0;
        for (let run = 0; run < repeat; run++) result = testRun(machine, program, frame, options.ifindex);
        return { result, frame: new Uint8Array(frame), nsPerRun: 0 };
      },
      unload: () => {
        this.#loaded('unload programs');
        machine.pinned = null;
        this.#maps.close();
      },
    };
  }

  #links(): Kernel['links'] {
    const machine = this.#machine;
    const find = (ifindex: number): boolean =>
      machine.network.interfaces.values().some((entry) => entry.ifindex === ifindex);
    return {
      attach: (ifindex: number, hook: Hook) => {
        const operation = `attach ${hook} to interface ${ifindex}`;
        const { links } = this.#loaded(operation);
        if (!find(ifindex)) throw new KernelError(operation, 'ENODEV');
        machine.failures.meet('links', operation);
        links.set(ifindex, (links.get(ifindex) ?? new Set()).add(hook));
      },
      detach: (ifindex: number, hook: Hook) => {
        const { links } = this.#loaded(`detach ${hook} from interface ${ifindex}`);
        const hooks = links.get(ifindex);
        hooks?.delete(hook);
        if (hooks?.size === 0) links.delete(ifindex);
      },
      attached: (only?: Hook) =>
        [...this.#loaded('list links').links].flatMap(([ifindex, hooks]) =>
          [...hooks].filter((hook) => (only ?? hook) === hook).map((hook) => ({ ifindex, hook })),
        ),
    };
  }

  #events(): Kernel['events'] {
    return {
      drain: (visit: (event: KernelEvent) => void, eventsMax: number) => {
        const { events } = this.#loaded('drain events');
        let delivered = 0;
        while (delivered < eventsMax && events.length > 0) {
          delivered++;
          visit(events.shift()!);
        }
        return delivered;
      },
      lost: () => this.#loaded('count lost events').counters.get('events_lost') ?? 0n,
    };
  }

  #openPuntDevice(): SimulatedPuntDevice {
    const machine = this.#machine;
    const pinned = this.#loaded('open punt device');
    machine.failures.meet('punt', 'open punt device');
    if (machine.device !== null) throw new KernelError('open punt device', 'EBUSY');
    const { interfaces } = machine.network;
    const made =
      interfaces.get(puntInterfaceName) ??
      addInterface(machine.network, {
        name: puntInterfaceName,
        kind: 'tun',
        mac: '02:00:00:00:00:ff',
        mtu: 65521,
        peerIfindex: 0,
      });
    pinned.links.set(made.ifindex, (pinned.links.get(made.ifindex) ?? new Set()).add('punt'));
    interfaces.set(made.name, { ...made, up: true });
    const device: SimulatedPuntDevice = new SimulatedPuntDevice(made.ifindex, {
      record: (id) => machine.pinned?.punts.get(id) ?? null,
      answer: (id, frame, verb) => this.#answer(made.ifindex, id, frame, verb),
      closed: () => {
        if (machine.device === device) machine.device = null;
      },
    });
    // Frames that were held for another agent died with it.
    sweepHeld(pinned, machine.options.nowNs(), true);
    machine.device = device;
    return device;
  }

  #answer(ifindex: number, id: number, frame: Uint8Array, verb: PuntVerb): 'sent' | 'stale' | 'full' {
    const machine = this.#machine;
    const operation = 'answer a held packet';
    machine.failures.meet('punt', operation);
    const pinned = this.#loaded(operation);
    if (!pinned.links.get(ifindex)?.has('punt')) throw new KernelError(operation, 'ENOLINK');
    const held = heldOf(pinned, id, frame);
    if (held === null) return 'stale';
    releaseHeld(pinned, id);
    if (verb === 'refuse' || verb === 'reject') {
      machine.released(held.packet, refuseHeld(machine.surroundings(), held, frame.length, verb === 'reject'));
      return 'sent';
    }
    const { outcome, delivery } = answerHeld(machine.surroundings(), held, frame.length, verb === 'admit');
    if (delivery.kind === 'punted') machine.device?.take(delivery.id, frame);
    machine.released(held.packet, delivery);
    return outcome;
  }
}

/** The record, for the very packet that was held. */
function heldOf(pinned: Pinned, id: number, frame: Uint8Array): HeldPacket | null {
  const held = pinned.punts.get(id);
  const parsed = parseFrame(frame);
  if (held === undefined || parsed.kind === 'dropped') return null;
  return tableKey(parsed.packet) === tableKey(held.packet) ? held : null;
}

function testRun(
  machine: AgentMachine,
  program: 'from_workload' | 'to_workload',
  frame: Uint8Array,
  ifindex: number,
): number {
  const arrival: Arrival =
    program === 'from_workload'
      ? { hook: 'from-workload', ifindex }
      : { hook: 'to-workload', ifindex, marked: false, forwarded: false };
  const delivery = machine.run(new Uint8Array(frame), arrival);
  if (delivery.kind === 'dropped') return delivery.rejected ? action.redirect : action.shot;
  if (delivery.kind === 'punted' || delivery.kind === 'tunnelled') return action.redirect;
  return program === 'from_workload' && delivery.slot !== 0 ? action.redirect : action.ok;
}
