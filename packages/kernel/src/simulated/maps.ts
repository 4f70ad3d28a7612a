/** The port's maps over the simulated tables, with the capacities and refusals of the real ones. */
import { canonicalAddress, cidrText, parseCidr } from '../address.ts';
import { counterNames, limit } from '../generated/maps.ts';
import { PortNodes, type NodeStore } from '../port-nodes.ts';
import type { PortNode } from '../port-tree.ts';
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
import { hostPortText } from '../host-port.ts';
import { forget, isDead, portConnection, tableKey } from './connections.ts';
import type { Failures } from './failures.ts';
import { sweepHeld } from './held.ts';
import { learntKey, type Pinned } from './state.ts';
import { rowKey } from './verdict.ts';

const identityMax = 2 ** 24 - 1;
const epochMax = 2 ** 16 - 1;

class PinnedNodes implements NodeStore {
  readonly nodesMax: number;
  readonly #pinned: Pinned;
  constructor(pinned: Pinned, nodesMax: number) {
    this.#pinned = pinned;
    this.nodesMax = nodesMax;
  }
  write(index: number, node: PortNode): void {
    this.#pinned.nodes.set(index, node);
  }
  read(index: number): PortNode {
    const node = this.#pinned.nodes.get(index);
    if (node === undefined) throw new KernelError(`read port node ${index}`, 'ENOENT');
    return node;
  }
  /** One packet at a time: none is ever under way while the agent runs. */
  waitForPackets(): void {}
}

function sideOf(key: RowKey): 0 | 1 {
  if (!Number.isInteger(key.ruleset) || key.ruleset < 0 || key.ruleset > identityMax) {
    throw new KernelError(`row of ruleset ${key.ruleset}`, 'ERANGE');
  }
  return key.direction === 'ingress' ? 1 : 0;
}
function rowOf(key: string, root: PortRoot): Row {
  const [side, peer] = key.split('/').map(Number) as [number, number];
  return { ruleset: side >>> 1, direction: side % 2 === 1 ? 'ingress' : 'egress', peer, root };
}

const endpointFields = [
  ...(['slot', 'ifindex', 'kind', 'state', 'identity', 'ruleset', 'epoch', 'generation', 'mac', 'gatewayMac'] as const),
  ...(['ipv4', 'ipv6', 'mtu', 'connectionsMax', 'learns'] as const),
] satisfies readonly (keyof EndpointEntry)[];

function canonicalEndpoint({ learns, ...entry }: EndpointEntry): EndpointEntry {
  return {
    ...entry,
    ...(learns === true ? { learns } : {}),
    ipv4: entry.ipv4 === null ? null : canonicalAddress(entry.ipv4),
    ipv6: entry.ipv6 === null ? null : canonicalAddress(entry.ipv6),
  };
}

export class SimulatedMaps implements Maps {
  readonly limits: Limits;
  readonly #failures: Failures;
  readonly #nowNs: () => bigint;
  #pinned: Pinned | null = null;
  #nodes: PortNodes | null = null;

  constructor(limits: Limits, failures: Failures, nowNs: () => bigint) {
    this.limits = limits;
    this.#failures = failures;
    this.#nowNs = nowNs;
  }

  open(pinned: Pinned): void {
    this.#pinned = pinned;
    this.#nodes = new PortNodes(new PinnedNodes(pinned, this.limits.portNodesMax));
    this.#nodes.recover(pinned.rows.values());
  }
  close(): void {
    this.#pinned = null;
    this.#nodes = null;
  }

