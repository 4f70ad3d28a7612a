/** Endpoints and workloads of this host: persisted first, then in the kernel, and confirmed by what was read back from it. */
import { type Kernel, KernelError } from '@bulkhead/kernel';
import type { Clock } from '../clock.ts';
import {
  type EndpointMode,
  type EndpointRegistry,
  type EndpointSpec,
  type LocalEndpoint,
  type LocalWorkload,
  type PublishedAt,
  type RegistryChange,
  RegistryError,
} from '../model.ts';
import type { AgentState, Records } from '../state.ts';
import { endpointFault, sameSpec } from './spec.ts';

/** Workloads of one host, governed or not. */
export const workloadsMax = 8192;
/** Addresses of the machine itself, of all who say so. */
const hostAddressesMax = 4096;

export interface RegistryOptions {
  readonly kernel: Kernel;
  readonly state: AgentState;
  readonly clock: Clock;
  /** Changes at every boot of the machine: interfaces of another boot are gone. */
  readonly bootId: string;
  /** The programs were attached to this interface, and not found missing since. */
  readonly isGuarded: (ifindex: number) => boolean;
  /** Brings the kernel to the desired state at once. */
  readonly apply: () => void;
  /** Asks for the same, soon. */
  readonly markDirty: () => void;
}

export class Registry implements EndpointRegistry {
  readonly #options: RegistryOptions;
  readonly #endpointRecords: Records<LocalEndpoint>;
  readonly #workloadRecords: Records<LocalWorkload>;
  readonly #hostRecords: Records<readonly string[]>;
  readonly #publishedRecords: Records<readonly PublishedAt[]>;
  readonly #endpoints: Map<string, LocalEndpoint>;
  readonly #workloads: Map<string, LocalWorkload>;
  readonly #hostAddresses: Map<string, readonly string[]>;
  readonly #bySlot = new Map<number, LocalEndpoint>();
  readonly #listeners = new Set<(change: RegistryChange) => void>();
  #lastSlot = 0;
  #published: readonly PublishedAt[] = [];

  constructor(options: RegistryOptions) {
    const { state, bootId } = options;
    this.#options = options;
    this.#endpointRecords = state.records('endpoint', (value) => value as LocalEndpoint);
    this.#workloadRecords = state.records('workload', (value) => value as LocalWorkload);
    this.#hostRecords = state.records('host-addresses', (value) => value as readonly string[]);
    this.#publishedRecords = state.records('published', (value) => value as readonly PublishedAt[]);
    this.#published = this.#publishedRecords.get('all') ?? [];
    const boot = state.records('boot', String);
    if (boot.get('id') !== bootId) {
      state.transaction(() => {
        this.#endpointRecords.clear();
        this.#workloadRecords.clear();
        boot.set('id', bootId);
      });
    }
    this.#endpoints = new Map(this.#endpointRecords.entries());
    this.#workloads = new Map(this.#workloadRecords.entries());
    this.#hostAddresses = new Map(this.#hostRecords.entries());
    for (const endpoint of this.#endpoints.values()) {
      this.#bySlot.set(endpoint.slot, endpoint);
      this.#lastSlot = Math.max(this.#lastSlot, endpoint.slot);
    }
  }

  async addEndpoint(spec: EndpointSpec): Promise<LocalEndpoint> {
    const fault = endpointFault(spec);
    if (fault !== null) throw new RegistryError('invalid', `endpoint ${spec.endpoint}: ${fault}`);
    const before = this.#endpoints.get(spec.endpoint);
    if (before !== undefined) {
      if (sameSpec(before, spec)) {
        this.#confirm(before);
        return this.#endpoints.get(spec.endpoint)!;
      }
      await this.removeEndpoint(spec.endpoint);
    }
    this.#refuseConflicts(spec);
    const endpoint: LocalEndpoint = {
      ...spec,
      slot: this.#freeSlot(),
      workload: null,
      fenced: false,
      createdMs: this.#options.clock.nowMs(),
    };
    this.#lastSlot = endpoint.slot;
    this.#store(endpoint);
    try {
      this.#confirm(endpoint);
    } catch (error) {
      this.#forgetEndpoint(endpoint.endpoint);
      this.#options.apply();
      throw error;
    }
    this.#tell({ kind: 'endpoint-added', endpoint });
    return endpoint;
  }

