/**
 * Pods as network namespaces on one host, governed by compiled tables in the real kernel, and probes between them through their own
 * stacks. A probe is over when it arrived, or when the kernel told that it was denied: nothing waits for a silence.
 */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import process from 'node:process';
import { setImmediate } from 'node:timers/promises';
import { openLinuxKernel, type LinuxKernel, type PortRoot, type RowKey } from '@bulkhead/kernel';
import {
  type Compiler,
  createCompiler,
  type IdentityId,
  identityFirst,
  type Labels,
  type PolicySet,
  type PortTable,
  type SideVerdict,
} from '@bulkhead/policy';
import { chunk, sctpMessage } from '../datapath/frames.ts';
import { Namespaces, run } from '../datapath/sockets.ts';
import { type Received, Socket } from './sockets.ts';

const deadlineMs = 5000;
const protocols = { tcp: 6, udp: 17, sctp: 132 } as const;
const served = [80, 81] as const;
const clientPortFirst = 20_000;
const gateway = '169.254.1.1';
const rule = 1;

export interface Pod {
  /** Namespace and name. */
  readonly key: string;
  readonly ip: string;
  readonly labels: Labels;
}

interface Attached {
  readonly slot: number;
  readonly ip: string;
  readonly ifindex: number;
  readonly namespace: string;
  readonly mac: string;
  readonly listeners: readonly Socket[];
  readonly datagrams: readonly Socket[];
  readonly raw: Socket;
}

export interface Probe {
  readonly from: string;
  readonly to: string;
  readonly protocol: number;
  readonly port: number;
}

export class Cluster implements AsyncDisposable {
  readonly #kernel: LinuxKernel;
  readonly #namespaces: Namespaces;
  readonly #home: string;
  readonly #pinRoot: string;
  readonly #attached = new Map<string, Attached>();
  readonly #compiler: Compiler = createCompiler();
  #subjects = new Set<IdentityId>();
  #rulesets = 0;
  #clientPort = clientPortFirst;
  #release: () => void = () => undefined;

  private constructor(kernel: LinuxKernel, namespaces: Namespaces, home: string, pinRoot: string) {
    this.#kernel = kernel;
    this.#namespaces = namespaces;
    this.#home = home;
    this.#pinRoot = pinRoot;
  }

