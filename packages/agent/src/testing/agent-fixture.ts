/** A simulated machine with an agent, a scripted manager and a clock that stands still; and workloads on it, by name. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  KernelError,
  createSimulatedMachine,
  packetOf,
  type FailureOptions,
  type Kernel,
  type Limits,
  type SimulatedDelivery,
  type SimulatedMachine,
} from '@bulkhead/kernel';
import { encode, type Answer } from 'dns-packet';
import { pino } from 'pino';
import type { Agent } from '../agent-options.ts';
import { startAgent } from '../agent.ts';
import type { AttachContext, Attachment, LocalEndpoint, LocalWorkload } from '../model.ts';
import { ScriptedManager } from './scripted-manager.ts';
import { settled, VirtualClock } from './virtual-clock.ts';

export const testHost = 'h1';

export interface Attempt {
  readonly protocol?: number;
  readonly port: number;
  readonly sourcePort?: number;
  /** Another packet than the first of a connection. */
  readonly tcpFlags?: number;
}

export class AgentFixture implements AsyncDisposable {
  readonly clock = new VirtualClock();
  readonly manager = new ScriptedManager(testHost);
  readonly machine: SimulatedMachine;
  readonly directory = mkdtempSync(join(tmpdir(), 'bulkhead-agent-'));
  /** What became of packets that were held, in order. */
  readonly released: SimulatedDelivery[] = [];
  #agent: Agent | null = null;
  #kernel: Kernel | null = null;
  #context: AttachContext | null = null;
  #boot = 1;
  #starts = 0;
  #ports = 20_000;
  readonly #known = new Map<string, LocalEndpoint>();

  constructor(options: { readonly limits?: Partial<Limits>; readonly failures?: FailureOptions } = {}) {
    let seed = 1;
    const random = (): number => (seed = (seed * 48_271) % 2_147_483_647) / 2_147_483_647;
    this.machine = createSimulatedMachine({ nowNs: () => this.clock.nowNs(), random, ...options });
    this.machine.onReleased((_packet, delivery) => this.released.push(delivery));
  }

  static async start(options: ConstructorParameters<typeof AgentFixture>[0] = {}): Promise<AgentFixture> {
    const fixture = new AgentFixture(options);
    for (;;) {
      try {
        await fixture.startAgent();
        return fixture;
      } catch (error) {
        // An injected failure: whoever supervises the process starts it again.
        if (!(error instanceof KernelError)) throw error;
      }
    }
  }

  get agent(): Agent {
    if (this.#agent === null) throw new Error('no agent runs');
    return this.#agent;
  }

  get kernel(): Kernel {
    if (this.#kernel === null) throw new Error('no agent runs');
    return this.#kernel;
  }

  /** Everything that is pinned, to compare. */
  kernelState(): unknown {
    const { maps, links } = this.kernel;
    const rows = maps
      .rows()
      .map((row) => [`${row.ruleset} ${row.direction} ${row.peer}`, maps.portTable(row.root)] as const);
    return {
      endpoints: [...maps.endpoints()].sort((a, b) => a.slot - b.slot),
      addresses: [...maps.addresses()].sort(([a], [b]) => (a < b ? -1 : 1)),
      rows: rows.sort(([a], [b]) => (a < b ? -1 : 1)),
      cidrs: [...maps.cidrs()],
      attached: [...links.attached()],
    };
  }

  async startAgent(): Promise<void> {
    this.#kernel = this.machine.open();
    this.#agent = await startAgent({
      host: testHost,
      kernel: this.#kernel,
      log: pino({ level: process.env['BULKHEAD_TEST_LOG'] ?? 'silent' }),
      stateDirectory: this.directory,
      bootId: `boot-${this.#boot}`,
      startId: `start${++this.#starts}`,
      kernelName: 'simulated',
      software: 'test',
      link: this.manager.factory,
      attachments: async (context) => {
        this.#context = context;
        return new NoAttachment();
      },
      controlSocket: null,
      clock: this.clock,
    });
    await settled();
  }

  /** As kill -9: what the agent holds in memory is gone, and nothing is written any more. */
  async killAgent(): Promise<void> {
    const agent = this.#agent;
    this.#agent = null;
    this.manager.forgetAgent();
    this.machine.crash();
    // The process is one with the test's: its timers and files have to end some way.
    await agent?.[Symbol.asyncDispose]();
  }

  async reboot(): Promise<void> {
    await this.killAgent();
    this.machine.reboot();
    this.#boot++;
  }

