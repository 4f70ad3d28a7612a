/** The kernel's tables, behind the port. The object stays the same when programs and maps are replaced. */
import {
  configLayout,
  counterNames,
  endpointCountersLayout,
  limit,
  readConfig,
  writeConfig,
} from '../generated/maps.ts';
import {
  KernelError,
  type AddressEntry,
  type Connection,
  type ConnectionKey,
  type CounterName,
  type EndpointEntry,
  type HostPort,
  type KernelConfig,
  type KernelPortTable,
  type LearntEntry,
  type LearntKey,
  type Limits,
  type Maps,
  type PortRoot,
  type Row,
  type RowKey,
} from '../port.ts';
import {
  changeCidrs,
  getAddress,
  listAddresses,
  listCidrs,
  removeAddress,
  removeCidrs,
  setAddress,
  setCidrs,
  type CidrEntry,
} from './addresses.ts';
import { Connections } from './connections.ts';
import { Endpoints } from './endpoints.ts';
import { listHostPorts, setHostPorts } from './host-ports.ts';
import { getLearnt, listLearnt, removeLearnt, setLearnt } from './learnt.ts';
import { monotonicNs, type Mapping } from './libc.ts';
import { Rows } from './rows.ts';
import type { Tables } from './tables.ts';

const noAddress = '::';

interface Opened {
  readonly tables: Tables;
  readonly endpoints: Endpoints;
  readonly connections: Connections;
  readonly rows: Rows;
  readonly config: Mapping;
}

export class LinuxMaps implements Maps {
  readonly limits: Limits = {
    endpointsMax: limit.endpointsMax,
    hostSlot: limit.hostSlot,
    addressesMax: limit.addressesMax,
    rowsMax: limit.rowsMax,
    portNodesMax: limit.portNodesMax,
    // One place is taken by the entry that keeps IPv6 networks from IPv4 addresses.
    cidrsMax: limit.cidrsMax - 1,
    learntMax: limit.learntMax,
    connectionsMax: limit.connectionsMax,
    puntsMax: limit.puntsMax,
    eventsBytes: limit.eventsBytes,
  };
  readonly #sweepPunts: () => void;
  #opened: Opened | null = null;

  /** `sweepPunts` makes the programs forget held packets that nobody answered in time. */
  constructor(sweepPunts: () => void) {
    this.#sweepPunts = sweepPunts;
  }

