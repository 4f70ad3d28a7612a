/** Who there is, for analyses: the label sets of the inventory with some names, the enrolled hosts. */
import { addressFacts, documentLabelKeys, examplesMax } from '@bulkhead/policy';
import type { Document, KnownHost, KnownWorkloads, Labels, Universe } from '@bulkhead/policy';
import { relevantLabels } from '../inventory/identities.ts';
import { labelsText } from '../inventory/inventory-state.ts';
import type { InventoryEntry } from '../store/commands.ts';
import type { Committer } from '../store/committer.ts';
import type { State } from '../store/state.ts';

export class Universes {
  readonly #committer: Committer;
  readonly #hostLabels: (host: string) => Labels;

  /** `hostLabels`: what is known of a machine itself. */
  constructor(committer: Committer, hostLabels: (host: string) => Labels) {
    this.#committer = committer;
    this.#hostLabels = hostLabels;
  }

  /** `keys`: what the documents in force read; `proposed` may read more, and then workloads of one identity are told apart by it. */
  of(keys: ReadonlySet<string>, proposed: readonly Document[]): Universe {
    const more = new Set(proposed.flatMap(documentLabelKeys)).difference(keys);
    const { state } = this.#committer;
    return this.#by(more.size === 0 ? identityLabels(state) : readLabels(keys.union(more)));
  }

  /** Every label counts, whether or not a document reads it. */
  withEveryLabel(): Universe {
    return this.#by(({ labels }) => ({ key: labelsText(labels), labels }));
  }

  #by(labelsOf: (entry: InventoryEntry) => Found | null): Universe {
    const { state } = this.#committer;
    const known = new Map<string | number, { labels: Labels; count: number; examples: string[] }>();
    for (const entry of state.inventory.workloads.values()) {
      // Workloads that are not governed have no identity, and no policy.
      const found = entry.identity === 0 ? null : labelsOf(entry);
      if (found === null) continue;
      let same = known.get(found.key);
      if (same === undefined) known.set(found.key, (same = { labels: found.labels, count: 0, examples: [] }));
      same.count += 1;
      if (same.examples.length < examplesMax) same.examples.push(entry.report.name);
    }
    const workloads: readonly KnownWorkloads[] = [...known.values()];
    const hosts: readonly KnownHost[] = [...state.hosts.hosts.values()]
      .filter((entry) => entry.revoked === null)
      .map(({ host }) => ({ name: host, labels: this.#hostLabels(host) }));
    return { workloads, hosts, addresses: [] };
  }
}

interface Found {
  readonly key: string | number;
  readonly labels: Labels;
}

function identityLabels(state: State): (entry: InventoryEntry) => Found | null {
  return ({ identity }) => {
    const labels = state.inventory.identities.get(identity)?.labels;
    return labels === undefined ? null : { key: identity, labels };
  };
}

function readLabels(keys: ReadonlySet<string>): (entry: InventoryEntry) => Found {
  const factsOf = addressFacts(keys);
  return ({ labels, addresses }) => {
    const read = relevantLabels({ ...labels, ...factsOf(addresses) }, keys);
    return { key: labelsText(read), labels: read };
  };
}