  async removeEndpoint(id: string): Promise<void> {
    const endpoint = this.#endpoints.get(id);
    if (endpoint === undefined) return;
    this.#forgetEndpoint(id);
    this.#options.apply();
    this.#tell({ kind: 'endpoint-removed', endpoint });
  }

  bindWorkload(id: string, workload: LocalWorkload): void {
    const endpoint = this.#endpoints.get(id);
    if (endpoint === undefined) throw new RegistryError('unknown', `there is no endpoint ${id}`);
    this.#options.state.transaction(() => {
      this.setWorkload(workload);
      if (endpoint.workload !== workload.workload) this.#change({ ...endpoint, workload: workload.workload });
    }, 'process');
  }

  setWorkload(workload: LocalWorkload): void {
    const before = this.#workloads.get(workload.workload);
    if (before !== undefined && JSON.stringify(before) === JSON.stringify(workload)) return;
    if (before === undefined && this.#workloads.size >= workloadsMax) {
      throw new RegistryError('full', `there are ${workloadsMax} workloads, no more can be known`);
    }
    this.#durably(() => this.#workloadRecords.set(workload.workload, workload));
    this.#workloads.set(workload.workload, workload);
    this.#tell({ kind: 'workload-changed', workload });
  }

  removeWorkload(id: string): void {
    const workload = this.#workloads.get(id);
    if (workload === undefined) return;
    this.#options.state.transaction(() => {
      for (const endpoint of this.#endpointsOf(id)) this.#change({ ...endpoint, workload: null, fenced: false });
      this.#workloadRecords.delete(id);
    }, 'process');
    this.#workloads.delete(id);
    this.#tell({ kind: 'workload-removed', workload });
  }

  setMode(id: string, mode: EndpointMode): void {
    const endpoint = this.#endpoints.get(id);
    if (endpoint === undefined) throw new RegistryError('unknown', `there is no endpoint ${id}`);
    if (endpoint.mode !== mode) this.#change({ ...endpoint, mode });
  }

  setFenced(workload: string, fenced: boolean): void {
    for (const endpoint of this.#endpointsOf(workload)) {
      if (endpoint.fenced !== fenced) this.#change({ ...endpoint, fenced });
    }
    this.#options.apply();
  }

  setPublished(ports: readonly PublishedAt[]): void {
    if (JSON.stringify(ports) === JSON.stringify(this.#published)) return;
    this.#publishedRecords.set('all', ports);
    this.#published = ports;
    this.#options.markDirty();
  }

  published(): readonly PublishedAt[] {
    return this.#published;
  }

  setHostAddresses(owner: string, addresses: readonly string[]): void {
    const before = this.#hostAddresses.get(owner) ?? [];
    if (before.length === addresses.length && before.every((address) => addresses.includes(address))) return;
    const others = [...this.#hostAddresses].reduce((sum, [name, each]) => sum + (name === owner ? 0 : each.length), 0);
    if (others + addresses.length > hostAddressesMax) {
      throw new RegistryError('full', `more than ${hostAddressesMax} addresses of the host`);
    }
    this.#hostRecords.set(owner, addresses);
    this.#hostAddresses.set(owner, addresses);
    this.#options.markDirty();
  }

  hostAddresses(): ReadonlySet<string> {
    return new Set([...this.#hostAddresses.values()].flat());
  }

  endpoint(id: string): LocalEndpoint | undefined {
    return this.#endpoints.get(id);
  }

  bySlot(slot: number): LocalEndpoint | undefined {
    return this.#bySlot.get(slot);
  }

  endpoints(): readonly LocalEndpoint[] {
    return [...this.#endpoints.values()];
  }

  workload(id: string): LocalWorkload | undefined {
    return this.#workloads.get(id);
  }

  workloads(): readonly LocalWorkload[] {
    return [...this.#workloads.values()];
  }

  onChange(listener: (change: RegistryChange) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  #endpointsOf(workload: string): readonly LocalEndpoint[] {
    return this.endpoints().filter((endpoint) => endpoint.workload === workload);
  }

  #change(endpoint: LocalEndpoint): void {
    this.#store(endpoint);
    this.#tell({ kind: 'endpoint-changed', endpoint });
  }

  #store(endpoint: LocalEndpoint): void {
    this.#durably(() => this.#endpointRecords.set(endpoint.endpoint, endpoint));
    this.#endpoints.set(endpoint.endpoint, endpoint);
    this.#bySlot.set(endpoint.slot, endpoint);
  }

  /** A reboot makes endpoints and workloads void: what survives the process is enough. */
  #durably(change: () => void): void {
    this.#options.state.transaction(change, 'process');
  }

  #forgetEndpoint(id: string): void {
    this.#durably(() => this.#endpointRecords.delete(id));
    this.#bySlot.delete(this.#endpoints.get(id)?.slot ?? 0);
    this.#endpoints.delete(id);
  }

  #tell(change: RegistryChange): void {
    this.#options.markDirty();
    for (const listener of this.#listeners) listener(change);
  }

  /** Applies, and throws unless the kernel now says that the endpoint is there, guarded and resolvable. */
  #confirm(endpoint: LocalEndpoint): void {
    const { kernel, apply } = this.#options;
    apply();
    const { slot, ifindex } = endpoint;
    const entry = kernel.maps.endpoint(slot);
    if (entry === undefined || entry.ifindex !== ifindex) throw notThere(`the entry of slot ${slot}`);
    if (!this.#options.isGuarded(ifindex)) throw notThere(`the programs on interface ${ifindex}`);
    for (const address of [endpoint.ipv4, endpoint.ipv6]) {
      if (address === null) continue;
      const owner = kernel.maps.address(address);
      if (owner?.kind !== 'endpoint' || owner.slot !== slot) throw notThere(`the address ${address}`);
    }
  }

  #refuseConflicts(spec: EndpointSpec): void {
    for (const other of this.#endpoints.values()) {
      const shared = [other.ipv4, other.ipv6].find(
        (address) => address !== null && [spec.ipv4, spec.ipv6].includes(address),
      );
      if (shared !== undefined) {
        throw new RegistryError('conflict', `endpoint ${spec.endpoint}: ${shared} is endpoint ${other.endpoint}'s`);
      }
      if (other.ifindex === spec.ifindex) {
        throw new RegistryError(
          'conflict',
          `endpoint ${spec.endpoint}: interface ${spec.ifindex} is endpoint ${other.endpoint}'s`,
        );
      }
    }
  }

  /** The next slot after the one given last: a slot rests for as long as possible before it is used again. */
  #freeSlot(): number {
    const { endpointsMax, hostSlot } = this.#options.kernel.maps.limits;
    // The host's own slot is nobody else's.
    const slotsMax = Math.min(endpointsMax, hostSlot) - 1;
    const used = new Set([...this.#endpoints.values()].map(({ slot }) => slot));
    for (let step = 1; step <= slotsMax; step++) {
      const slot = ((this.#lastSlot + step - 1) % slotsMax) + 1;
      if (!used.has(slot)) return slot;
    }
    throw new RegistryError('full', `there are ${slotsMax} endpoints, no more fit`);
  }
}

function notThere(what: string): KernelError {
  return new KernelError('add endpoint', 'read-back', { detail: `${what} could not be read back` });
}
