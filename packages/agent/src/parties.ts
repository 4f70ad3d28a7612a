/** Who stands behind slots, identities and addresses, for questions and flows. */
import { reservedIdentity } from '@bulkhead/policy';
import type { DesiredStore } from './desired/store.ts';
import type { Registry } from './registry/registry.ts';

export interface PartyName {
  /** Workload id, `host`, or null for an address outside. */
  readonly workload: string | null;
  readonly generation: number;
}

export class Parties {
  readonly #registry: Registry;
  readonly #store: DesiredStore;

  constructor(registry: Registry, store: DesiredStore) {
    this.#registry = registry;
    this.#store = store;
  }

  of(slot: number, identity: number, address: string): PartyName {
    const endpoint = slot === 0 ? undefined : this.#registry.bySlot(slot);
    if (endpoint !== undefined) {
      const generation = endpoint.workload === null ? 0 : (this.#registry.workload(endpoint.workload)?.generation ?? 0);
      return { workload: endpoint.workload, generation };
    }
    if (identity === reservedIdentity.host) return { workload: 'host', generation: 0 };
    const known = this.#store.byAddress(address);
    return known === undefined ? outside : { workload: known.workload, generation: known.generation };
  }
}

const outside: PartyName = { workload: null, generation: 0 };