  /** Works on these tables from now on. */
  open(tables: Tables): void {
    this.close();
    const endpoints = new Endpoints(tables);
    this.#opened = {
      tables,
      endpoints,
      connections: new Connections(tables.connections, endpoints),
      rows: new Rows(tables.rows, tables.port_nodes),
      config: tables.config.mapValues(),
    };
  }
  close(): void {
    this.#opened?.endpoints.release();
    this.#opened?.config.release();
    this.#opened = null;
  }

  setConfig(config: KernelConfig): void {
    const view = new DataView(this.#now.config.memory);
    const heartbeatNs = view.getBigUint64(configLayout.heartbeatNs, true);
    writeConfig(view, 0, {
      ...config,
      heartbeatNs,
      gatewayIpv4: config.gatewayIpv4 ?? noAddress,
      gatewayIpv6: config.gatewayIpv6 ?? noAddress,
    });
  }
  config(): KernelConfig {
    const { heartbeatNs: _, ...config } = readConfig(new DataView(this.#now.config.memory), 0);
    return {
      ...config,
      gatewayIpv4: config.gatewayIpv4 === noAddress ? null : config.gatewayIpv4,
      gatewayIpv6: config.gatewayIpv6 === noAddress ? null : config.gatewayIpv6,
    };
  }
  heartbeat(): void {
    new DataView(this.#now.config.memory).setBigUint64(configLayout.heartbeatNs, monotonicNs(), true);
  }

  setHostPorts(entries: readonly HostPort[]): void {
    setHostPorts(this.#now.tables.host_ports, entries);
  }
  hostPorts(): readonly HostPort[] {
    return listHostPorts(this.#now.tables.host_ports);
  }

  setEndpoint(entry: EndpointEntry): void {
    this.#now.endpoints.set(entry);
  }
  removeEndpoint(slot: number): void {
    this.#now.endpoints.remove(slot);
  }
  endpoints(): readonly EndpointEntry[] {
    return this.#now.endpoints.list();
  }
  endpoint(slot: number): EndpointEntry | undefined {
    return this.#now.endpoints.get(slot);
  }
  hasEndpoint(entry: EndpointEntry): boolean {
    return this.#now.endpoints.has(entry);
  }

  setAddress(address: string, entry: AddressEntry): void {
    setAddress(this.#now.tables.addresses, address, entry);
  }
  removeAddress(address: string): void {
    removeAddress(this.#now.tables.addresses, address);
  }
  addresses(): ReadonlyMap<string, AddressEntry> {
    return listAddresses(this.#now.tables.addresses);
  }
  address(address: string): AddressEntry | undefined {
    return getAddress(this.#now.tables.addresses, address);
  }

  addPortTable(table: KernelPortTable): PortRoot {
    return this.#now.rows.nodes.add(table);
  }
  portTable(root: PortRoot): KernelPortTable {
    return this.#now.rows.nodes.table(root);
  }
  releasePortTable(root: PortRoot): void {
    this.#now.rows.nodes.release(root);
  }
  setRows(rows: readonly Row[]): void {
    this.#now.rows.set(rows);
  }
  removeRows(keys: readonly RowKey[]): void {
    this.#now.rows.remove(keys);
  }
  rows(): readonly Row[] {
    return this.#now.rows.list();
  }
  row(key: RowKey): PortRoot | undefined {
    return this.#now.rows.get(key);
  }

  setCidrs(entries: readonly CidrEntry[]): void {
    const { cidrs, cidr_generation: generation } = this.#now.tables;
    changeCidrs(generation, () => setCidrs(cidrs, entries));
  }
  removeCidrs(cidrs: readonly string[]): void {
    const { cidrs: table, cidr_generation: generation } = this.#now.tables;
    changeCidrs(generation, () => removeCidrs(table, cidrs));
  }
  cidrs(): readonly CidrEntry[] {
    return listCidrs(this.#now.tables.cidrs);
  }

  setLearnt(entries: readonly LearntEntry[]): void {
    setLearnt(this.#now.tables.learnt, entries);
  }
  removeLearnt(keys: readonly LearntKey[]): void {
    removeLearnt(this.#now.tables.learnt, keys);
  }
  learnt(): readonly LearntEntry[] {
    return listLearnt(this.#now.tables.learnt);
  }
  learntPeer(key: LearntKey): ReturnType<Maps['learntPeer']> {
    return getLearnt(this.#now.tables.learnt, key);
  }

  forEachConnection(visit: (connection: Connection) => void): void {
    this.#now.connections.forEach(visit);
  }
  removeConnections(keys: readonly ConnectionKey[]): void {
    this.#now.connections.remove(keys);
  }
  sweepConnections(onClosed: (connection: Connection) => void): number {
    this.#sweepPunts();
    return this.#now.connections.sweep(onClosed);
  }

  counters(): ReadonlyMap<CounterName, bigint> {
    const { counters } = this.#now.tables;
    return new Map(
      counterNames.map((name, index) => {
        counters.keyView.setUint32(0, index, true);
        counters.lookup();
        let sum = 0n;
        for (let at = 0; at < counters.value.length; at += 8) sum += counters.valueView.getBigUint64(at, true);
        return [name, sum] as const;
      }),
    );
  }
  endpointCounters(slot: number): ReadonlyMap<CounterName, bigint> {
    const table = this.#now.tables.endpoint_counters;
    table.keyView.setUint32(0, slot, true);
    if (slot < 1 || !table.lookup()) throw new KernelError(`read counters of endpoint ${slot}`, 'ERANGE');
    return new Map(
      counterNames.map((name, index) => {
        const at = endpointCountersLayout.count + index * 8;
        return [name, table.valueView.getBigUint64(at, true)] as const;
      }),
    );
  }

  get #now(): Opened {
    if (this.#opened === null)
      throw new KernelError('use the maps', 'ENOENT', { detail: 'the programs are not loaded' });
    return this.#opened;
  }
}
