/** A host with an uplink that is a subject itself, and sockets of its own: the surroundings of tests about the host's own end. */
import { createSocket, type Socket as DatagramSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import type { Connection, KernelPortTable, PuntDevice } from '@bulkhead/kernel';
import { ip, type Ends, type Seen } from './frames.ts';
import { hostAddress, inbound, openWithLan, type Surroundings } from './lan.ts';
import { denyRule, drained, type Machine, type Policy, type Workload } from './machine.ts';
import { type FrameSocket, run } from './sockets.ts';

export const hostSix = 'fd99::1';
export const strangerSix = 'fd98::9';
/** Where the host's own sockets listen, TCP and UDP. */
export const listening = 5000;

/** Tables that let one port in, or out. */
export function only(protocol: number, from: number, action: 'allow' | 'ask' = 'allow', rule = 61): KernelPortTable {
  return {
    ranges: [{ protocol, from, to: from, verdict: { action, rule } }],
    otherwise: { action: 'deny', rule: denyRule },
  };
}

/** IPv6 fragments have a header of their own. */
export function fragmentSix(
  ends: Ends,
  protocol: number,
  piece: Uint8Array,
  options: { readonly id: number; readonly offset: number; readonly more: boolean },
): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt16BE(options.offset | (options.more ? 1 : 0), 2);
  bytes.writeUInt32BE(options.id, 4);
  return ip(ends, protocol, piece, { extensions: [{ type: 44, bytes }] });
}

export function toHost(version: 4 | 6 = 4): Ends {
  return version === 4 ? inbound() : inbound(strangerSix, hostSix);
}

export function outOfHost({ source }: Seen): boolean {
  return source === hostAddress || source === hostSix;
}

export class HostSide implements AsyncDisposable {
  readonly machine: Machine;
  readonly a: Workload;
  readonly b: Workload;
  readonly lan: FrameSocket;
  readonly uplink: number;
  readonly device: PuntDevice;
  readonly hostSlot: number;
  /** What the host's sockets were told. */
  heard: string[] = [];
  readonly accepted: Socket[] = [];
  readonly #server: Server;
  readonly #datagrams: DatagramSocket;

  private constructor({ machine, a, b, lan, uplink }: Surroundings, device: PuntDevice) {
    this.machine = machine;
    this.a = a;
    this.b = b;
    this.lan = lan;
    this.uplink = uplink;
    this.device = device;
    this.hostSlot = machine.kernel.maps.limits.hostSlot;
    this.#server = createServer((socket) => {
      this.accepted.push(socket);
      socket.on('error', () => undefined);
      socket.on('data', (data) => this.heard.push(data.toString()));
    });
    this.#datagrams = createSocket({ type: 'udp6' });
    this.#datagrams.on('message', (message) => this.heard.push(message.toString().slice(0, 20)));
  }

  static async open(): Promise<HostSide> {
    const surroundings = await openWithLan();
    const { machine, uplink } = surroundings;
    // What the host's stack says again by itself would count in whichever test is on when it does.
    run('sysctl', '-qw', 'net.ipv6.conf.up0.accept_dad=0', 'net.ipv4.tcp_synack_retries=0');
    run('ip', 'address', 'add', `${hostSix}/64`, 'dev', 'up0', 'nodad');
    run('ip', 'neighbour', 'replace', 'fd99::2', 'lladdr', '02:00:00:00:02:02', 'dev', 'up0', 'nud', 'permanent');
    run('ip', 'route', 'add', 'default', 'via', 'fd99::2');
    // As the agent's own table: nothing that the programs did not judge for the host reaches it. Connection tracking puts fragments together.
    const unmarked = 'iifname "up0" meta mark & 0x40 == 0';
    const rules = [
      'ct state invalid continue',
      `${unmarked} icmpv6 type != { nd-neighbor-solicit, nd-neighbor-advert } counter drop`,
      `${unmarked} meta l4proto != ipv6-icmp counter drop`,
    ];
    run('nft', `table inet bhahost { chain input { type filter hook input priority -10; ${rules.join('; ')}; }; }`);
    machine.kernel.maps.setAddress(hostSix, { kind: 'host' });
    machine.kernel.links.attach(uplink, 'uplink');
    const device = await machine.kernel.openPuntDevice();
    machine.configure({ puntIfindex: device.ifindex });
    const side = new HostSide(surroundings, device);
    side.#server.listen(listening, '::');
    await once(side.#server, 'listening');
    side.#datagrams.bind(listening, '::');
    await once(side.#datagrams, 'listening');
    return side;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.accepted) socket.destroy();
    this.#server.close();
    this.#datagrams.close();
    this.lan[Symbol.dispose]();
    await this.machine[Symbol.asyncDispose]();
  }

  /** As at the beginning: the host is no subject, the workloads may do nothing. */
  reset(): void {
    const { machine, a, b, lan } = this;
    machine.kernel.maps.removeEndpoint(this.hostSlot);
    machine.kernel.maps.setHostPorts([]);
    for (const socket of this.accepted.splice(0)) socket.resetAndDestroy();
    for (const workload of [a, b]) {
      machine.govern(workload, {});
      machine.setEndpoint(workload, { state: 'governed' });
      drained(workload.link);
    }
    drained(lan);
    machine.events();
    this.heard = [];
  }

  /** The host is a subject, under these rules. */
  govern(policy: Policy): void {
    const { maps } = this.machine.kernel;
    const noMac = '00:00:00:00:00:00';
    maps.setEndpoint({
      ...{ slot: this.hostSlot, ifindex: 0, kind: 'host', state: 'governed', identity: 1, generation: 1 },
      ruleset: this.machine.addRules(policy),
      epoch: (maps.endpoint(this.hostSlot)?.epoch ?? 0) + 1,
      ...{ mac: noMac, gatewayMac: noMac, ipv4: null, ipv6: null, mtu: 1500, connectionsMax: 1000 },
    });
  }

  connectionOf(sourcePort: number): Connection | undefined {
    let found: Connection | undefined;
    this.machine.kernel.maps.forEachConnection((each) => {
      if (each.sourcePort === sourcePort) found = { ...each };
    });
    return found;
  }
}
