/** Workloads and identities as the ledger left them, with the indexes that make them quick to ask. */
import type { Labels } from '@bulkhead/policy';
import { identityFirst } from '@bulkhead/policy';
import type { InventoryEntry } from '../store/commands.ts';

export interface IdentityEntry {
  readonly labels: Labels;
  /** Workloads that have it. */
  references: number;
}

export interface InventoryState {
  readonly workloads: Map<string, InventoryEntry>;
  readonly workloadsByHost: Map<string, Set<string>>;
  /** Which workload holds an address. */
  readonly addresses: Map<string, string>;
  readonly identities: Map<number, IdentityEntry>;
  /** Canonical text of a label set → its identity. */
  readonly identityByLabels: Map<string, number>;
  /** Where the search for a free number goes on: numbers are not used again before all others were. */
  nextIdentity: number;
  /** Identity → revision of its release: reusable only after every host has confirmed a later revision. */
  readonly released: Map<number, number>;
}

export function emptyInventory(): InventoryState {
  return {
    workloads: new Map(),
    workloadsByHost: new Map(),
    addresses: new Map(),
    identities: new Map(),
    identityByLabels: new Map(),
    nextIdentity: identityFirst,
    released: new Map(),
  };
}

/** The same text exactly for the same label set. */
export function labelsText(labels: Labels): string {
  return JSON.stringify(Object.entries(labels).toSorted(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));
}

export function setWorkload(state: InventoryState, entry: InventoryEntry): void {
  const id = entry.report.workload;
  removeWorkload(state, id);
  state.workloads.set(id, entry);
  const ofHost = state.workloadsByHost.get(entry.host);
  if (ofHost === undefined) state.workloadsByHost.set(entry.host, new Set([id]));
  else ofHost.add(id);
  for (const address of entry.addresses) state.addresses.set(address, id);
  reference(state, entry.identity, 1);
}

export function removeWorkload(state: InventoryState, id: string): void {
  const entry = state.workloads.get(id);
  if (entry === undefined) return;
  state.workloads.delete(id);
  const ofHost = state.workloadsByHost.get(entry.host);
  ofHost?.delete(id);
  if (ofHost?.size === 0) state.workloadsByHost.delete(entry.host);
  for (const address of entry.addresses) {
    if (state.addresses.get(address) === id) state.addresses.delete(address);
  }
  reference(state, entry.identity, -1);
}

export function assignIdentity(state: InventoryState, id: string, identity: number): void {
  const entry = state.workloads.get(id);
  if (entry !== undefined) setWorkload(state, { ...entry, identity });
}

export function allocateIdentity(state: InventoryState, identity: number, labels: Labels): void {
  state.identities.set(identity, { labels, references: 0 });
  state.identityByLabels.set(labelsText(labels), identity);
  state.released.delete(identity);
  state.nextIdentity = identity + 1;
}

export function releaseIdentity(state: InventoryState, identity: number, revision: number): void {
  const entry = state.identities.get(identity);
  if (entry === undefined) return;
  state.identities.delete(identity);
  const text = labelsText(entry.labels);
  if (state.identityByLabels.get(text) === identity) state.identityByLabels.delete(text);
  state.released.set(identity, revision);
}

function reference(state: InventoryState, identity: number, by: 1 | -1): void {
  if (identity === 0) return;
  const entry = state.identities.get(identity);
  if (entry === undefined)
    throw new Error(`The ledger gives a workload identity ${identity}, which it never allocated.`);
  entry.references += by;
}
