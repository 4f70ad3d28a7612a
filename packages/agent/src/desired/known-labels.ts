/**
 * Which identity a full set of labels had when the manager last said so: a workload with the same labels starts while the manager is
 * away. Facts are part of the set, so that it never answers for a weaker boundary or another image.
 */
import { factPrefix, type Labels } from '@bulkhead/policy';
import type { LocalEndpoint, LocalWorkload } from '../model.ts';
import { isIdentityOf } from './relevant-labels.ts';
import type { DesiredStore } from './store.ts';
import type { AgentState, Records } from '../state.ts';

/** Label sets that are kept; the one learnt first goes first. */
export const labelSetsMax = 4096;

interface Known {
  readonly identity: number;
  readonly learntMs: number;
}

export class KnownLabels {
  readonly #records: Records<Known>;
  readonly #byKey: Map<string, Known>;

  constructor(state: AgentState) {
    this.#records = state.records('known-labels', (value) => value as Known);
    this.#byKey = new Map(this.#records.entries());
  }

  learn(labels: Labels, identity: number, nowMs: number): void {
    const key = labelsKey(labels);
    if (this.#byKey.get(key)?.identity === identity) return;
    this.#set(key, { identity, learntMs: nowMs });
    if (this.#byKey.size <= labelSetsMax) return;
    const [oldest] = [...this.#byKey].reduce((a, b) => (b[1].learntMs < a[1].learntMs ? b : a));
    this.#byKey.delete(oldest);
    this.#records.delete(oldest);
  }

  /** The identity, if the manager still has it and it still says all that documents read of these labels and addresses. */
  identityOf(labels: Labels, addresses: readonly string[], store: DesiredStore): number | undefined {
    const known = this.#byKey.get(labelsKey(labels));
    const identity = known === undefined ? undefined : store.identities.get(known.identity);
    if (known === undefined || identity === undefined) return undefined;
    return isIdentityOf(store.policySet, identity, { labels, addresses }) ? known.identity : undefined;
  }

  #set(key: string, known: Known): void {
    this.#byKey.set(key, known);
    this.#records.set(key, known);
  }
}

/** Claims of a workload and of its endpoints. The workload's own claim wins: who attaches it to a network may not be who runs it. */
export function claimedLabels(workload: LocalWorkload, endpoints: readonly LocalEndpoint[]): Labels {
  const claims = [...endpoints].sort((a, b) => (a.endpoint < b.endpoint ? 1 : -1)).map(({ labels }) => labels);
  const merged = Object.assign({}, ...claims, workload.labels) as Record<string, string>;
  return Object.fromEntries(Object.entries(merged).filter(([key]) => !key.startsWith(factPrefix)));
}

/** All labels as the manager makes them of a report: claims, and facts from what was measured. */
export function expectedLabels(host: string, workload: LocalWorkload, endpoints: readonly LocalEndpoint[]): Labels {
  return {
    ...claimedLabels(workload, endpoints),
    [`${factPrefix}host`]: host,
    [`${factPrefix}class`]: workload.isolationClass,
    [`${factPrefix}boundary`]: workload.boundary,
    [`${factPrefix}engine`]: workload.engine,
    ...(workload.imageDigest === null ? {} : { [`${factPrefix}image`]: workload.imageDigest }),
  };
}

export function labelsKey(labels: Labels): string {
  return JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));
}
