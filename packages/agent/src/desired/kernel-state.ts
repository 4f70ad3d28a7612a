/**
 * Desired kernel state from everything that has a say: the registry's endpoints, the manager's workloads and identities, compiled
 * policy, addresses of the machine, and the emergency switch.
 */
import type { AddressEntry, EndpointState } from '@bulkhead/kernel';
import { type CompiledDirection, type CompiledSubject, type PortTable, reservedIdentity } from '@bulkhead/policy';
import type { LocalEndpoint, LocalWorkload } from '../model.ts';
import type { DesiredKernel, EndpointTarget, RulesetContent } from '../plan/model.ts';
import type { KernelTable, TableStore } from '../plan/tables.ts';
import type { Registry } from '../registry/registry.ts';
import { expectedLabels, type KnownLabels } from './known-labels.ts';
import type { RuleNumbers } from './rule-numbers.ts';
import type { DesiredStore } from './store.ts';

/** Compiled policy, whichever way it is computed: the same object for a subject until something of it changes. */
export interface CompiledPolicy {
  subject(identity: number): CompiledSubject | undefined;
  cidrs(): ReadonlyMap<string, number>;
}

export interface KernelStateOptions {
  readonly host: string;
  readonly registry: Registry;
  readonly store: DesiredStore;
  readonly policy: CompiledPolicy;
  readonly rules: RuleNumbers;
  readonly tables: TableStore;
  readonly knownLabels: KnownLabels;
  readonly closed: RulesetContent;
  /** Addresses of this machine's interfaces. */
  readonly hostAddresses: () => ReadonlySet<string>;
  readonly isEnforcing: () => boolean;
  readonly connectionsMax: number;
}

export class KernelStateBuilder {
  readonly #options: KernelStateOptions;
  #contents = new Map<CompiledSubject, RulesetContent>();
  #tables = new WeakMap<PortTable, KernelTable>();

  constructor(options: KernelStateOptions) {
    this.#options = options;
  }

  /** Numbers of rules are durable when this returns. */
  build(): DesiredKernel {
    const { registry, rules, policy, closed } = this.#options;
    const endpoints = new Map<number, EndpointTarget>();
    const contents = new Map<CompiledSubject, RulesetContent>();
    const byWorkload = Map.groupBy(registry.endpoints(), (endpoint) => endpoint.workload);
    for (const [id, group] of byWorkload) {
      const workload = id === null ? undefined : registry.workload(id);
      const identity = workload === undefined ? undefined : this.identityOf(workload, group);
      const subject = identity === undefined ? undefined : policy.subject(identity);
      let content: RulesetContent | null = null;
      if (subject !== undefined) {
        content = this.#contents.get(subject) ?? contents.get(subject) ?? this.#contentOf(subject);
        contents.set(subject, content);
      }
      for (const endpoint of group) endpoints.set(endpoint.slot, this.#target(endpoint, workload, identity, content));
    }
    this.#contents = contents;
    rules.flush();
    return { endpoints, addresses: this.#addresses(), cidrs: policy.cidrs(), closed };
  }

  /** Contents of the last build. */
  contents(): Iterable<RulesetContent> {
    return [...this.#contents.values(), this.#options.closed];
  }

  /** What the manager said of the workload, or of the same labels before; undefined while nobody knows. */
  identityOf(workload: LocalWorkload, endpoints: readonly LocalEndpoint[]): number | undefined {
    const { host, store, knownLabels } = this.#options;
    const told = store.workloads.get(workload.workload);
    if (told !== undefined && told.host === host && store.identities.has(told.identity)) return told.identity;
    return knownLabels.identityOf(expectedLabels(host, workload, endpoints), store.identities);
  }

  #target(
    endpoint: LocalEndpoint,
    workload: LocalWorkload | undefined,
    identity: number | undefined,
    content: RulesetContent | null,
  ): EndpointTarget {
    const { slot, ifindex, kind, mac, gatewayMac, ipv4, ipv6, mtu } = endpoint;
    const { connectionsMax, isEnforcing } = this.#options;
    const generation = workload?.generation ?? 0;
    const isKnown = content !== null;
    let state: EndpointState = isKnown ? 'governed' : 'held';
    if (endpoint.fenced) state = 'fenced';
    else if (endpoint.mode === 'observe' || !isEnforcing()) state = 'observed';
    return {
      statics: { slot, ifindex, kind, generation, mac, gatewayMac, ipv4, ipv6, mtu, connectionsMax },
      state,
      identity: isKnown ? identity! : reservedIdentity.unknown,
      firstEpoch: Math.floor(endpoint.createdMs) % 65_536,
      content,
    };
  }

  #addresses(): ReadonlyMap<string, AddressEntry> {
    const { host, store, registry, hostAddresses } = this.#options;
    const addresses = new Map<string, AddressEntry>();
    for (const workload of store.workloads.values()) {
      // Those of this host come from the registry: what the manager was told may be older than what is attached.
      if (workload.host === host) continue;
      for (const address of workload.addresses) {
        addresses.set(address, { kind: 'remote', identity: workload.identity, host: '' });
      }
    }
    for (const endpoint of registry.endpoints()) {
      for (const address of [endpoint.ipv4, endpoint.ipv6]) {
        if (address !== null) addresses.set(address, { kind: 'endpoint', slot: endpoint.slot });
      }
    }
    for (const address of hostAddresses()) addresses.set(address, { kind: 'host' });
    for (const address of registry.hostAddresses()) addresses.set(address, { kind: 'host' });
    return addresses;
  }

  #contentOf(subject: CompiledSubject): RulesetContent {
    const rowsOf = ({ rows, others }: CompiledDirection): ReadonlyMap<number, KernelTable> => {
      const result = new Map<number, KernelTable>([[reservedIdentity.any, this.#table(others)]]);
      for (const [peer, table] of rows) result.set(peer, this.#table(table));
      return result;
    };
    return { egress: rowsOf(subject.egress), ingress: rowsOf(subject.ingress) };
  }

  #table(table: PortTable): KernelTable {
    const known = this.#tables.get(table);
    if (known !== undefined) return known;
    const { rules, tables } = this.#options;
    const made = tables.intern({
      ranges: table.ranges.map(({ protocol, from, to, verdict }) => ({
        protocol,
        from,
        to,
        verdict: { action: verdict.action, rule: rules.numberOf(verdict.reason) },
      })),
      otherwise: { action: table.otherwise.action, rule: rules.numberOf(table.otherwise.reason) },
    });
    this.#tables.set(table, made);
    return made;
  }
}
