/**
 * A small cluster under a seed: one manager, two hosts, workloads, and everything that goes wrong. What it holds to be true is written
 * here from the outside, with `decide()` and what was agreed at each revision, and nothing of the agent's own bookkeeping:
 *
 * - a packet that passes is allowed by policy at some revision that its host's kernel may be enforcing at that moment: not older than
 *   the newest receipt, not newer than what the agent was told;
 * - when nothing goes wrong any more, every host comes to the newest revision, and every connection then ends as `decide()` says.
 */
import type { Kernel, Packet, SimulatedDelivery } from '@bulkhead/kernel';
import { tcpFlag } from '@bulkhead/kernel';
import { apiVersion, type Document, factPrefix, type Labels } from '@bulkhead/policy';
import { generateDocuments, generateLabels, pick, seededRandom } from '@bulkhead/policy/testing';
import { mkdtempSync, rmSync } from 'node:fs';
import path from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { Credentials } from '../../packages/agent/src/link/credentials.ts';
import { settled, VirtualClock } from '../../packages/agent/src/testing/virtual-clock.ts';
import { Outside } from './outside.ts';
import { mayLeave, permits, withFacts } from './permits.ts';
import { SimulatedHost, type SimulatedWorkload } from './host.ts';
import { type Agreed, SimulatedManager } from './manager.ts';
import { Network, type Random } from './network.ts';

export interface WorldOptions {
  readonly seed: number;
  readonly steps: number;
  readonly credentials: Credentials;
  readonly sabotage: (kernel: Kernel) => Kernel;
}

export interface WorldReport {
  readonly passed: number;
  readonly stopped: number;
  readonly revisions: number;
}

/** What the world found wrong. */
export class Violation extends Error {}

interface Attempt {
  readonly from: SimulatedWorkload;
  readonly to: SimulatedWorkload;
  readonly sourcePort: number;
  readonly port: number;
}

const hostNames = ['h1', 'h2'] as const;
const workloadsMax = 8;
const ports = [22, 80, 443, 8080] as const;
const quietMs = 5_000;
const quietRounds = 60;

export async function runWorld(options: WorldOptions): Promise<WorldReport> {
  await using world = await World.start(options);
  for (let step = 0; step < options.steps; step++) await world.step();
  await world.quiet();
  return world.report;
}

class World implements AsyncDisposable {
  readonly #random: Random;
  readonly #clock: VirtualClock;
  readonly #network: Network;
  readonly #manager: SimulatedManager;
  readonly #hosts: readonly SimulatedHost[];
  readonly #temporary: string;
  readonly #log: string[] = [];
  readonly #open: Attempt[] = [];
  readonly #pending = new Map<number, Attempt>();
  readonly #released = new Set<number>();
  readonly #outside: Outside;
  #count = 0;
  #ports = 20_000;
  #passed = 0;
  #stopped = 0;

