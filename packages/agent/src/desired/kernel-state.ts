/**
 * Desired kernel state from everything that has a say: the registry's endpoints, the manager's workloads and identities, compiled
 * policy, addresses of the machine, and the emergency switch.
 */
import type { AddressEntry, EndpointState, LearntEntry, Limits } from '@bulkhead/kernel';
import { reservedIdentity } from '@bulkhead/policy';
import type { HostEnd } from '../host/host-end.ts';
import type { LocalEndpoint, LocalWorkload } from '../model.ts';
import {
  learntKey,
  type DesiredKernel,
  type EndpointStatics,
  type EndpointTarget,
  type RulesetContent,
} from '../plan/model.ts';
import type { Registry } from '../registry/registry.ts';
import type { LearntBook } from '../resolver/learnt-book.ts';
import { expectedLabels, type KnownLabels } from './known-labels.ts';
import type { LocalPolicy } from './policy.ts';
import type { RuleNumbers } from './rule-numbers.ts';
import type { DesiredStore } from './store.ts';

/** Outer address of a remote host: none, while hosts are not connected by an overlay. */
const noHost = '::';
const noMac = '00:00:00:00:00:00';
/** Most entries of the connection table that the host itself may own, and that outside may open to it. */
const hostConnectionsMax = 65_536;

export interface KernelStateOptions {
  readonly host: string;
  readonly registry: Registry;
  readonly store: DesiredStore;
  readonly policy: LocalPolicy;
  readonly rules: RuleNumbers;
  readonly knownLabels: KnownLabels;
  readonly closed: RulesetContent;
  /** Addresses of this machine's interfaces. */
  readonly hostAddresses: () => ReadonlySet<string>;
  readonly isEnforcing: () => boolean;
  readonly hostEnd: HostEnd;
  readonly limits: Limits;
  readonly nowMs: () => number;
  readonly connectionsMax: number;
  readonly learnt: LearntBook;
}

export class KernelStateBuilder {
  readonly #options: KernelStateOptions;
  /** What was made of each endpoint last. Records of endpoints never change: another state is another record. */
  readonly #targets = new WeakMap<LocalEndpoint, EndpointTarget>();

  constructor(options: KernelStateOptions) {
    this.#options = options;
  }

  /** Numbers of rules are durable when this returns. */
  build(): DesiredKernel {
    const { registry, rules, policy, closed, hostEnd, store, limits } = this.#options;
    const endpoints = registry.endpoints();
    const identities = this.#identities(endpoints);
    const isHostSubject = hostEnd.isSubject(store.policySet);
    policy.want(new Set([...identities.values(), ...(isHostSubject ? [reservedIdentity.host] : [])]));
    const addresses = this.#addresses();
    // Before contents are read: a peer that nobody had before gets its rows now.
    const identityOf = ({ workload }: LocalEndpoint): number | undefined =>
      workload === null ? undefined : identities.get(workload);
    const learnt = this.#learnt(addresses, endpoints, identityOf);
    const targets = new Map<number, EndpointTarget>();
    for (const endpoint of endpoints) targets.set(endpoint.slot, this.#target(endpoint, identityOf(endpoint)));
    if (isHostSubject) targets.set(limits.hostSlot, this.#hostTarget());
    const guardRule = rules.numberOf({ reason: { kind: 'builtin', name: 'lock-out-guard' } });
    const hostPorts = hostEnd.ports(store.policySet, guardRule, registry.published());
    rules.flush();
    return { endpoints: targets, addresses, cidrs: policy.cidrs(), learnt, hostPorts, closed };
  }

  /** Of workloads with endpoints, as far as somebody knows. */
  #identities(endpoints: readonly LocalEndpoint[]): ReadonlyMap<string, number> {
    const identities = new Map<string, number>();
    let groups: Map<string | null, LocalEndpoint[]> | null = null;
    for (const { workload: id } of endpoints) {
      const workload = id === null ? undefined : this.#options.registry.workload(id);
      if (id === null || workload === undefined) continue;
      let identity = this.#toldIdentity(id);
      if (identity === undefined) {
        groups ??= Map.groupBy(endpoints, (endpoint) => endpoint.workload);
        identity = this.identityOf(workload, groups.get(id)!);
      }
      if (identity !== undefined) identities.set(id, identity);
    }
    return identities;
  }

  #toldIdentity(workload: string): number | undefined {
    const { host, store } = this.#options;
    const told = store.workloads.get(workload);
    return told !== undefined && told.host === host && store.identities.has(told.identity) ? told.identity : undefined;
  }