  async attach(name: string, labels: Readonly<Record<string, string>> | null, ipv4: string): Promise<LocalEndpoint> {
    const index = Number(ipv4.split('.').at(-1));
    const mac = `02:00:00:00:01:${index.toString(16).padStart(2, '0')}`;
    const veth = await this.#kernel!.routes.createVeth({
      name: `v-${name}`,
      peer: `p-${name}`,
      mac: '02:00:00:00:02:01',
      peerMac: mac,
      mtu: 1450,
    });
    const endpoint = await this.agent.registry.addEndpoint({
      ...{ endpoint: `e-${name}`, kind: 'veth', ifindex: veth.ifindex, interfaceName: veth.name, mac, ipv4 },
      ...{ gatewayMac: '02:00:00:00:02:01', ipv6: null, mtu: 1450, network: 'net', labels: {}, mode: 'enforce' },
    });
    this.#known.set(name, endpoint);
    if (labels !== null) this.bind(name, labels);
    await settled();
    return endpoint;
  }

  bind(name: string, labels: Readonly<Record<string, string>>, rest: Partial<LocalWorkload> = {}): void {
    this.agent.registry.bindWorkload(`e-${name}`, workloadOf(name, labels, rest));
  }

  /** Sends the first packet of a new connection from a workload. */
  async connect(from: string, to: string, attempt: Attempt): Promise<SimulatedDelivery> {
    const delivery = this.sendFrom(from, to, attempt);
    await settled();
    return delivery;
  }

  sendFrom(
    from: string,
    to: string,
    { protocol = 6, port, sourcePort = this.#ports++, tcpFlags }: Attempt,
  ): SimulatedDelivery {
    const source = this.#endpoint(from);
    const packet = packetOf(
      { protocol, source: source.ipv4!, sourcePort, destination: this.#addressOf(to), destinationPort: port },
      { sourceMac: source.mac, destinationMac: source.gatewayMac, ...(tcpFlags === undefined ? {} : { tcpFlags }) },
    );
    return this.machine.deliver(packet, { hook: 'from-workload', ifindex: source.ifindex });
  }

  /** As the resolver does it right before it answers a workload. */
  learn(name: string, asked: string, answers: readonly Answer[]): void {
    const message = encode({ id: 1, type: 'response', questions: [{ name: asked, type: 'A' }], answers });
    this.#context!.learn(workloadOf(name, {}).workload, asked, message);
  }

  /** In short: `allowed`, `denied`, `rejected`, `held`. */
  async outcome(from: string, to: string, attempt: Attempt): Promise<'allowed' | 'denied' | 'rejected' | 'held'> {
    const delivery = await this.connect(from, to, attempt);
    return outcomeOf(delivery);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#agent?.[Symbol.asyncDispose]();
    rmSync(this.directory, { recursive: true, force: true });
  }

  #endpoint(name: string): LocalEndpoint {
    const endpoint = this.#agent?.registry.endpoint(`e-${name}`) ?? this.#known.get(name);
    if (endpoint === undefined) throw new Error(`no endpoint of ${name}`);
    return endpoint;
  }

  #addressOf(to: string): string {
    return /^[0-9.]+$/.test(to) ? to : this.#endpoint(to).ipv4!;
  }
}

/** Endpoints come from the test itself. */
class NoAttachment implements Attachment {
  readonly commands = new Map();
  async resync(): Promise<void> {}
  async adopt(): Promise<boolean> {
    return false;
  }
  async [Symbol.asyncDispose](): Promise<void> {}
}

export function outcomeOf(delivery: SimulatedDelivery): 'allowed' | 'denied' | 'rejected' | 'held' {
  switch (delivery.kind) {
    case 'passed':
    case 'tunnelled':
      return 'allowed';
    case 'punted':
      return 'held';
    case 'dropped':
      return delivery.rejected ? 'rejected' : 'denied';
    case 'unfiltered':
      return delivery.passes ? 'allowed' : 'denied';
  }
}

export function workloadOf(
  name: string,
  labels: Readonly<Record<string, string>>,
  rest: Partial<LocalWorkload> = {},
): LocalWorkload {
  return {
    ...{ workload: `${testHost}/netns/${name}`, name, engine: 'netns', labels, image: null, imageDigest: null },
    ...{
      isolationClass: 'shared',
      boundary: 'none',
      generation: 1,
      governance: 'governed',
      ungovernedBecause: null,
      startedMs: 0,
    },
    ...rest,
  };
}
