/** Docker as an attachment: the plugin, the engine's inventory, adoption, and what of them has to outlive the agent. */
import { basename } from 'node:path';
import type { AttachContext, Attachment } from '../../model.ts';
import type { HostNetwork, HostWish } from '../../nat/host-network.ts';
import type { Belief } from '../../divergence/watch.ts';
import { dockerBeliefs } from './beliefs.ts';
import { AddressBook } from './address-book.ts';
import { Adoption } from './adoption.ts';
import type { ContainerFacts } from './container-facts.ts';
import { openDockerRecords, type DockerRecords, type EndpointRecord } from './docker-records.ts';
import { EngineApi } from './engine-api.ts';
import { heldThings, isKnown, type HeldThing, type Seen } from './orphans.ts';
import { EngineWatch } from './engine-watch.ts';
import { NetworkDriver } from './network-driver.ts';
import { pluginMethods, type PluginScope } from './plugin-methods.ts';
import { servePlugin, type PluginServer } from './plugin-server.ts';
import { portIsFree } from './published-ports.ts';
import { WorkloadBook } from './workload-book.ts';

export interface DockerOptions {
  readonly engineSocket: string;
  /** Its name without `.sock` is the name of the driver, for both `--driver` and `--ipam-driver`. */
  readonly pluginSocket: string;
  readonly scope: PluginScope;
  readonly quarantineMs: number;
}

export const dockerDefaults: DockerOptions = {
  engineSocket: '/run/docker.sock',
  pluginSocket: '/run/docker/plugins/bulkhead.sock',
  scope: 'local',
  quarantineMs: 60_000,
};

/** What the engine does not know for so long is not its any more: it crashed between asking us and writing it down. */
const orphanMs = 60_000;
const resyncEveryMs = 300_000;

export class DockerAttachment implements Attachment {
  readonly commands = new Map<string, (argument: unknown) => Promise<unknown>>();
  readonly driver: NetworkDriver;
  readonly book: WorkloadBook;
  readonly #context: AttachContext;
  readonly #hostNetwork: HostNetwork;
  readonly #addresses: AddressBook;
  readonly #adoption: Adoption;
  readonly #watch: EngineWatch;
  readonly #missing = new Map<string, number>();
  readonly #onChange: () => void;
  readonly #driverName: string;
  #server: PluginServer | null = null;
  #timer: NodeJS.Timeout | null = null;

  /** Answers the engine when it returns. Works without an engine, which may come later. */
  static async open(
    context: AttachContext,
    hostNetwork: HostNetwork,
    options: DockerOptions,
    onChange: () => void,
  ): Promise<DockerAttachment> {
    const attachment = new DockerAttachment(context, hostNetwork, options, onChange);
    await attachment.#start(options);
    return attachment;
  }