  static open(): Cluster {
    const namespaces = new Namespaces();
    const home = namespaces.make('netpol');
    namespaces.enter(home);
    const pinRoot = `/sys/fs/bpf/bhN-${process.pid}`;
    const kernel = openLinuxKernel({ pinRoot });
    kernel.programs.load();
    const rest = { puntIfindex: 0, overlayIfindex: 0, puntRate: 1, puntBurst: 1, gatewayIpv4: null, gatewayIpv6: null };
    kernel.maps.setConfig({ revision: 1, ...rest });
    kernel.maps.heartbeat();
    return new Cluster(kernel, namespaces, home, pinRoot);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { listeners, datagrams, raw } of this.#attached.values())
      for (const socket of [...listeners, ...datagrams, raw]) socket[Symbol.dispose]();
    this.#kernel.programs.unload();
    await this.#kernel[Symbol.asyncDispose]();
    rmSync(this.#pinRoot, { recursive: true, force: true });
    this.#namespaces[Symbol.dispose]();
  }

  /** Puts a policy set in force for these pods, as one update of the compiler; others are no endpoints any more. */
  async govern(policySet: PolicySet, pods: readonly Pod[]): Promise<void> {
    const { maps } = this.#kernel;
    for (const pod of pods) if (!this.#attached.has(pod.key)) await this.#attach(pod);
    const wanted = new Set(pods.map(({ key }) => key));
    for (const [key, { slot }] of this.#attached) if (!wanted.has(key)) maps.removeEndpoint(slot);
    const set = new Map(pods.map((pod) => [this.#identity(pod), pod.labels]));
    const removed = [...this.#subjects].filter((identity) => !set.has(identity));
    this.#subjects = new Set(set.keys());
    this.#compiler.update({ policySet, identities: { set, removed }, subjects: { added: set.keys() } });
    const [before, roots, keys] = [this.#release, [] as PortRoot[], [] as RowKey[]];
    maps.setCidrs(this.#compiler.cidrs().map(({ cidr, peer }) => ({ cidr, peer })));
    for (const pod of pods) this.#setRules(this.#attached.get(pod.key)!, this.#identity(pod), roots, keys);
    before();
    const cidrs = this.#compiler.cidrs().map(({ cidr }) => cidr);
    this.#release = () => {
      maps.removeRows(keys);
      maps.removeCidrs(cidrs.filter((cidr) => !this.#compiler.cidrs().some((now) => now.cidr === cidr)));
      for (const root of roots) maps.releasePortTable(root);
    };
  }

  /** Sends all probes at once; true for those that arrived. */
  async probe(probes: readonly Probe[]): Promise<ReadonlyMap<Probe, boolean>> {
    const { events } = this.#kernel;
    const outcomes = new Map<Probe, boolean>();
    const sent = new Map<string, Probe>();
    const connecting: (readonly [Probe, Socket])[] = [];
    const decide = (key: string, arrived: boolean): void => {
      const probe = sent.get(key);
      if (probe !== undefined && !outcomes.has(probe)) outcomes.set(probe, arrived);
    };
    const send = (): void => {
      for (const probe of probes) {
        if (outcomes.has(probe)) continue;
        const [from, to] = [this.#attached.get(probe.from)!, this.#attached.get(probe.to)!];
        const sourcePort = this.#nextPort();
        sent.set(keyOf(probe.protocol, from.ip, sourcePort, to.ip, probe.port), probe);
        const socket = this.#send(probe, from, to, sourcePort);
        if (probe.protocol === protocols.tcp) connecting.push([probe, socket]);
        else socket[Symbol.dispose]();
      }
    };
    events.drain(() => undefined, 1_000_000);
    let suppressed = this.#suppressed();
    send();
    const end = Date.now() + deadlineMs;
    while (outcomes.size < probes.length) {
      for (const [probe, socket] of connecting)
        if (!outcomes.has(probe) && socket.isConnected()) outcomes.set(probe, true);
      this.#collect((key) => decide(key, true));
      events.drain(({ kind, key }) => {
        const { protocol, source, sourcePort, destination, destinationPort } = key;
        if (kind === 'deny') decide(keyOf(protocol, source, sourcePort, destination, destinationPort), false);
      }, 1_000_000);
      if (Date.now() > end) assert.fail(`${probes.length - outcomes.size} probes neither arrived nor were denied`);
      await setImmediate();
      // Denials are told up to a bound per second: what was not told is tried once more.
      if (this.#suppressed() === suppressed) continue;
      suppressed = this.#suppressed();
      send();
    }
    for (const [, socket] of connecting) socket.abort();
    for (const { listeners } of this.#attached.values()) for (const listener of listeners) listener.drain();
    return outcomes;
  }

  /** Datagrams and packets of SCTP that came to pods. */
  #collect(arrived: (key: string) => void): void {
    for (const { ip, datagrams, raw } of this.#attached.values()) {
      for (const [index, socket] of datagrams.entries())
        for (const { source, sourcePort } of drained(socket))
          arrived(keyOf(protocols.udp, source, sourcePort, ip, served[index]!));
      for (const { source, bytes } of drained(raw)) {
        const sctp = bytes.subarray((bytes[0]! & 15) * 4);
        arrived(keyOf(protocols.sctp, source, sctp.readUInt16BE(0), ip, sctp.readUInt16BE(2)));
      }
    }
  }

  #suppressed(): bigint {
    return this.#kernel.maps.counters().get('events_suppressed')!;
  }

  #send({ protocol, port }: Probe, from: Attached, to: Attached, sourcePort: number): Socket {
    return this.#inside(from.namespace, () => {
      if (protocol === protocols.tcp) return new Socket('stream').bind(from.ip, sourcePort).connect(to.ip, port);
      if (protocol === protocols.udp) {
        const socket = new Socket('datagram').bind(from.ip, sourcePort);
        socket.send(Buffer.from('probe'), to.ip, port);
        return socket;
      }
      const socket = new Socket('raw', protocol);
      socket.send(sctpMessage(sourcePort, port, chunk.init), to.ip, 0);
      return socket;
    });
  }

  async #attach({ key, ip }: Pod): Promise<void> {
    const slot = this.#attached.size + 1;
    const [mac, gatewayMac] = [0, 1].map((side) => `02:00:00:00:0${side}:${slot.toString(16).padStart(2, '0')}`) as [
      string,
      string,
    ];
    const namespace = this.#namespaces.make(`pod${slot}`);
    const name = `bhN-${slot}`;
    const { routes, maps, links } = this.#kernel;
    const made = await routes.createVeth({ name, peer: 'eth0', mac: gatewayMac, peerMac: mac, mtu: 1500 });
    run('ip', 'link', 'set', 'dev', 'eth0', 'netns', namespace);
    maps.setAddress(ip, { kind: 'endpoint', slot });
    links.attach(made.ifindex, 'workload');
    await routes.setUp(name, true);
    const sockets = this.#inside(namespace, () => {
      run('ip', 'address', 'add', `${ip}/32`, 'dev', 'eth0');
      run('ip', 'link', 'set', 'dev', 'eth0', 'up');
      run('ip', 'route', 'add', gateway, 'dev', 'eth0');
      run('ip', 'route', 'add', 'default', 'via', gateway, 'dev', 'eth0');
      run('ip', 'neighbour', 'replace', gateway, 'lladdr', gatewayMac, 'dev', 'eth0', 'nud', 'permanent');
      return {
        listeners: served.map((port) => new Socket('stream').bind(ip, port).listen()),
        datagrams: served.map((port) => new Socket('datagram').bind(ip, port)),
        raw: new Socket('raw', protocols.sctp),
      };
    });
    this.#attached.set(key, { slot, ip, ifindex: made.ifindex, namespace, mac, ...sockets });
  }

  #setRules(pod: Attached, identity: IdentityId, roots: PortRoot[], keys: RowKey[]): void {
    const { maps } = this.#kernel;
    const ruleset = ++this.#rulesets;
    const compiled = this.#compiler.subject(identity)!;
    for (const direction of ['egress', 'ingress'] as const) {
      const { rows, others } = compiled[direction];
      for (const [peer, table] of [[0, others] as const, ...rows]) {
        const root = maps.addPortTable(kernelTable(table));
        roots.push(root);
        keys.push({ ruleset, direction, peer });
        maps.setRows([{ ruleset, direction, peer, root }]);
      }
    }
    maps.setEndpoint({
      ...{ slot: pod.slot, ifindex: pod.ifindex, kind: 'veth', state: 'governed', identity, ruleset },
      ...{ epoch: this.#rulesets % 2 ** 16, generation: 1, mac: pod.mac, gatewayMac: '02:00:00:00:02:01' },
      ...{ ipv4: pod.ip, ipv6: null, mtu: 1500, connectionsMax: 10_000 },
    });
  }

  #identity({ key }: Pod): IdentityId {
    return (identityFirst + this.#attached.get(key)!.slot) as IdentityId;
  }
  #inside<T>(namespace: string, action: () => T): T {
    return this.#namespaces.inside(namespace, this.#home, action);
  }
  #nextPort(): number {
    if (++this.#clientPort > 60_000) this.#clientPort = clientPortFirst;
    return this.#clientPort;
  }
}

function keyOf(protocol: number, source: string, sourcePort: number, destination: string, port: number): string {
  return `${protocol} ${source}:${sourcePort} ${destination}:${port}`;
}

function drained(socket: Socket): readonly Received[] {
  const all: Received[] = [];
  for (let received = socket.receive(); received !== null; received = socket.receive()) all.push(received);
  return all;
}

function kernelTable({ ranges, otherwise }: PortTable): Parameters<LinuxKernel['maps']['addPortTable']>[0] {
  const verdict = ({ action }: SideVerdict) => ({ action, rule });
  return {
    ranges: ranges.map(({ verdict: each, ...range }) => ({ ...range, verdict: verdict(each) })),
    otherwise: verdict(otherwise),
  };
}
