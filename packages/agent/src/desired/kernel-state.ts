/**
 * Desired kernel state from everything that has a say: the registry's endpoints, the manager's workloads and identities, compiled
 * policy, addresses of the machine, and the emergency switch.
 */
import type { AddressEntry, EndpointState, LearntEntry } from '@bulkhead/kernel';
import { reservedIdentity } from '@bulkhead/policy';
import type { LocalEndpoint, LocalWorkload } from '../model.ts';
import { learntKey, type DesiredKernel, type EndpointTarget, type RulesetContent } from '../plan/model.ts';
import type { Registry } from '../registry/registry.ts';
import type { LearntBook } from '../resolver/learnt-book.ts';
import { expectedLabels, type KnownLabels } from './known-labels.ts';
import type { LocalPolicy } from './policy.ts';
import type { RuleNumbers } from './rule-numbers.ts';
import type { DesiredStore } from './store.ts';

/** Outer address of a remote host: none, while hosts are not connected by an overlay. */
const noHost = '::';

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
    const { registry, rules, policy, closed } = this.#options;
    const groups = [...Map.groupBy(registry.endpoints(), (endpoint) => endpoint.workload)].map(([id, endpoints]) => {
      const workload = id === null ? undefined : registry.workload(id);
      const identity = workload === undefined ? undefined : this.identityOf(workload, endpoints);
      return { endpoints, workload, identity };
    });
    policy.want(new Set(groups.flatMap(({ identity }) => (identity === undefined ? [] : [identity]))));
    const addresses = this.#addresses();
    // Before contents are read: a peer that nobody had before gets its rows now.
    const learnt = this.#learnt(addresses);
    const targets = new Map<number, EndpointTarget>();
    for (const { endpoints, workload, identity } of groups) {
      const content = identity === undefined ? undefined : policy.content(identity);
      for (const endpoint of endpoints) targets.set(endpoint.slot, this.#target(endpoint, workload, identity, content));
    }
    rules.flush();
    return { endpoints: targets, addresses, cidrs: policy.cidrs(), learnt, closed };
  }

  /** What the manager said of the workload, or of the same labels before; undefined while nobody knows. */
  identityOf(workload: LocalWorkload, endpoints: readonly LocalEndpoint[]): number | undefined {
    const { host, store, knownLabels } = this.#options;
    const told = store.workloads.get(workload.workload);
    if (told !== undefined && told.host === host && store.identities.has(told.identity)) return told.identity;
    const own = endpoints.flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6]).filter((address) => address !== null);
    return knownLabels.identityOf(expectedLabels(host, workload, endpoints), own, store);
  }

  #target(
    endpoint: LocalEndpoint,
    workload: LocalWorkload | undefined,
    identity: number | undefined,
    content: RulesetContent | undefined,
  ): EndpointTarget {
    const { slot, ifindex, kind, mac, gatewayMac, ipv4, ipv6, mtu } = endpoint;
    const { connectionsMax, isEnforcing } = this.#options;
    const generation = workload?.generation ?? 0;
    const isKnown = content !== undefined;
    let state: EndpointState = isKnown ? 'governed' : 'held';
    if (endpoint.fenced) state = 'fenced';
    else if (endpoint.mode === 'observe' || !isEnforcing()) state = 'observed';
    const learns = this.#options.policy.usesNames;
    const known = this.#targets.get(endpoint);
    const isSame =
      known?.content === (content ?? null) &&
      known.state === state &&
      known.identity === (isKnown ? identity : reservedIdentity.unknown) &&
      known.statics.generation === generation &&
      (known.statics.learns === true) === learns;
    if (isSame) return known;
    const made = {
      statics: {
        ...{ slot, ifindex, kind, generation, mac, gatewayMac, ipv4, ipv6, mtu, connectionsMax },
        ...(learns ? { learns } : {}),
      },
      state,
      identity: isKnown ? identity! : reservedIdentity.unknown,
      firstEpoch: Math.floor(endpoint.createdMs) % 65_536,
      content: content ?? null,
    };
    this.#targets.set(endpoint, made);
    return made;
  }

  /** What endpoints learnt of addresses that nobody of ours has. */
  #learnt(addresses: ReadonlyMap<string, AddressEntry>): ReadonlyMap<string, LearntEntry> {
    const { registry, policy, learnt } = this.#options;
    const entries = new Map<string, LearntEntry>();
    const keys = new Set<string>();
    for (const { endpoint, slot } of policy.usesNames ? registry.endpoints() : []) {
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