  setConfig(config: KernelConfig): void {
    this.#at('set the configuration').config = { ...config };
  }
  config(): KernelConfig {
    return { ...this.#now.config };
  }
  heartbeat(): void {
    this.#now.heartbeatNs = this.#nowNs();
  }

  setEndpoint(entry: EndpointEntry): void {
    const operation = `set endpoint ${entry.slot}`;
    this.#checkSlot(entry.slot, operation);
    const isSmall = entry.identity <= identityMax && entry.ruleset <= identityMax && entry.epoch <= epochMax;
    if (!isSmall || Math.min(entry.identity, entry.ruleset, entry.epoch) < 0)
      throw new KernelError(operation, 'ERANGE');
    const pinned = this.#at(operation);
    pinned.endpoints.set(entry.slot, canonicalEndpoint(entry));
  }
  removeEndpoint(slot: number): void {
    this.#checkSlot(slot, `remove endpoint ${slot}`);
    this.#at(`remove endpoint ${slot}`).endpoints.delete(slot);
  }
  endpoints(): readonly EndpointEntry[] {
    return [...this.#now.endpoints.values()].sort((a, b) => a.slot - b.slot);
  }
  endpoint(slot: number): EndpointEntry | undefined {
    this.#checkSlot(slot, `read endpoint ${slot}`);
    return this.#now.endpoints.get(slot);
  }
  hasEndpoint(entry: EndpointEntry): boolean {
    const found = this.endpoint(entry.slot);
    const meant = canonicalEndpoint(entry);
    return found !== undefined && endpointFields.every((field) => found[field] === meant[field]);
  }

  setAddress(address: string, entry: AddressEntry): void {
    const operation = `set address ${address}`;
    const key = canonicalAddress(address);
    const { addresses } = this.#at(operation);
    if (!addresses.has(key) && addresses.size >= this.limits.addressesMax) throw new KernelError(operation, 'full');
    addresses.set(key, entry.kind === 'remote' ? { ...entry, host: canonicalAddress(entry.host) } : { ...entry });
  }
  removeAddress(address: string): void {
    this.#at(`remove address ${address}`).addresses.delete(canonicalAddress(address));
  }
  addresses(): ReadonlyMap<string, AddressEntry> {
    return new Map(this.#now.addresses);
  }
  address(address: string): AddressEntry | undefined {
    return this.#now.addresses.get(canonicalAddress(address));
  }

  setHostPorts(entries: readonly HostPort[]): void {
    const { hostPorts } = this.#at('set host ports');
    if (entries.length > limit.hostPortsMax) throw new KernelError('set host ports', 'full');
    const canonical = entries.map((entry) => ({ ...entry, address: canonicalAddress(entry.address) }));
    hostPorts.clear();
    for (const entry of canonical) hostPorts.set(hostPortText(entry), entry);
  }
  hostPorts(): readonly HostPort[] {
    return [...this.#now.hostPorts.values()];
  }

  addPortTable(table: KernelPortTable): PortRoot {
    this.#at('add a port table');
    return this.#nodes!.add(table);
  }
  portTable(root: PortRoot): KernelPortTable {
    this.#at('read a port table');
    return this.#nodes!.table(root);
  }
  releasePortTable(root: PortRoot): void {
    this.#at('release a port table');
    this.#nodes!.release(root);
  }
  setRows(rows: readonly Row[]): void {
    const pinned = this.#at('set rows');
    const keys = rows.map((row) => rowKey(row.ruleset, sideOf(row), row.peer));
    const added = new Set(keys.filter((key) => !pinned.rows.has(key)));
    if (pinned.rows.size + added.size > this.limits.rowsMax) throw new KernelError('set rows', 'full');
    for (const [index, row] of rows.entries()) {
      const old = pinned.rows.get(keys[index]!);
      this.#nodes!.rowAdded(row.root);
      pinned.rows.set(keys[index]!, row.root);
      if (old !== undefined) this.#nodes!.rowRemoved(old);
    }
  }
  removeRows(keys: readonly RowKey[]): void {
    const pinned = this.#at('remove rows');
    for (const key of keys) {
      const text = rowKey(key.ruleset, sideOf(key), key.peer);
      const root = pinned.rows.get(text);
      if (root === undefined) continue;
      pinned.rows.delete(text);
      this.#nodes!.rowRemoved(root);
    }
  }
  rows(): readonly Row[] {
    return [...this.#now.rows].map(([key, root]) => rowOf(key, root));
  }
  row(key: RowKey): PortRoot | undefined {
    return this.#now.rows.get(rowKey(key.ruleset, sideOf(key), key.peer));
  }

  setCidrs(entries: readonly { readonly cidr: string; readonly peer: number }[]): void {
    const { cidrs } = this.#at('set networks');
    const texts = entries.map((entry) => cidrText(parseCidr(entry.cidr)));
    const added = new Set(texts.filter((text) => !cidrs.has(text)));
    if (cidrs.size + added.size > this.limits.cidrsMax) throw new KernelError('set networks', 'full');
    entries.forEach((entry, index) => cidrs.set(texts[index]!, entry.peer));
  }
  removeCidrs(cidrs: readonly string[]): void {
    const texts = cidrs.map((text) => cidrText(parseCidr(text)));
    const pinned = this.#at('remove networks');
    for (const text of texts) pinned.cidrs.delete(text);
  }
  cidrs(): readonly { readonly cidr: string; readonly peer: number }[] {
    return [...this.#now.cidrs].map(([cidr, peer]) => ({ cidr, peer }));
  }

  setLearnt(entries: readonly LearntEntry[]): void {
    const { learnt } = this.#at('learn addresses');
    for (const { slot, address, peer, lapsed } of entries) {
      const entry = { slot, address: canonicalAddress(address), peer, lapsed };
      const key = learntKey(entry);
      if (!learnt.has(key) && learnt.size >= this.limits.learntMax) throw new KernelError(`learn ${address}`, 'full');
      learnt.set(key, entry);
    }
  }
  removeLearnt(keys: readonly LearntKey[]): void {
    const { learnt } = this.#at('forget learnt addresses');
    for (const { slot, address } of keys) learnt.delete(learntKey({ slot, address: canonicalAddress(address) }));
  }
  learnt(): readonly LearntEntry[] {
    return [...this.#now.learnt.values()];
  }
  learntPeer({ slot, address }: LearntKey): ReturnType<Maps['learntPeer']> {
    const found = this.#now.learnt.get(learntKey({ slot, address: canonicalAddress(address) }));
    return found === undefined ? undefined : { peer: found.peer, lapsed: found.lapsed };
  }

  forEachConnection(visit: (connection: Connection) => void): void {
    for (const connection of this.#at('walk connections').connections.values()) visit(portConnection(connection));
  }
  removeConnections(keys: readonly ConnectionKey[]): void {
    const pinned = this.#at('remove connections');
    for (const key of keys) forget(pinned, tableKey(key));
  }
  sweepConnections(onClosed: (connection: Connection) => void): number {
    const pinned = this.#at('sweep connections');
    const nowNs = this.#nowNs();
    sweepHeld(pinned, nowNs, false);
    let removed = 0;
    for (const [key, connection] of pinned.connections) {
      const isOrphan = connection.slot.some((slot) => slot !== 0 && !pinned.endpoints.has(slot));
      if (!isOrphan && !isDead(connection, nowNs)) continue;
      forget(pinned, key);
      removed++;
      onClosed(portConnection(connection));
    }
    return removed;
  }

  counters(): ReadonlyMap<CounterName, bigint> {
    return new Map(this.#now.counters);
  }
  endpointCounters(slot: number): ReadonlyMap<CounterName, bigint> {
    this.#checkSlot(slot, `read counters of endpoint ${slot}`);
    const mine = this.#now.endpointCounters.get(slot);
    return new Map(counterNames.map((name) => [name, mine?.get(name) ?? 0n] as const));
  }

  get #now(): Pinned {
    if (this.#pinned === null)
      throw new KernelError('use the maps', 'ENOENT', { detail: 'the programs are not loaded' });
    return this.#pinned;
  }
  #at(operation: string): Pinned {
    const pinned = this.#now;
    this.#failures.meet('maps', operation);
    return pinned;
  }
  #checkSlot(slot: number, operation: string): void {
    if (slot === this.limits.hostSlot) return;
    if (!Number.isInteger(slot) || slot < 1 || slot >= this.limits.endpointsMax)
      throw new KernelError(operation, 'ERANGE');
  }
}
