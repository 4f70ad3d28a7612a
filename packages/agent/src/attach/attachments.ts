/** Everything that attaches workloads on this host, put together: one table of the host's, one resolver, Docker, and attachments by hand. */
import { readFileSync } from 'node:fs';
import type { AttachContext, Attachment, AttachmentFactory, LocalEndpoint } from '../model.ts';
import { DivergenceWatch } from '../divergence/watch.ts';
import { HostNetwork } from '../nat/host-network.ts';
import { ResolverListeners } from '../resolver/listeners.ts';
import { nameTable, type NamedEndpoint, type NameTable, type PrivateName } from '../resolver/names.ts';
import { Resolver } from '../resolver/resolver.ts';
import { upstreamServers, type UpstreamServer } from '../resolver/upstream.ts';
import { DockerAttachment, dockerDefaults, type DockerOptions } from './docker/docker-attachment.ts';
import { HandAttachment } from './netns/hand-attachment.ts';
import { contains, parseAddress, parseNetwork } from './network-address.ts';

export interface AttachmentsOptions {
  /** Null on a host without Docker. */
  readonly docker: DockerOptions | null;
  /** Where the host's name servers stand. */
  readonly resolvConf: string;
}

export const attachmentsDefaults: AttachmentsOptions = { docker: dockerDefaults, resolvConf: '/etc/resolv.conf' };

const resolvConfMs = 10_000;
/** How often the host's table is looked for: a restarted firewall service flushes all tables, ours with them. */
const verifyMs = 10_000;

export function attachments(options: AttachmentsOptions = attachmentsDefaults): AttachmentFactory {
  return (context) => Attachments.open(context, options);
}

