/** Two namespaces behind governed veths, whose own stacks speak to one another through the programs. */
import { openLinuxKernel, type EndpointEntry, type KernelPortTable, type LinuxKernel } from '@bulkhead/kernel';
import { execFile } from 'node:child_process';
import { rmSync } from 'node:fs';
import process from 'node:process';
import { run } from './own-namespace.ts';

export interface Workload {
  readonly endpoint: EndpointEntry;
  readonly namespace: string;
}

const network = '10.88.0';
export const always = (action: 'allow' | 'deny' | 'ask' | 'reject', rule: number): KernelPortTable => ({
  ranges: [],
  otherwise: { action, rule },
});

let made = 0;

export class TwoWorkloads implements AsyncDisposable {
  kernel: LinuxKernel;
  readonly pinRoot: string;
  readonly workloads: Workload[] = [];
  readonly #objectDirectory: string | undefined;

  private constructor(pinRoot: string, objectDirectory: string | undefined, mechanism: 'tcx' | 'clsact') {
    this.pinRoot = pinRoot;
    this.#objectDirectory = objectDirectory;
    this.kernel = this.openKernel(mechanism);
  }

  /** Opens the installation (again): what an agent that starts anew does. */
  openKernel(mechanism: 'tcx' | 'clsact', objectDirectory = this.#objectDirectory): LinuxKernel {
    const objects = objectDirectory === undefined ? {} : { objectDirectory };
    return openLinuxKernel({ pinRoot: this.pinRoot, mechanism, puntName: 'bhBpunt', ...objects });
  }

  static async make(options: {
    readonly mechanism?: 'tcx' | 'clsact';
    readonly table: KernelPortTable;
    readonly objectDirectory?: string;
  }): Promise<TwoWorkloads> {
    made += 1;
    const pinRoot = `/sys/fs/bpf/bhB-${process.pid}-w${made}`;
    const both = new TwoWorkloads(pinRoot, options.objectDirectory, options.mechanism ?? 'tcx');
    const { kernel } = both;
    kernel.programs.load();
    both.configure(0);
    kernel.maps.heartbeat();
    const root = kernel.maps.addPortTable(options.table);
    kernel.maps.setRows(
      (['egress', 'ingress'] as const).map((direction) => ({ ruleset: 1, direction, peer: 0, root })),
    );
    for (const slot of [1, 2]) await both.#add(slot);
    return both;
  }

  configure(puntIfindex: number): void {
    this.kernel.maps.setConfig({
      revision: 1,
      puntIfindex,
      overlayIfindex: 0,
      puntRate: 1000,
      puntBurst: 1000,
      gatewayIpv4: null,
      gatewayIpv6: null,
    });
  }

  async #add(slot: number): Promise<void> {
    const name = `bhBw${made}h${slot}`;
    const peer = `bhBw${made}c${slot}`;
    const namespace = `bhB-${process.pid}-${made}-${slot}`;
    const mac = `02:00:00:00:0b:0${slot}`;
    const gatewayMac = `02:00:00:00:0c:0${slot}`;
    run('ip', 'netns', 'add', namespace);
    const veth = await this.kernel.routes.createVeth({ name, peer, mac: gatewayMac, peerMac: mac, mtu: 1500 });
    run('ip', 'link', 'set', 'dev', peer, 'netns', namespace);
    this.inside(namespace, 'ip', 'address', 'add', `${network}.${slot}/24`, 'dev', peer);
    const endpoint: EndpointEntry = {
      slot,
      ifindex: veth.ifindex,
      kind: 'veth',
      state: 'governed',
      identity: 300 + slot,
      ruleset: 1,
      epoch: 1,
      generation: 1,
      mac,
      gatewayMac,
      ipv4: `${network}.${slot}`,
      ipv6: null,
      mtu: 1500,
      connectionsMax: 10_000,
    };
    this.kernel.maps.setEndpoint(endpoint);
    this.kernel.maps.setAddress(endpoint.ipv4!, { kind: 'endpoint', slot });
    this.kernel.links.attach(veth.ifindex, 'workload');
    await this.kernel.routes.setUp(name, true);
    this.inside(namespace, 'ip', 'link', 'set', 'dev', peer, 'up');
    this.workloads.push({ endpoint, namespace });
  }

  inside(namespace: string, ...words: readonly string[]): string {
    return run('nsenter', `--net=/run/netns/${namespace}`, ...words);
  }
  /** Starts a command in a workload's namespace; its output when it ends, whatever its exit code. */
  start(index: number, ...words: readonly string[]): Promise<string> {
    const { namespace } = this.workloads[index]!;
    return new Promise((resolve) => {
      execFile('nsenter', [`--net=/run/netns/${namespace}`, ...words], (_error, output, complaint) =>
        resolve(output + complaint),
      );
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { namespace } of this.workloads) run('ip', 'netns', 'delete', namespace);
    this.kernel.programs.unload();
    await this.kernel[Symbol.asyncDispose]();
    rmSync(this.pinRoot, { recursive: true, force: true });
  }
}
