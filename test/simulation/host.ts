/** A simulated machine with the real agent on it, and workloads that come, change their labels, and go. */
import {
  KernelError,
  createSimulatedMachine,
  packetOf,
  type Kernel,
  type Packet,
  type SimulatedDelivery,
  type SimulatedMachine,
} from '@bulkhead/kernel';
import { pino } from 'pino';
import { mkdtempSync, rmSync } from 'node:fs';
import path from 'node:path';
import { type Agent, startAgent } from '@bulkhead/agent';
import type { Credentials } from '../../packages/agent/src/link/credentials.ts';
import { tlsLink } from '../../packages/agent/src/link/link.ts';
import type { AttachContext, Attachment, LocalWorkload } from '../../packages/agent/src/model.ts';
import { settled, type VirtualClock } from '../../packages/agent/src/testing/virtual-clock.ts';
import type { Labels } from '@bulkhead/policy';
import type { Network, Random } from './network.ts';

export interface SimulatedWorkload {
  readonly id: string;
  readonly name: string;
  readonly host: SimulatedHost;
  readonly address: string;
  readonly mac: string;
  readonly ifindex: number;
  /** Claimed labels now. */
  labels: Labels;
}

export interface HostOptions {
  readonly name: string;
  readonly clock: VirtualClock;
  readonly network: Network;
  readonly random: Random;
  readonly credentials: Credentials;
  readonly temporary: string;
  /** Wraps the kernel that the agent gets: how a bug is planted. */
  readonly sabotage: (kernel: Kernel) => Kernel;
}

const gatewayMac = '02:00:00:00:ff:01';
const startsMax = 50;
const answerTtlSeconds = 30;

/** Endpoints come from the simulation itself. */
const noAttachment: Attachment = {
  commands: new Map(),
  resync: async () => undefined,
  adopt: async () => false,
  [Symbol.asyncDispose]: async () => undefined,
};