class Attachments implements Attachment {
  readonly commands = new Map<string, (argument: unknown) => Promise<unknown>>();
  readonly #context: AttachContext;
  readonly #options: AttachmentsOptions;
  readonly #resolver: Resolver;
  readonly #listeners: ResolverListeners;
  readonly #hostNetwork: HostNetwork;
  readonly #unsubscribe: () => void;
  #parts: readonly Attachment[] = [];
  #docker: DockerAttachment | null = null;
  #timer: NodeJS.Timeout | null = null;
  #divergence: DivergenceWatch | null = null;
  #names: NameTable | null = null;
  #byAddress: ReadonlyMap<string, LocalEndpoint> | null = null;
  #upstream: { readonly servers: readonly UpstreamServer[]; readonly readMs: number } = {
    servers: [],
    readMs: -Infinity,
  };

  static async open(context: AttachContext, options: AttachmentsOptions): Promise<Attachments> {
    const attachments = new Attachments(context, options);
    try {
      await attachments.#start();
      return attachments;
    } catch (error) {
      await attachments[Symbol.asyncDispose]();
      throw error;
    }
  }

  private constructor(context: AttachContext, options: AttachmentsOptions) {
    const { registry, kernel, nowMs } = context;
    const log = context.log.child({ part: 'attach' });
    this.#context = context;
    this.#options = options;
    this.#resolver = new Resolver({
      ...{ log, nowMs },
      askerOf: (address) => this.#askerOf(address),
      names: () => (this.#names ??= this.#nameTable()),
      isOwn: (address) => this.#isOwn(address),
      upstream: () => this.#upstreamServers(),
      mayForward: (workload, server) =>
        context.allows({ workload, address: server.address, protocol: 'udp', port: server.port }),
      mayResolve: () => true,
      onAnswer: (workload, asked, message) => context.learn(workload, asked, message),
    });
    this.#listeners = new ResolverListeners(this.#resolver, log);
    this.#hostNetwork = new HostNetwork({
      ...{ routes: kernel.routes, log },
      setHostAddresses: (owner, addresses) => registry.setHostAddresses(owner, addresses),
      setPublished: (ports) => registry.setPublished(ports),
      onGateways: (gateways) => this.#listeners.listenOn(gateways),
    });
    this.#unsubscribe = registry.onChange(() => this.#forgetNames());
  }

  async #start(): Promise<void> {
    const quarantineMs = this.#options.docker?.quarantineMs ?? dockerDefaults.quarantineMs;
    const hand = await HandAttachment.open(this.#context, this.#hostNetwork, quarantineMs);
    this.#parts = [hand];
    if (this.#options.docker !== null) {
      this.#docker = await DockerAttachment.open(this.#context, this.#hostNetwork, this.#options.docker, () =>
        this.#forgetNames(),
      );
      this.#parts = [hand, this.#docker];
    } else await this.#hostNetwork.verify();
    this.#timer = setInterval(() => void this.#verifyHost(), verifyMs);
    this.#timer.unref();
    this.#divergence = new DivergenceWatch(this.#context, () => {
      const docker = this.#docker === null ? [] : this.#docker.beliefs();
      return docker === null ? null : [...docker, ...hand.beliefs()];
    });
    this.commands.set('divergence-now', () => this.#divergence!.round());
    for (const part of this.#parts) for (const [name, command] of part.commands) this.commands.set(name, command);
    this.commands.set('resolver-status', () =>
      Promise.resolve({ addresses: this.#listeners.addresses(), ...this.#resolver.counters }),
    );
  }

  async resync(): Promise<void> {
    for (const part of this.#parts) await part.resync();
  }

  async adopt(workload: string, mode: 'observe' | 'enforce' | 'release'): Promise<boolean> {
    for (const part of this.#parts) if (await part.adopt(workload, mode)) return true;
    return false;
  }

  /** The table and the gateways stay, as the programs do: what was allowed goes on, what was denied stays denied. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#unsubscribe();
    await this.#divergence?.[Symbol.asyncDispose]();
    for (const part of this.#parts) await part[Symbol.asyncDispose]();
    await this.#listeners[Symbol.asyncDispose]();
  }

  async #verifyHost(): Promise<void> {
    try {
      await this.#hostNetwork.verify();
    } catch (error) {
      this.#context.log.error({ error: String(error) }, 'the host’s table could not be verified');
    }
  }

  #forgetNames(): void {
    this.#names = null;
    this.#byAddress = null;
  }

  #askerOf(address: string): { readonly workload: string; readonly network: string } | null {
    this.#byAddress ??= new Map(
      this.#context.registry
        .endpoints()
        .flatMap((endpoint) =>
          [endpoint.ipv4, endpoint.ipv6].flatMap((own) => (own === null ? [] : [[own, endpoint] as const])),
        ),
    );
    const endpoint = this.#byAddress.get(address);
    return endpoint === undefined || endpoint.workload === null
      ? null
      : { workload: endpoint.workload, network: endpoint.network };
  }

  #nameTable(): NameTable {
    const endpoints: NamedEndpoint[] = [];
    const privately: PrivateName[] = [];
    const { registry } = this.#context;
    for (const endpoint of registry.endpoints()) {
      const workload = endpoint.workload === null ? undefined : registry.workload(endpoint.workload);
      if (workload === undefined) continue;
      const facts = this.#docker?.book.factsOf(workload.workload);
      const found =
        facts?.network.kind === 'own'
          ? facts.network.interfaces.find(({ networkId }) => networkId === endpoint.network)
          : undefined;
      const names = found?.names ?? [workload.name.toLowerCase()];
      const addresses = [endpoint.ipv4, endpoint.ipv6].filter((address) => address !== null);
      endpoints.push({ network: endpoint.network, workload: workload.workload, names, addresses });
      for (const [name, target] of found?.links ?? []) privately.push({ workload: workload.workload, name, target });
    }
    return nameTable(endpoints, privately);
  }

  #isOwn(text: string): boolean {
    const address = parseAddress(text);
    if (address === null) return false;
    return this.#hostNetwork.networks().some((network) => contains(parseNetwork(network.cidr)!, address));
  }

  /** Read again now and then: a laptop or a DHCP client changes it. Loopback servers are fine, since the agent asks from the host. */
  #upstreamServers(): readonly UpstreamServer[] {
    const nowMs = this.#context.nowMs();
    if (nowMs - this.#upstream.readMs > resolvConfMs) {
      let servers: readonly UpstreamServer[] = [];
      try {
        servers = upstreamServers(readFileSync(this.#options.resolvConf, 'utf8'));
      } catch (error) {
        this.#context.log.warn({ error: String(error) }, 'no name servers of the host: only names of networks resolve');
      }
      this.#upstream = { servers, readMs: nowMs };
    }
    return this.#upstream.servers;
  }
}
