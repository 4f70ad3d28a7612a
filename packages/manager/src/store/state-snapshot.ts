/** The whole state as bytes and back, so that a start need not apply the ledger from its first batch. */
import { allocateIdentity, emptyInventory, setWorkload } from '../inventory/inventory-state.ts';
import { ChangeLog } from './change-log.ts';
import { documentKeyOf, documentKeyText } from './commands.ts';
import { emptyState } from './state.ts';
import type { Labels } from '@bulkhead/policy';
import type { DocumentEntry } from '../policies/documents-state.ts';
import type { HostEntry } from '../hosts/hosts-state.ts';
import type { AdoptMode, EnrolmentTokenState, InventoryEntry, PersonTokenState } from './commands.ts';
import type { State } from './state.ts';

const formatVersion = 1;

interface Format {
  readonly version: typeof formatVersion;
  readonly revision: number;
  readonly desiredRevision: number;
  readonly documents: readonly DocumentEntry[];
  readonly documentsRevision: number;
  readonly identities: readonly (readonly [number, Labels])[];
  readonly nextIdentity: number;
  readonly released: readonly (readonly [number, number])[];
  readonly workloads: readonly InventoryEntry[];
  readonly hosts: readonly HostEntry[];
  readonly enrolmentTokens: readonly EnrolmentTokenState[];
  readonly people: readonly PersonTokenState[];
  readonly enforcement: State['enforcement'];
  readonly adoptions: readonly (readonly [string, AdoptMode])[];
}

export function encodeState(state: State): Uint8Array {
  const format: Format = {
    version: formatVersion,
    revision: state.revision,
    desiredRevision: state.desiredRevision,
    documents: [...state.documents.entries.values()],
    documentsRevision: state.documents.revision,
    identities: [...state.inventory.identities].map(([identity, entry]) => [identity, entry.labels] as const),
    nextIdentity: state.inventory.nextIdentity,
    released: [...state.inventory.released],
    workloads: [...state.inventory.workloads.values()],
    hosts: [...state.hosts.hosts.values()],
    enrolmentTokens: [...state.hosts.tokens.values()],
    people: [...state.people.values()],
    enforcement: state.enforcement,
    adoptions: [...state.adoptions],
  };
  return new TextEncoder().encode(JSON.stringify(format));
}

/** Throws when the bytes are of another version: an older manager must not guess at a newer one's state. */
export function decodeState(bytes: Uint8Array): State {
  const format = JSON.parse(new TextDecoder().decode(bytes)) as Format;
  if (format.version !== formatVersion)
    throw new Error(`Snapshot of version ${String(format.version)}, not ${formatVersion}.`);
  const inventory = emptyInventory();
  for (const [identity, labels] of format.identities) allocateIdentity(inventory, identity, labels);
  for (const entry of format.workloads) setWorkload(inventory, entry);
  for (const [identity, revision] of format.released) inventory.released.set(identity, revision);
  inventory.nextIdentity = format.nextIdentity;
  const state = emptyState();
  for (const entry of format.documents) {
    state.documents.entries.set(documentKeyText(documentKeyOf(entry.document)), entry);
  }
  state.documents.revision = format.documentsRevision;
  for (const host of format.hosts) state.hosts.hosts.set(host.host, host);
  for (const token of format.enrolmentTokens) state.hosts.tokens.set(token.id, token);
  for (const token of format.people) state.people.set(token.id, token);
  for (const [workload, mode] of format.adoptions) state.adoptions.set(workload, mode);
  return {
    ...state,
    revision: format.revision,
    desiredRevision: format.desiredRevision,
    inventory,
    enforcement: format.enforcement,
    changes: new ChangeLog(format.revision),
  };
}
