/**
 * The network part of the plugin. A request is answered from what is on disk and from the kernel; the engine is never asked back, since
 * it holds its own locks meanwhile. Every method may come twice, late, or for something that is gone already.
 *
 * Order at Join: the interface is made and stays down; the endpoint is in the kernel as *held*, with its programs attached and read
 * back; only then does the link come up. There is no moment in which a packet passes without policy.
 */
import type { Routes } from '@bulkhead/kernel';
import type { Logger } from 'pino';
import type { EndpointRegistry } from '../../model.ts';
import { hostLinkLocal } from '../../nat/host-network.ts';
import { hostNetwork } from '../network-address.ts';
import type { DockerRecords, EndpointRecord, NetworkRecord } from './docker-records.ts';
import { KeyedQueue } from './keyed-queue.ts';
import {
  endpointRecordOf,
  interfaceNames,
  joinResponse,
  networkRecordOf,
  sharesAddress,
  type InterfaceNames,
  type JoinResponse,
} from './network-records.ts';
import { PluginError } from './plugin-server.ts';
import { assignPorts, type PortProbe } from './published-ports.ts';
import type {
  CreateEndpointRequest,
  CreateNetworkRequest,
  ExternalConnectivityRequest,
  JoinRequest,
} from './requests.ts';

export interface NetworkDriverOptions {
  readonly records: DockerRecords;
  readonly registry: EndpointRegistry;
  readonly routes: Routes;
  readonly log: Logger;
  readonly nowMs: () => number;
  readonly portIsFree: PortProbe;
  /** Brings gateways, address translation and resolver in line with the records; returns when the kernel has it. */
  readonly applyHost: () => Promise<void>;
  /** The endpoint's link is up: whose it is can be asked of the engine now. */
  readonly onJoined: (endpoint: EndpointRecord) => void;
}

/** The host's side of every endpoint has this MAC address; the programs answer ARP and ND with it. Locally administered, "bh". */
export const gatewayMac = '02:62:68:00:00:01';
const networksMax = 1024;
const endpointsMax = 65_536;

export class NetworkDriver {
  readonly #options: NetworkDriverOptions;
  readonly #queue = new KeyedQueue();
  readonly #networks: Map<string, NetworkRecord>;
  readonly #endpoints: Map<string, EndpointRecord>;

  constructor(options: NetworkDriverOptions) {
    this.#options = options;
    this.#networks = new Map(options.records.networks.entries());
    this.#endpoints = new Map(options.records.endpoints.entries());
  }

