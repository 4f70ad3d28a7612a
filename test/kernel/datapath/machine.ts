/**
 * A host in a namespace of its own, with workloads in theirs: the real programs on real veths, spoken to by raw frames. The workloads'
 * interfaces have no addresses, so nobody answers but the test.
 */
import {
  openLinuxKernel,
  type EndpointEntry,
  type KernelEvent,
  type KernelPortTable,
  type KernelVerdict,
  type LinuxKernel,
  type VerdictAction,
} from '@bulkhead/kernel';
import assert from 'node:assert/strict';
import { readdirSync, rmSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { see, type Ends, type Seen } from './frames.ts';
import { RawTable } from './raw-table.ts';
import { FrameSocket, Namespaces, run } from './sockets.ts';

/** How long a test waits for what must happen. */
export const deadlineMs = 5000;

export interface Workload {
  readonly slot: number;
  readonly identity: number;
  readonly ifindex: number;
  readonly mac: string;
  readonly gatewayMac: string;
  readonly ipv4: string;
  readonly ipv6: string;
  readonly namespace: string;
  readonly hostName: string;
  /** The workload's own interface. */
  readonly link: FrameSocket;
}

export const denyRule = 99;
export function verdict(action: VerdictAction, rule = 1): KernelVerdict {
  return { action, rule };
}
export function always(action: VerdictAction, rule = 1): KernelPortTable {
  return { ranges: [], otherwise: verdict(action, rule) };
}

export interface Policy {
  readonly egress?: ReadonlyMap<number, KernelPortTable>;
  readonly ingress?: ReadonlyMap<number, KernelPortTable>;
}
export const allowAll: Policy = {
  egress: new Map([[0, always('allow', 11)]]),
  ingress: new Map([[0, always('allow', 12)]]),
};

export class Machine implements AsyncDisposable {
  readonly kernel: LinuxKernel;
  readonly namespaces: Namespaces;
  readonly home: string;
  readonly workloads: Workload[] = [];
  readonly #pinRoot: string;
  readonly #number: number;
  #rulesets = 0;

  private constructor(kernel: LinuxKernel, namespaces: Namespaces, home: string, pinRoot: string, number: number) {
    this.kernel = kernel;
    this.namespaces = namespaces;
    this.home = home;
    this.#pinRoot = pinRoot;
    this.#number = number;
  }

  /** `number` sets its addresses and identities apart from those of another machine of the same test. */
  static open(number = 0): Machine {
    const namespaces = new Namespaces();
    const home = namespaces.make(`host${number}`);
    namespaces.enter(home);
    run('ip', 'link', 'set', 'dev', 'lo', 'up');
    const pinRoot = `/sys/fs/bpf/bhA-${process.pid}-${number}`;
    const kernel = openLinuxKernel({ pinRoot });
    kernel.programs.load();
    const machine = new Machine(kernel, namespaces, home, pinRoot, number);
    machine.configure({});
    kernel.maps.heartbeat();
    return machine;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const workload of this.workloads) workload.link[Symbol.dispose]();
    this.kernel.programs.unload();
    await this.kernel[Symbol.asyncDispose]();
    rmSync(this.#pinRoot, { recursive: true, force: true });
    this.namespaces[Symbol.dispose]();
  }

  configure(options: {
    readonly puntIfindex?: number;
    readonly overlayIfindex?: number;
    readonly puntRate?: number;
    readonly puntBurst?: number;
    readonly revision?: number;
  }): void {
    this.kernel.maps.setConfig({
      revision: options.revision ?? 1,
      puntIfindex: options.puntIfindex ?? 0,
      overlayIfindex: options.overlayIfindex ?? 0,
      puntRate: options.puntRate ?? 1000,
      puntBurst: options.puntBurst ?? 1000,
      gatewayIpv4: '169.254.1.1',
      gatewayIpv6: 'fe80::1',
    });
  }

  /** A veth into a namespace of its own, its endpoint and addresses, programs attached, link up; it denies everything at first. */
  async addWorkload(name: string, change: Partial<EndpointEntry> = {}): Promise<Workload> {
    const slot = this.workloads.length + 1;
    const mac = `02:00:00:0${this.#number}:00:0${slot}`;
    const gatewayMac = `02:00:00:0${this.#number}:01:0${slot}`;
    const namespace = this.namespaces.make(name);
    const hostName = `bhA-${name}`;
    const made = await this.kernel.routes.createVeth({
      name: hostName,
      peer: 'eth0',
      mac: gatewayMac,
      peerMac: mac,
      mtu: 1500,
    });
    run('ip', 'link', 'set', 'dev', 'eth0', 'netns', namespace);
    const link = this.namespaces.inside(namespace, this.home, () => {
      run('sysctl', '-qw', 'net.ipv6.conf.all.disable_ipv6=1');
      run('ip', 'link', 'set', 'dev', 'eth0', 'up', 'arp', 'off');
      return new FrameSocket('eth0');
    });
    const workload: Workload = {
      slot,
      identity: 256 + this.#number * 100 + slot,
      ifindex: made.ifindex,
      mac,
      gatewayMac,
      ipv4: `10.0.${this.#number}.${slot}`,
      ipv6: this.#number === 0 ? `fd00::${slot}` : `fd00::${this.#number}:${slot}`,
      namespace,
      hostName,
      link,
    };
    this.workloads.push(workload);
    this.setEndpoint(workload, { ruleset: this.addRules({}), ...change });
    this.kernel.maps.setAddress(workload.ipv4, { kind: 'endpoint', slot });
    this.kernel.maps.setAddress(workload.ipv6, { kind: 'endpoint', slot });
    this.kernel.links.attach(made.ifindex, 'workload');
    await this.kernel.routes.setUp(hostName, true);
    return workload;
  }

  setEndpoint(workload: Workload, change: Partial<EndpointEntry>): void {
    const now = this.kernel.maps.endpoints().find((entry) => entry.slot === workload.slot);
    this.kernel.maps.setEndpoint({
      slot: workload.slot,
      ifindex: workload.ifindex,
      kind: 'veth',
      state: 'governed',
      identity: workload.identity,
      ruleset: 0,
      epoch: 1,
      generation: 1,
      mac: workload.mac,
      gatewayMac: workload.gatewayMac,
      ipv4: workload.ipv4,
      ipv6: workload.ipv6,
      mtu: 1500,
      connectionsMax: 1000,
      ...now,
      ...change,
    });
  }

  /** Writes the rows of a fresh ruleset; a direction without `0` denies the others with `denyRule`. */
  addRules(policy: Policy): number {
    const ruleset = ++this.#rulesets;
    for (const direction of ['egress', 'ingress'] as const) {
      const rows = new Map([[0, always('deny', denyRule)], ...(policy[direction] ?? [])]);
      const made = [...rows].map(([peer, table]) => ({
        ruleset,
        direction,
        peer,
        root: this.kernel.maps.addPortTable(table),
      }));
      this.kernel.maps.setRows(made);
    }
    return ruleset;
  }
  /** Puts a policy in force for a workload, as one flip. */
  govern(workload: Workload, policy: Policy): void {
    this.setEndpoint(workload, { ruleset: this.addRules(policy) });
  }

  /** A pinned table as bytes. */
  rawTable(name: string, keyBytes: number, valueBytes: number): RawTable {
    const layout = readdirSync(this.#pinRoot).find((entry) => entry !== 'links');
    return new RawTable(`${this.#pinRoot}/${layout}/maps/${name}`, keyBytes, valueBytes);
  }
  counter(name: string): bigint {
    const value = this.kernel.maps.counters().get(name);
    assert.notEqual(value, undefined, `no counter ${name}`);
    return value ?? 0n;
  }
  /** Runs an action and asserts by how much each named counter went up. */
  async counts(expected: Readonly<Record<string, number>>, action: () => unknown): Promise<void> {
    const names = Object.keys(expected);
    const before = names.map((name) => this.counter(name));
    await action();
    const grown = Object.fromEntries(names.map((name, index) => [name, Number(this.counter(name) - before[index]!)]));
    assert.deepEqual(grown, expected);
  }

  events(): KernelEvent[] {
    const seen: KernelEvent[] = [];
    this.kernel.events.drain((event) => seen.push({ ...event }), 100_000);
    return seen;
  }
}

/** From one workload to another (or to any address), by way of the gateway. */
export function between(from: Workload, to: Workload | string, version: 4 | 6 = 4): Ends {
  const destination = typeof to === 'string' ? to : version === 4 ? to.ipv4 : to.ipv6;
  const source = destination.includes(':') ? from.ipv6 : from.ipv4;
  return { sourceMac: from.mac, destinationMac: from.gatewayMac, source, destination };
}

/** Waits until the link has received a frame that fits; what does not fit is passed over. */
export async function received(link: FrameSocket, fits: (seen: Seen) => boolean, what = 'frame'): Promise<Seen> {
  const end = Date.now() + deadlineMs;
  for (;;) {
    const frame = link.receive();
    if (frame === null) {
      if (Date.now() > end) assert.fail(`${what} did not come within ${deadlineMs} ms`);
      await setImmediate();
      continue;
    }
    const seen = see(frame);
    if (fits(seen)) return seen;
  }
}

/** Waits until a condition holds. */
export async function until(holds: () => boolean, what: string): Promise<void> {
  const end = Date.now() + deadlineMs;
  while (!holds()) {
    if (Date.now() > end) assert.fail(`${what}: not within ${deadlineMs} ms`);
    await setImmediate();
  }
}

/** Everything that is there right now. Frames between veths of one machine arrive before send() returns. */
export function drained(link: FrameSocket): Seen[] {
  const frames: Seen[] = [];
  for (let frame = link.receive(); frame !== null; frame = link.receive()) frames.push(see(frame));
  return frames;
}