  private constructor(
    random: Random,
    clock: VirtualClock,
    network: Network,
    manager: SimulatedManager,
    hosts: readonly SimulatedHost[],
    temporary: string,
  ) {
    this.#random = random;
    this.#clock = clock;
    this.#network = network;
    this.#manager = manager;
    this.#hosts = hosts;
    this.#temporary = temporary;
    this.#outside = new Outside(random, manager);
    for (const host of hosts) host.machine.onReleased((packet, delivery) => this.#onReleased(packet, delivery));
  }

  static async start({ seed, credentials, sabotage }: WorldOptions): Promise<World> {
    const random = seededRandom(seed);
    const clock = new VirtualClock();
    const network = new Network(clock, random);
    const temporary = mkdtempSync(path.join('/dev/shm', 'bulkhead-simulation-'));
    const manager = await SimulatedManager.start(clock, network, hostNames, temporary);
    const hosts = hostNames.map(
      (name) => new SimulatedHost({ name, clock, network, random, credentials, temporary, sabotage }),
    );
    const world = new World(random, clock, network, manager, hosts, temporary);
    for (const host of hosts) await host.start();
    await world.#apply();
    return world;
  }

  get report(): WorldReport {
    return { passed: this.#passed, stopped: this.#stopped, revisions: this.#manager.revision };
  }

  /** One thing happens, and a little time passes. */
  async step(): Promise<void> {
    const action = pick(this.#random, actions);
    this.#log.push(`${this.#clock.nowMs() % 1e9} ${action}`);
    await this.#act(action);
    await this.#clock.advance(this.#random(4) === 0 ? this.#random(3000) : this.#random(30));
  }

  async #act(action: (typeof actions)[number]): Promise<void> {
    const host = pick(this.#random, this.#hosts);
    const workloads = this.#workloads();
    switch (action) {
      case 'apply':
        return this.#apply();
      case 'start':
        if (workloads.length < workloadsMax)
          await host.startWorkload(`w${++this.#count}`, (this.#count % 250) + 2, generateClaims(this.#random));
        return;
      case 'stop':
        if (workloads.length > 3) {
          const gone = pick(this.#random, workloads);
          await gone.host.stopWorkload(gone);
        }
        return;
      case 'relabel':
        if (workloads.length > 0) {
          const changed = pick(this.#random, workloads);
          changed.host.relabel(changed, generateClaims(this.#random));
        }
        return;
      case 'connect':
        for (let i = 0; i < 6; i++) await this.#connect();
        return;
      case 'talk':
        return this.#talk();
      case 'ask':
        if (workloads.length > 0) this.#outside.ask(pick(this.#random, workloads));
        return;
      case 'leave':
        for (let i = 0; i < 4 && workloads.length > 0; i++) this.#leave(pick(this.#random, workloads));
        return;
      case 'cut':
        return this.#network.cut(host.name);
      case 'partition':
        return this.#network.setPartitioned(host.name, this.#random(2) === 0);
      case 'kernel':
        host.failing = this.#random(2) === 0;
        return;
      case 'agent':
        return host.isUp ? host.crash() : host.start();
      case 'manager':
        return this.#manager.isUp ? this.#manager.crash() : this.#manager.start();
      case 'reboot':
        if (this.#random(3) === 0) await host.reboot();
    }
  }

  /** Heals everything, waits, and compares what happens with what should. */
  async quiet(): Promise<void> {
    for (const host of this.#hosts) {
      host.failing = false;
      this.#network.setPartitioned(host.name, false);
      if (!host.isUp) await host.start();
    }
    if (!this.#manager.isUp) await this.#manager.start();
    for (let round = 0; round < quietRounds && !this.#isConverged(); round++) await this.#clock.advance(quietMs);
    if (!this.#isConverged())
      throw this.#violation(
        `not converged: manager at ${this.#manager.revision}, hosts ${JSON.stringify(this.#hosts.map((host) => host.window()))}`,
      );
    const agreed = this.#manager.agreed(this.#manager.revision);
    for (const from of this.#workloads()) {
      const wrong = this.#outside.expectExactly(from, agreed, () => this.#ports++);
      if (wrong !== null) throw this.#violation(wrong);
      for (const to of this.#workloads()) {
        if (from === to || from.host !== to.host) continue;
        for (const port of ports) await this.#expectExactly(agreed, from, to, port);
      }
    }
  }

  #isConverged(): boolean {
    const { desiredRevision, revision } = this.#manager;
    const told = this.#manager.agreed(revision).labels;
    return this.#hosts.every((host) => {
      const { link, receipt, revision: known } = host.agent!.status();
      const isTold = (one: SimulatedWorkload): boolean =>
        isDeepStrictEqual({ ...told.get(one.id) }, withFacts(one, one.labels));
      return (
        link.isReady &&
        known === desiredRevision &&
        receipt?.revision === known &&
        receipt.failed.length === 0 &&
        [...host.workloads.values()].every(isTold)
      );
    });
  }

  async #expectExactly(agreed: Agreed, from: SimulatedWorkload, to: SimulatedWorkload, port: number): Promise<void> {
    const attempt = { from, to, port, sourcePort: this.#ports++ };
    const delivery = this.#send(attempt);
    if (delivery.kind === 'punted') await this.#clock.advance(5000);
    const passes = delivery.kind === 'passed' || this.#released.has(attempt.sourcePort);
    const expected = permits(agreed.policySet, agreed.labels.get(from.id)!, agreed.labels.get(to.id)!, port);
    if (expected !== 'either' && passes !== (expected === 'yes')) {
      throw this.#violation(
        `in the end ${from.name} → ${to.name}:${port} ${passes ? 'passes' : 'does not pass'} (${JSON.stringify(delivery)}), policy says ${expected}`,
      );
    }
  }

  #workloads(): SimulatedWorkload[] {
    return this.#hosts.flatMap((host) => [...host.workloads.values()]);
  }

  async #apply(): Promise<void> {
    if (!this.#manager.isUp) return;
    const documents = generateDocuments(this.#random, { segments: 1 + this.#random(4), policies: 1 + this.#random(5) });
    await this.#manager.apply(this.#random(4) === 0 ? documents : [...documents, openPorts(this.#random)]);
  }

  async #connect(): Promise<void> {
    const workloads = this.#workloads();
    if (workloads.length < 2) return;
    const from = pick(this.#random, workloads);
    const to = pick(this.#random, workloads);
    if (from === to) return;
    this.#send({ from, to, port: pick(this.#random, ports), sourcePort: this.#ports++ });
    await settled();
  }

  #send(attempt: Attempt): SimulatedDelivery {
    this.#pending.set(attempt.sourcePort, attempt);
    const delivery = attempt.from.host.send(attempt.from, attempt.to, {
      source: attempt.sourcePort,
      destination: attempt.port,
    });
    this.#judge(attempt, delivery);
    if (delivery.kind === 'passed') this.#open.push(attempt);
    return delivery;
  }

  #leave(from: SimulatedWorkload): void {
    const [oldest, newest] = from.host.window();
    const wrong = this.#outside.leave(from, this.#ports++, [oldest, Math.min(newest, this.#manager.revision)]);
    if (wrong !== null) throw this.#violation(wrong);
  }

  /** A packet in the middle of a connection that was let through, either way. */
  #talk(): void {
    if (this.#open.length === 0) return;
    const attempt = pick(this.#random, this.#open);
    const { from, to, sourcePort, port } = attempt;
    const alive = this.#workloads();
    if (!alive.includes(from) || !alive.includes(to)) return;
    const back = this.#random(2) === 0;
    const delivery = back
      ? to.host.send(to, from, { source: port, destination: sourcePort }, { tcpFlags: tcpFlag.ack })
      : from.host.send(from, to, { source: sourcePort, destination: port }, { tcpFlags: tcpFlag.ack });
    // Mid-stream without an entry is a new connection in its own direction.
    this.#judge(attempt, delivery, back);
  }

  #onReleased(packet: Packet, delivery: SimulatedDelivery): void {
    const attempt = this.#pending.get(packet.sourcePort);
    if (attempt === undefined) return;
    this.#judge(attempt, delivery);
    if (delivery.kind !== 'passed') return;
    this.#released.add(packet.sourcePort);
    this.#open.push(attempt);
  }

  #judge(attempt: Attempt, delivery: SimulatedDelivery, orBack = false): void {
    if (delivery.kind === 'unfiltered' && delivery.passes)
      throw this.#violation(`${attempt.from.name} → ${attempt.to.name}:${attempt.port} passed without a program`);
    if (delivery.kind !== 'passed') {
      this.#stopped++;
      return;
    }
    this.#passed++;
    if (this.#mayPass(attempt.from, attempt.to, attempt.port)) return;
    if (orBack && this.#mayPass(attempt.to, attempt.from, attempt.sourcePort)) return;
    throw this.#violation(
      `${attempt.from.name} → ${attempt.to.name}:${attempt.port} passed although denied at revisions ${attempt.from.host.window().join(' to ')}`,
    );
  }

  #mayPass(from: SimulatedWorkload, to: SimulatedWorkload, port: number): boolean {
    const [oldest, newest] = from.host.window();
    for (let revision = oldest; revision <= Math.min(newest, this.#manager.revision); revision++) {
      const agreed = this.#manager.agreed(revision);
      for (const source of this.#labelsOf(from, agreed)) {
        // An address that nobody has, as far as the host was told, is one of outside; where it has an owner, that one's host judges.
        const isNobody = from.host === to.host ? !to.host.workloads.has(to.name) : !agreed.labels.has(to.id);
        if (isNobody && mayLeave(agreed.policySet, source, to, port)) return true;
        for (const destination of this.#labelsOf(to, agreed))
          if (permits(agreed.policySet, source, destination, port) !== 'no') return true;
      }
    }
    return false;
  }

  /** What the manager agreed to; and the labels of now, which a host may know the identity of already. */
  #labelsOf(workload: SimulatedWorkload, { labels }: Agreed): readonly Labels[] {
    const told = labels.get(workload.id);
    return [...(told === undefined ? [] : [told]), withFacts(workload, workload.labels)];
  }

  #violation(what: string): Violation {
    return new Violation(`${what}\n  ${this.#log.slice(-40).join('\n  ')}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const host of this.#hosts) await host[Symbol.asyncDispose]();
    await this.#manager[Symbol.asyncDispose]();
    rmSync(this.#temporary, { recursive: true, force: true });
  }
}

const actions = [
  ...([
    'apply',
    'apply',
    'start',
    'start',
    'start',
    'stop',
    'relabel',
    'connect',
    'connect',
    'connect',
    'connect',
    'talk',
    'talk',
    'talk',
    'ask',
    'ask',
    'leave',
    'leave',
  ] as const),
  ...(['cut', 'partition', 'kernel', 'agent', 'manager', 'reboot'] as const),
] as const;

/** Generated documents alone allow little: this lets some ports through where no other rule speaks. */
function openPorts(random: Random): Document {
  const open = ports.filter(() => random(2) === 0).map((port) => ({ protocol: 'tcp', port }) as const);
  const rule = {
    name: 'open',
    action: 'allow',
    from: { any: true },
    to: { any: true },
    ...(open.length === 0 ? {} : { ports: open }),
  } as const;
  return { apiVersion, kind: 'Policy', metadata: { name: 'open-ports' }, spec: { tier: 'baseline', rules: [rule] } };
}

/** Claimed labels only. */
function generateClaims(random: Random): Labels {
  return Object.fromEntries(Object.entries(generateLabels(random)).filter(([key]) => !key.startsWith(factPrefix)));
}