/** A name server's answer with one address (RFC 1035). */
function answerOf(name: string, address: string): Uint8Array {
  const question = [...name.split('.').flatMap((label) => [label.length, ...Buffer.from(label)]), 0, 0, 1, 0, 1];
  const header = [0, 1, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
  const record = [0xc0, header.length, 0, 1, 0, 1, 0, 0, 0, answerTtlSeconds, 0, 4, ...address.split('.').map(Number)];
  return Uint8Array.from([...header, ...question, ...record]);
}

export class SimulatedHost implements AsyncDisposable {
  readonly name: string;
  readonly machine: SimulatedMachine;
  readonly workloads = new Map<string, SimulatedWorkload>();
  readonly #options: HostOptions;
  readonly #directory: string;
  #agent: Agent | null = null;
  #routes: Kernel['routes'] | null = null;
  #context: AttachContext | null = null;
  #boots = 1;
  #starts = 0;
  /** Revisions that the kernel may be enforcing, as last known: the newest receipt, and what the agent has been told. */
  #window: readonly [number, number] = [0, 0];
  /** From now on, operations of the kernel fail as often as this. */
  failing = false;

  constructor(options: HostOptions) {
    this.#options = options;
    this.name = options.name;
    const uniform = (): number => options.random(2 ** 30) / 2 ** 30;
    const unreliable = (): number => (this.failing ? uniform() : 1);
    this.machine = createSimulatedMachine({
      nowNs: () => options.clock.nowNs(),
      random: uniform,
      failures: { random: unreliable, probability: { maps: 0.02, links: 0.02 } },
    });
    this.#directory = mkdtempSync(path.join(options.temporary, `${options.name}-`));
  }

  get isUp(): boolean {
    return this.#agent !== null;
  }
  get agent(): Agent | null {
    return this.#agent;
  }

  /** The revisions that this host's kernel may hold now, both inclusive. */
  window(): readonly [number, number] {
    const status = this.#agent?.status();
    if (status !== undefined)
      this.#window = [status.receipt?.revision ?? this.#window[0], Math.max(status.revision, this.#window[1])];
    return this.#window;
  }

  /** Starts the agent; whoever supervises it starts it again when the kernel fails it. */
  async start(): Promise<void> {
    const { name, clock, network, credentials, random, sabotage } = this.#options;
    for (let attempt = 0; attempt < startsMax; attempt++) {
      try {
        const kernel = sabotage(this.machine.open());
        this.#routes = kernel.routes;
        this.#agent = await startAgent({
          host: name,
          kernel,
          log: pino({ level: 'silent' }),
          stateDirectory: this.#directory,
          bootId: `boot-${this.#boots}`,
          startId: `start${++this.#starts}`,
          kernelName: 'simulated',
          software: 'simulation',
          link: tlsLink({
            credentials: { ...credentials, host: name },
            directory: this.#directory,
            random: () => random(2 ** 30) / 2 ** 30,
            kernel: 'simulated',
            software: 'simulation',
            openSocket: () => network.connect(name),
          }),
          attachments: async (context) => {
            this.#context = context;
            return noAttachment;
          },
          controlSocket: null,
          clock,
        });
        return settled();
      } catch (error) {
        if (!(error instanceof KernelError)) throw error;
        this.machine.crash();
      }
    }
    throw new Error(`the agent of ${name} did not start in ${startsMax} attempts`);
  }

  /** kill -9 of the agent. */
  async crash(): Promise<void> {
    this.window();
    const agent = this.#agent;
    this.#agent = null;
    this.#options.network.cut(this.name);
    this.machine.crash();
    await agent?.[Symbol.asyncDispose]();
  }

  /** The machine restarts: pins and workloads are gone. */
  async reboot(): Promise<void> {
    await this.crash();
    this.machine.reboot();
    this.workloads.clear();
    this.#boots++;
  }

  /** As an engine's plugin does it: veth, endpoint, and only then the link; a little later, who it is. */
  async startWorkload(name: string, index: number, labels: Labels): Promise<SimulatedWorkload | null> {
    const agent = this.#agent;
    if (agent === null) return null;
    const mac = `02:00:00:00:01:${index.toString(16).padStart(2, '0')}`;
    const address = `10.77.0.${index}`;
    try {
      const veth = await this.#routes!.createVeth({
        name: `v${index}`,
        peer: `p${index}`,
        mac: gatewayMac,
        peerMac: mac,
        mtu: 1450,
      });
      await agent.registry.addEndpoint({
        ...{
          endpoint: `e-${name}`,
          kind: 'veth',
          ifindex: veth.ifindex,
          interfaceName: veth.name,
          mac,
          gatewayMac,
          mtu: 1450,
        },
        ...{ ipv4: address, ipv6: null, network: 'net', labels: {}, mode: 'enforce' },
      });
      const workload = {
        id: `${this.name}/netns/${name}`,
        name,
        host: this,
        address,
        mac,
        ifindex: veth.ifindex,
        labels,
      };
      this.workloads.set(name, workload);
      agent.registry.bindWorkload(`e-${name}`, this.#record(workload));
      return workload;
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      return null;
    }
  }

  relabel(workload: SimulatedWorkload, labels: Labels): void {
    if (this.#agent === null) return;
    workload.labels = labels;
    this.#agent.registry.setWorkload(this.#record(workload));
  }

  async stopWorkload(workload: SimulatedWorkload): Promise<void> {
    const agent = this.#agent;
    if (agent === null) return;
    this.workloads.delete(workload.name);
    agent.registry.removeWorkload(workload.id);
    try {
      await agent.registry.removeEndpoint(`e-${workload.name}`);
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
    }
  }

  /** The workload asks for a name and is told the address; false where there is no agent to answer. */
  learn(workload: SimulatedWorkload, address: string, name: string): boolean {
    if (this.#agent === null) return false;
    this.#context!.learn(workload.id, name, answerOf(name, address));
    return true;
  }

  /** A packet that the workload sends. */
  send(
    workload: SimulatedWorkload,
    to: { readonly address: string },
    ports: { readonly source: number; readonly destination: number },
    rest: Partial<Packet> = {},
  ): SimulatedDelivery {
    const key = {
      protocol: 6,
      source: workload.address,
      sourcePort: ports.source,
      destination: to.address,
      destinationPort: ports.destination,
    };
    return this.machine.deliver(packetOf(key, { sourceMac: workload.mac, destinationMac: gatewayMac, ...rest }), {
      hook: 'from-workload',
      ifindex: workload.ifindex,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.crash();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #record({ id, name, labels }: SimulatedWorkload): LocalWorkload {
    return {
      ...{
        workload: id,
        name,
        engine: 'netns',
        labels,
        image: null,
        imageDigest: null,
        isolationClass: 'shared',
        boundary: 'none',
      },
      ...{ generation: 1, governance: 'governed', ungovernedBecause: null, startedMs: 0 },
    };
  }
}