  networks(): readonly NetworkRecord[] {
    return [...this.#networks.values()];
  }
  endpoints(): readonly EndpointRecord[] {
    return [...this.#endpoints.values()];
  }
  endpoint(endpoint: string): EndpointRecord | undefined {
    return this.#endpoints.get(endpoint);
  }

  createNetwork(request: CreateNetworkRequest): Promise<object> {
    return this.#queue.run(request.NetworkID, async () => {
      const record = networkRecordOf(request, this.#options.nowMs());
      if (!this.#networks.has(record.network) && this.#networks.size >= networksMax) {
        throw new PluginError(`no more than ${networksMax} networks`);
      }
      this.#storeNetwork(record);
      try {
        await this.#options.applyHost();
      } catch (error) {
        this.#forgetNetwork(record.network);
        throw error;
      }
      return {};
    });
  }

  deleteNetwork(network: string): Promise<object> {
    return this.#queue.run(network, async () => {
      for (const endpoint of this.endpoints()) if (endpoint.network === network) await this.#remove(endpoint);
      this.#forgetNetwork(network);
      await this.#options.applyHost();
      return {};
    });
  }

  createEndpoint(request: CreateEndpointRequest): Promise<object> {
    return this.#queue.run(request.EndpointID, async () => {
      const network = this.#network(request.NetworkID);
      const record = endpointRecordOf(request, network, this.#options.nowMs());
      if (!this.#endpoints.has(record.endpoint) && this.#endpoints.size >= endpointsMax) {
        throw new PluginError(`no more than ${endpointsMax} endpoints on one host`);
      }
      const holder = this.endpoints().find(
        (other) => other.endpoint !== record.endpoint && sharesAddress(other, record),
      );
      if (holder !== undefined)
        throw new PluginError(`address ${record.ipv4 ?? record.ipv6} is in use by endpoint ${holder.endpoint}`);
      const former = this.#endpoints.get(record.endpoint);
      if (former !== undefined && former.sandbox !== null)
        throw new PluginError(`endpoint ${record.endpoint} is in use`);
      this.#storeEndpoint(record);
      // The engine refuses an answer that repeats what it gave.
      return { Interface: request.Interface?.MacAddress ? {} : { MacAddress: record.mac } };
    });
  }

  deleteEndpoint(endpoint: string): Promise<object> {
    return this.#queue.run(endpoint, async () => {
      const record = this.#endpoints.get(endpoint);
      if (record !== undefined) await this.#remove(record);
      return {};
    });
  }

  join(request: JoinRequest): Promise<JoinResponse> {
    return this.#queue.run(request.EndpointID, async () => {
      const network = this.#network(request.NetworkID);
      const endpoint = this.#known(request.EndpointID);
      const names = interfaceNames(endpoint.endpoint);
      const joined = { ...endpoint, sandbox: request.SandboxKey, interfaceName: names.host };
      // A former attempt was cut short: what it left is in the way.
      if (endpoint.interfaceName !== null) await this.#disconnect(endpoint);
      this.#storeEndpoint(joined);
      try {
        await this.#connect(joined, network, names);
      } catch (error) {
        await this.#disconnect(joined);
        this.#storeEndpoint({ ...this.#known(endpoint.endpoint), sandbox: null, interfaceName: null });
        throw error;
      }
      this.#options.onJoined(joined);
      return joinResponse(network, joined, names.peer);
    });
  }

  leave(endpoint: string): Promise<object> {
    return this.#queue.run(endpoint, async () => {
      const record = this.#endpoints.get(endpoint);
      if (record === undefined) return {};
      await this.#disconnect(record);
      this.#storeEndpoint({ ...this.#known(endpoint), sandbox: null, interfaceName: null });
      return {};
    });
  }

  programExternalConnectivity(request: ExternalConnectivityRequest): Promise<object> {
    // One queue for all: two containers that ask for the same port must see each other.
    return this.#queue.run('published-ports', async () => {
      const endpoint = this.#known(request.EndpointID);
      const bindings = request.Options?.['com.docker.network.portmap'] ?? [];
      const exposed = (request.Options?.['com.docker.network.endpoint.exposedports'] ?? []).map(({ Proto, Port }) => ({
        protocol: Proto,
        port: Port,
      }));
      const taken = this.endpoints()
        .filter((other) => other.endpoint !== endpoint.endpoint)
        .flatMap((other) => other.published);
      const published = await assignPorts(bindings, taken, this.#options.portIsFree, this.#options.nowMs() % 16_384);
      const unchanged = endpoint.published.length === 0 && published.length === 0;
      this.#storeEndpoint({ ...this.#known(request.EndpointID), published: [...published], exposed });
      // Most containers publish nothing: the host's table stays as it is.
      if (unchanged) return {};
      try {
        await this.#options.applyHost();
      } catch (error) {
        this.#storeEndpoint({ ...this.#known(request.EndpointID), published: [] });
        throw error;
      }
      return {};
    });
  }

  revokeExternalConnectivity(endpoint: string): Promise<object> {
    return this.#queue.run('published-ports', async () => {
      const record = this.#endpoints.get(endpoint);
      if (record === undefined || record.published.length === 0) return {};
      this.#storeEndpoint({ ...record, published: [] });
      await this.#options.applyHost();
      return {};
    });
  }

  /**
   * After a start: endpoints whose interface is still there are put into the kernel again (their programs may be gone, after a reboot or
   * an `unload`); those whose interface went are taken out, and wait for the engine to say Leave or Join.
   */
  async restore(): Promise<void> {
    const interfaces = new Map((await this.#options.routes.interfaces()).map((found) => [found.name, found]));
    for (const endpoint of this.endpoints()) {
      if (endpoint.interfaceName === null) continue;
      const found = interfaces.get(endpoint.interfaceName);
      const network = this.#networks.get(endpoint.network);
      if (found === undefined || network === undefined) {
        this.#options.log.warn({ endpoint: endpoint.endpoint }, 'the interface of an endpoint is gone');
        await this.#options.registry.removeEndpoint(endpoint.endpoint);
        this.#storeEndpoint({ ...endpoint, sandbox: null, interfaceName: null });
        continue;
      }
      await this.#register(endpoint, network, found.ifindex);
      this.#options.onJoined(endpoint);
    }
  }

  #network(network: string): NetworkRecord {
    const record = this.#networks.get(network);
    if (record === undefined) throw new PluginError(`network ${network} is unknown to the plugin: create it again`);
    return record;
  }

  #known(endpoint: string): EndpointRecord {
    const record = this.#endpoints.get(endpoint);
    if (record === undefined) throw new PluginError(`endpoint ${endpoint} is unknown to the plugin`);
    return record;
  }

  async #connect(endpoint: EndpointRecord, network: NetworkRecord, names: InterfaceNames): Promise<void> {
    const { routes } = this.#options;
    const made = await routes.createVeth({
      name: names.host,
      peer: names.peer,
      mac: gatewayMac,
      peerMac: endpoint.mac,
      mtu: network.mtu,
    });
    await this.#register(endpoint, network, made.ifindex);
    // Published on a loopback address, its packets come back from the endpoint to 127.0.0.1; the table drops all others of that kind.
    await routes.setSysctl(`net/ipv4/conf/${names.host}/route_localnet`, '1');
    if (endpoint.ipv6 !== null) await routes.setAddress(names.host, `${hostLinkLocal}/64`);
    const addresses = [endpoint.ipv4, endpoint.ipv6].filter((address) => address !== null);
    // Asked for in one turn, in this order: one process does it all.
    await Promise.all([
      routes.setUp(names.host, true),
      ...addresses.map((address) => routes.setRoute(hostNetwork(address), names.host)),
    ]);
  }

  async #register(endpoint: EndpointRecord, network: NetworkRecord, ifindex: number): Promise<void> {
    await this.#options.registry.addEndpoint({
      endpoint: endpoint.endpoint,
      kind: 'veth',
      ifindex,
      interfaceName: endpoint.interfaceName ?? interfaceNames(endpoint.endpoint).host,
      mac: endpoint.mac,
      gatewayMac,
      ipv4: endpoint.ipv4,
      ipv6: endpoint.ipv6,
      mtu: network.mtu,
      network: endpoint.network,
      labels: endpoint.labels,
      mode: 'enforce',
    });
  }

  async #disconnect(endpoint: EndpointRecord): Promise<void> {
    await this.#options.registry.removeEndpoint(endpoint.endpoint);
    if (endpoint.interfaceName !== null) await this.#options.routes.deleteInterface(endpoint.interfaceName);
  }

  async #remove(endpoint: EndpointRecord): Promise<void> {
    await this.#disconnect(endpoint);
    this.#options.records.endpoints.delete(endpoint.endpoint);
    this.#endpoints.delete(endpoint.endpoint);
    if (endpoint.published.length > 0) await this.#options.applyHost();
  }

  #storeNetwork(record: NetworkRecord): void {
    this.#options.records.networks.set(record.network, record);
    this.#networks.set(record.network, record);
  }
  #forgetNetwork(network: string): void {
    this.#options.records.networks.delete(network);
    this.#networks.delete(network);
  }
  #storeEndpoint(record: EndpointRecord): void {
    this.#options.records.endpoints.set(record.endpoint, record);
    this.#endpoints.set(record.endpoint, record);
  }
}
