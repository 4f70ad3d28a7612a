/** One endpoint whose packets are runs of single frames, for the parts of the contract that look at verdicts. */
import type { Connection, ConnectionKey, EndpointEntry, Kernel, KernelPortTable, PortRoot } from '../port.ts';
import { frameOf, packetOf, type Packet } from '../simulated/frame.ts';
import type { KernelFactory, KernelUnderTest } from './contract.ts';
import { sampleEndpoint } from './samples.ts';

/** Results of a program: to the host's stack, dropped, sent elsewhere. */
export const action = { ok: 0, shot: 2, redirect: 7 } as const;
export const protocolTcp = 6;
export const worldAddress = '198.51.100.7';
const veth = { name: 'bhBj0', peer: 'bhBj1', mac: '02:00:00:00:09:01', peerMac: '02:00:00:00:09:02', mtu: 1500 };

export class JudgedEndpoint {
  readonly #factory: KernelFactory;
  #under: KernelUnderTest | null = null;
  #me: EndpointEntry = sampleEndpoint;
  #nextPort = 1024;

  constructor(factory: KernelFactory) {
    this.#factory = factory;
  }

  get kernel(): Kernel {
    if (this.#under === null) throw new Error('not started');
    return this.#under.kernel;
  }
  /** As it is set at the start, and between tests. */
  get me(): EndpointEntry {
    return this.#me;
  }

  async start(): Promise<void> {
    this.#under = await this.#factory();
    const { kernel } = this;
    kernel.programs.load();
    const made = await kernel.routes.createVeth(veth);
    await kernel.routes.setUp(veth.name, true);
    this.#me = { ...sampleEndpoint, ifindex: made.ifindex };
    kernel.maps.setConfig({
      revision: 4,
      puntIfindex: 0,
      overlayIfindex: 0,
      puntRate: 0,
      puntBurst: 0,
      gatewayIpv4: null,
      gatewayIpv6: null,
    });
    kernel.maps.heartbeat();
    kernel.maps.setEndpoint(this.me);
    for (const address of [this.me.ipv4!, this.me.ipv6!])
      kernel.maps.setAddress(address, { kind: 'endpoint', slot: this.me.slot });
  }

  async end(): Promise<void> {
    this.kernel.programs.unload();
    await this.kernel.routes.deleteInterface(veth.name);
    await this.#under!.dispose();
  }

  /** A connection of its own each time, so that no entry answers in the tables' place. */
  key(rest: Partial<ConnectionKey> = {}): ConnectionKey {
    this.#nextPort = this.#nextPort === 65_535 ? 1024 : this.#nextPort + 1;
    return {
      protocol: protocolTcp,
      source: this.me.ipv4!,
      sourcePort: this.#nextPort,
      destination: worldAddress,
      destinationPort: 443,
      ...rest,
    };
  }

  /** What the program does with a packet that the endpoint sends. */
  run(at: ConnectionKey, rest: Partial<Packet> = {}): number {
    const macs = { sourceMac: this.me.mac, destinationMac: this.me.gatewayMac };
    const frame = frameOf(packetOf(at, { ...macs, ...rest }));
    return this.kernel.programs.testRun('from_workload', frame, { ifindex: this.me.ifindex }).result;
  }

  connections(): Connection[] {
    const found: Connection[] = [];
    this.kernel.maps.forEachConnection((connection) => found.push({ ...connection }));
    return found;
  }
  forgetAll(): void {
    this.kernel.maps.removeConnections(this.connections());
  }

  egress(peer: number, table: KernelPortTable, ruleset = this.me.ruleset): PortRoot {
    const root = this.kernel.maps.addPortTable(table);
    this.kernel.maps.setRows([{ ruleset, direction: 'egress', peer, root }]);
    return root;
  }

  clear(): void {
    const { maps } = this.kernel;
    maps.removeRows(maps.rows());
    maps.removeCidrs(maps.cidrs().map((entry) => entry.cidr));
    this.forgetAll();
  }
}