  /** What the manager said of the workload, or of the same labels before; undefined while nobody knows. */
  identityOf(workload: LocalWorkload, endpoints: readonly LocalEndpoint[]): number | undefined {
    const { host, store, knownLabels } = this.#options;
    const told = this.#toldIdentity(workload.workload);
    if (told !== undefined) return told;
    const own = endpoints.flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6]).filter((address) => address !== null);
    return knownLabels.identityOf(expectedLabels(host, workload, endpoints), own, store);
  }

  #target(endpoint: LocalEndpoint, identity: number | undefined): EndpointTarget {
    const { registry, policy, isEnforcing } = this.#options;
    const content = (identity === undefined ? undefined : policy.content(identity)) ?? null;
    const workload = endpoint.workload === null ? undefined : registry.workload(endpoint.workload);
    const isKnown = content !== null;
    let state: EndpointState = isKnown ? 'governed' : 'held';
    if (endpoint.fenced) state = 'fenced';
    else if (endpoint.mode === 'observe' || !isEnforcing()) state = 'observed';
    const known = this.#targets.get(endpoint);
    const shown = isKnown ? identity! : reservedIdentity.unknown;
    const learns = isKnown && policy.learns(identity!);
    const statics = this.#statics(endpoint, workload?.generation ?? 0, learns, known?.statics);
    const isSame =
      known?.content === content && known.state === state && known.identity === shown && known.statics === statics;
    if (isSame) return known;
    const firstEpoch = Math.floor(endpoint.createdMs) % 65_536;
    const made = { statics, state, identity: shown, firstEpoch, content };
    this.#targets.set(endpoint, made);
    return made;
  }

  /** What was made before where it still says the same. */
  #statics(
    endpoint: LocalEndpoint,
    generation: number,
    learns: boolean,
    before: EndpointStatics | undefined,
  ): EndpointStatics {
    const { connectionsMax } = this.#options;
    if (before?.generation === generation && (before.learns === true) === learns) return before;
    const { slot, ifindex, kind, mac, gatewayMac, ipv4, ipv6, mtu } = endpoint;
    return {
      ...{ slot, ifindex, kind, generation, mac, gatewayMac, ipv4, ipv6, mtu, connectionsMax },
      ...(learns ? { learns } : {}),
    };
  }

  /** What endpoints learnt of addresses that nobody of ours has. */
  #learnt(
    addresses: ReadonlyMap<string, AddressEntry>,
    endpoints: readonly LocalEndpoint[],
    identityOf: (endpoint: LocalEndpoint) => number | undefined,
  ): ReadonlyMap<string, LearntEntry> {
    const { policy, learnt } = this.#options;
    const entries = new Map<string, LearntEntry>();
    const keys = new Set<string>();
    for (const local of policy.usesNames ? endpoints : []) {
      const identity = identityOf(local);
      if (identity === undefined || !policy.learns(identity)) continue;
      const { endpoint, slot } = local;
      for (const known of learnt.learnt(endpoint)) {
        const { address, lapsed } = known;
        if (addresses.has(address)) continue;
        const key = learntKey({ slot, address });
        const peer = policy.learntPeer(key, known);
        keys.add(key);
        if (peer !== null) entries.set(key, { slot, address, peer, lapsed });
      }
    }
    policy.keepLearnt(keys);
    return entries;
  }

  /** The host itself. What of it does not depend on policy never changes, so that there is no moment in which it is no subject. */
  #hostTarget(): EndpointTarget {
    const { limits, policy, isEnforcing, nowMs } = this.#options;
    const fixed = { ifindex: 0, generation: 0, mac: noMac, gatewayMac: noMac, ipv4: null, ipv6: null, mtu: 65_535 };
    return {
      statics: { slot: limits.hostSlot, kind: 'host', connectionsMax: hostConnectionsMax, ...fixed },
      state: isEnforcing() ? 'governed' : 'observed',
      identity: reservedIdentity.host,
      // Another each time that it becomes a subject: entries from before never match.
      firstEpoch: Math.floor(nowMs()) % 65_536,
      content: policy.content(reservedIdentity.host) ?? null,
    };
  }

  #addresses(): ReadonlyMap<string, AddressEntry> {
    const { host, store, registry, hostAddresses } = this.#options;
    const addresses = new Map<string, AddressEntry>();
    for (const workload of store.workloads.values()) {
      // Those of this host come from the registry: what the manager was told may be older than what is attached.
      if (workload.host === host) continue;
      for (const address of workload.addresses) {
        addresses.set(address, { kind: 'remote', identity: workload.identity, host: noHost });
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
}