  private constructor(context: AttachContext, hostNetwork: HostNetwork, options: DockerOptions, onChange: () => void) {
    const { state, registry, nowMs, host } = context;
    const { routes } = context.kernel;
    const log = context.log.child({ part: 'docker' });
    const records: DockerRecords = openDockerRecords(state);
    this.#context = context;
    this.#hostNetwork = hostNetwork;
    this.#onChange = onChange;
    this.#driverName = basename(options.pluginSocket).replace(/\.sock$/, '');
    const driver = this.#driverName;
    this.#addresses = new AddressBook({ ...records, state, quarantineMs: options.quarantineMs, nowMs });
    this.#adoption = new Adoption({ registry, routes, records: records.adopted, driver });
    const adoptedMode = (endpoint: string) => this.#adoption.mode(endpoint);
    this.book = new WorkloadBook({ host, driver, registry, containers: records.containers, log, adoptedMode });
    this.driver = new NetworkDriver({
      ...{ records, registry, routes, log, nowMs, portIsFree },
      applyHost: () => this.#applyHost(),
      onJoined: (endpoint) => this.#watch.endpointJoined(endpoint),
    });
    this.#watch = new EngineWatch({
      ...{ api: new EngineApi(options.engineSocket), book: this.book, driver, log },
      endpoint: (endpoint) => this.driver.endpoint(endpoint),
      isBound: (endpoint) => (registry.endpoint(endpoint)?.workload ?? null) !== null,
      onChange: () => {
        this.#onChange();
        void this.#pruneAdoptions();
      },
      onSynced: (seen) => this.#afterSync(seen),
    });
  }

  async #start(options: DockerOptions): Promise<void> {
    // Endpoints first, then the host's table, and only then the engine: it finds everything as it left it.
    await this.driver.restore();
    await this.#applyHost();
    const log = this.#context.log.child({ part: 'plugin' });
    this.#server = await servePlugin(
      options.pluginSocket,
      pluginMethods(this.driver, this.#addresses, options.scope),
      log,
    );
    this.#watch.start();
    this.#timer = setInterval(() => void this.resync().catch(() => undefined), resyncEveryMs);
    this.#timer.unref();
    this.commands.set('docker-status', () => Promise.resolve(this.#status()));
  }

  resync(): Promise<void> {
    return this.#watch.resync();
  }

  /** What the engine believes; null until all of it was seen once, and while it is away. */
  beliefs(): readonly Belief[] | null {
    return this.#watch.synced && this.#watch.connected ? dockerBeliefs(this.book, this.#driverName) : null;
  }

  async adopt(workload: string, mode: 'observe' | 'enforce' | 'release'): Promise<boolean> {
    const prefix = this.book.workloadId('');
    if (!workload.startsWith(prefix)) return false;
    const facts = this.book.facts(workload.slice(prefix.length));
    if (facts === undefined) return false;
    if (mode === 'release') await this.#adoption.releaseAll(workload);
    else await this.#adoption.adopt(facts, workload, mode);
    this.book.governanceChanged(facts.container);
    this.#onChange();
    return true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer);
    await this.#server?.[Symbol.asyncDispose]();
    await this.#watch[Symbol.asyncDispose]();
  }

  #applyHost(): Promise<void> {
    return this.#hostNetwork.set('docker', hostWish(this.driver));
  }

  async #afterSync(seen: Seen): Promise<void> {
    await this.#pruneAdoptions();
    for (const record of this.#adoption.records()) {
      const workload = this.#context.registry.workload(record.workload);
      if (workload !== undefined) this.#adoption.bind(record.endpoint, workload);
    }
    await this.#forgetOrphans(seen);
    // An engine that has just started may have made its own rules anew.
    await this.#hostNetwork.verify();
  }

  /** An adoption ends with its interface. Before all of the engine was seen nothing is known to be gone. */
  async #pruneAdoptions(): Promise<void> {
    if (!this.#watch.synced || this.#adoption.records().length === 0) return;
    const running = this.book.containers().filter((facts) => facts.running);
    await this.#adoption.keepOnly(new Set(running.flatMap(endpointsOf)));
  }

  /** What the engine asked for and never wrote down, because it crashed in between. */
  async #forgetOrphans(seen: Seen): Promise<void> {
    const nowMs = this.#context.nowMs();
    const held = heldThings(this.driver, this.#addresses);
    const known = new Set(
      held.filter((thing) => isKnown(thing, seen, this.#driverName, this.driver)).map(({ key }) => key),
    );
    const present = new Set(held.map(({ key }) => key));
    for (const key of this.#missing.keys()) if (!present.has(key) || known.has(key)) this.#missing.delete(key);
    for (const thing of held) {
      if (known.has(thing.key)) continue;
      const since = this.#missing.get(thing.key) ?? nowMs;
      this.#missing.set(thing.key, since);
      if (nowMs - since < orphanMs) continue;
      this.#context.log.warn({ what: thing.key }, 'the engine does not know it: forgotten');
      await this.#forget(thing);
      this.#missing.delete(thing.key);
    }
  }

  async #forget(thing: HeldThing): Promise<void> {
    switch (thing.kind) {
      case 'endpoint':
        await this.driver.deleteEndpoint(thing.endpoint);
        break;
      case 'network':
        await this.driver.deleteNetwork(thing.network);
        break;
      case 'pool':
        this.#addresses.releasePool(thing.poolId);
        break;
      case 'address':
        this.#addresses.releaseAddress(thing.poolId, thing.address);
        break;
    }
  }

  #status(): object {
    return {
      engine: this.#watch.connected ? 'connected' : 'away',
      driver: this.#driverName,
      containers: this.book.containers().length,
      networks: this.driver.networks(),
      endpoints: this.driver.endpoints().map((endpoint) => statusOf(endpoint)),
    };
  }
}

function statusOf(endpoint: EndpointRecord): object {
  const { network, ipv4, ipv6, mac, interfaceName, published } = endpoint;
  return { endpoint: endpoint.endpoint, network, ipv4, ipv6, mac, interfaceName, published };
}

const endpointsOf = (facts: ContainerFacts): readonly string[] =>
  facts.network.kind === 'own' ? facts.network.interfaces.map((found) => found.endpoint) : [];

function hostWish(driver: NetworkDriver): HostWish {
  const networks = driver.networks().flatMap((network) =>
    [network.ipv4, network.ipv6].flatMap((family) =>
      family === null
        ? []
        : [
            {
              cidr: family.network,
              gateway: family.gateway,
              masquerade: network.masquerade,
              internal: network.internal,
            },
          ],
    ),
  );
  const published = driver.endpoints().flatMap((endpoint) =>
    endpoint.published.flatMap((port) =>
      [endpoint.ipv4, endpoint.ipv6].flatMap((address) => {
        const fits =
          address !== null && (port.hostAddress === '' || port.hostAddress.includes(':') === address.includes(':'));
        return fits ? [{ ...port, address }] : [];
      }),
    ),
  );
  return { networks, published, interfaces: [] };
}
