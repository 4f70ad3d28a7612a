/**
 * A host for the oracle: endpoints on veths that lead nowhere, whose packets are test runs of the real programs over real maps. Compiled tables
 * are written with a numbering of this file's own, so that nothing of the agent takes part.
 */
import {
  openLinuxKernel,
  type EndpointEntry,
  type KernelPortTable,
  type LearntEntry,
  type LinuxKernel,
  type PortRoot,
} from '@bulkhead/kernel';
import {
  type CompiledDirection,
  type CompiledSubject,
  type CidrPeer,
  type PortTable,
  reasonText,
  type SideVerdict,
} from '@bulkhead/policy';
import { rmSync } from 'node:fs';
import { Namespaces, run } from '../datapath/sockets.ts';

export interface Member {
  readonly slot: number;
  readonly ifindex: number;
  readonly mac: string;
  readonly gatewayMac: string;
  readonly ipv4: string;
  readonly ipv6: string;
}

export const hostAddresses = ['10.200.255.1', 'fd77::ffff'] as const;

export class OracleHost implements AsyncDisposable {
  readonly kernel: LinuxKernel;
  members: readonly Member[] = [];
  readonly #namespaces: Namespaces;
  readonly #pinRoot: string;
  readonly #reasons: string[] = ['builtin:unknown'];
  readonly #numbers = new Map<string, number>();
  #rulesets = 0;
  #release: () => void = () => undefined;

  private constructor(kernel: LinuxKernel, namespaces: Namespaces, pinRoot: string) {
    this.kernel = kernel;
    this.#namespaces = namespaces;
    this.#pinRoot = pinRoot;
  }

  static async open(count: number): Promise<OracleHost> {
    const namespaces = new Namespaces();
    namespaces.enter(namespaces.make('oracle'));
    const pinRoot = `/sys/fs/bpf/bhO-${process.pid}`;
    const kernel = openLinuxKernel({ pinRoot });
    const host = new OracleHost(kernel, namespaces, pinRoot);
    try {
      await host.#furnish(count);
      return host;
    } catch (error) {
      await host[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #furnish(count: number): Promise<void> {
    const { kernel } = this;
    kernel.programs.load();
    kernel.maps.setConfig({
      revision: 1,
      puntIfindex: 0,
      overlayIfindex: 0,
      puntRate: 1000,
      puntBurst: 1000,
      gatewayIpv4: null,
      gatewayIpv6: null,
    });
    for (const address of hostAddresses) kernel.maps.setAddress(address, { kind: 'host' });
    for (let slot = 1; slot <= count; slot++)
      run('ip', 'link', 'add', `d${slot}`, 'type', 'veth', 'peer', 'name', `p${slot}`);
    const interfaces = await kernel.routes.interfaces();
    const members = Array.from({ length: count }, (_, index) => {
      const slot = index + 1;
      const ifindex = interfaces.find(({ name }) => name === `d${slot}`)!.ifindex;
      return {
        slot,
        ifindex,
        mac: `02:00:00:00:00:0${slot}`,
        gatewayMac: `02:00:00:00:01:0${slot}`,
        ipv4: `10.200.0.${slot}`,
        ipv6: `fd77::${slot}`,
      };
    });
    for (const { slot, ipv4, ipv6 } of members) {
      kernel.maps.setAddress(ipv4, { kind: 'endpoint', slot });
      kernel.maps.setAddress(ipv6, { kind: 'endpoint', slot });
    }
    this.members = members;
  }

  /** Puts one compiled policy in force: every member gets the tables of its identity. What was in force before is gone. */
  govern(subjects: ReadonlyMap<Member, CompiledSubject>, cidrs: readonly CidrPeer[]): void {
    const { maps } = this.kernel;
    const before = this.#release;
    const roots: PortRoot[] = [];
    const keys: { ruleset: number; direction: 'egress' | 'ingress'; peer: number }[] = [];
    for (const [member, compiled] of subjects) {
      const ruleset = ++this.#rulesets;
      for (const direction of ['egress', 'ingress'] as const) {
        for (const [peer, table] of rowsOf(compiled[direction])) {
          const root = maps.addPortTable(this.#kernelTable(table));
          roots.push(root);
          keys.push({ ruleset, direction, peer });
          maps.setRows([{ ruleset, direction, peer, root }]);
        }
      }
      maps.setEndpoint(this.#entry(member, compiled.identity, ruleset));
    }
    before();
    maps.setCidrs(cidrs);
    this.#release = () => {
      maps.removeRows(keys);
      maps.removeCidrs(cidrs.map(({ cidr }) => cidr));
      for (const root of roots) maps.releasePortTable(root);
    };
  }

  /** What members learnt by names, with the peers of the compiler; takes the place of what they learnt before. */
  learn(learnt: readonly LearntEntry[]): void {
    const { maps } = this.kernel;
    maps.removeLearnt(maps.learnt());
    maps.setLearnt(learnt);
  }

  reasonOf(rule: number): string {
    return this.#reasons[rule] ?? `rule ${rule} that nobody wrote`;
  }

  #entry(member: Member, identity: number, ruleset: number): EndpointEntry {
    const isHost = member.slot === this.kernel.maps.limits.hostSlot;
    return {
      ...member,
      // The host's own end has no interface.
      ...(isHost ? { kind: 'host', ifindex: 0, ipv4: null, ipv6: null } : { kind: 'veth' }),
      state: 'governed',
      identity,
      ruleset,
      epoch: 1,
      generation: 1,
      mtu: 1500,
      connectionsMax: 100_000,
      learns: true,
    };
  }

  #kernelTable(table: PortTable): KernelPortTable {
    return {
      ranges: table.ranges.map(({ verdict, ...range }) => ({ ...range, verdict: this.#verdict(verdict) })),
      otherwise: this.#verdict(table.otherwise),
    };
  }

  #verdict({ action, reason, live }: SideVerdict): KernelPortTable['otherwise'] {
    const text = reasonText(reason);
    const rule = this.#numbers.get(text) ?? this.#reasons.push(text) - 1;
    this.#numbers.set(text, rule);
    return live === undefined ? { action, rule } : { action, rule, live };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.kernel.programs.unload();
    await this.kernel[Symbol.asyncDispose]();
    rmSync(this.#pinRoot, { recursive: true, force: true });
    this.#namespaces[Symbol.dispose]();
  }
}

function* rowsOf(direction: CompiledDirection): Generator<readonly [number, PortTable]> {
  yield [0, direction.others];
  yield* direction.rows;
}
