/**
 * The state machine over the ledger: what every manager holds in memory, made only by applying batches in their order. Other modules
 * read it and propose batches (committer.ts); nobody else changes it.
 */
import { applyDocuments, emptyDocuments } from '../policies/documents-state.ts';
import {
  allocateIdentity,
  assignIdentity,
  emptyInventory,
  releaseIdentity,
  removeWorkload,
  setWorkload,
} from '../inventory/inventory-state.ts';
import { emptyHosts, enrolHost, renewHost, revokeHost } from '../hosts/hosts-state.ts';
import { ChangeLog } from './change-log.ts';
import { documentKeyOf, documentKeyText } from './commands.ts';
import type { DocumentsState } from '../policies/documents-state.ts';
import type { InventoryState } from '../inventory/inventory-state.ts';
import type { HostsState } from '../hosts/hosts-state.ts';
import type { AdoptMode, Batch, Command, PersonTokenState } from './commands.ts';

export interface State {
  /** Sequence of the newest applied batch. */
  revision: number;
  /** Newest revision that changed something agents are sent. */
  desiredRevision: number;
  readonly documents: DocumentsState;
  readonly inventory: InventoryState;
  readonly hosts: HostsState;
  readonly people: Map<string, PersonTokenState>;
  enforcement: { readonly on: boolean; readonly because: string; readonly by: string; readonly atMs: number };
  /** How workloads that are not ours were asked to be treated. */
  readonly adoptions: Map<string, AdoptMode>;
  changes: ChangeLog;
}

export function emptyState(): State {
  return {
    revision: 0,
    desiredRevision: 0,
    documents: emptyDocuments(),
    inventory: emptyInventory(),
    hosts: emptyHosts(),
    people: new Map(),
    enforcement: { on: true, because: 'initial', by: 'manager', atMs: 0 },
    adoptions: new Map(),
    changes: new ChangeLog(0),
  };
}

export function applyBatch(state: State, sequence: number, batch: Batch): void {
  if (sequence !== state.revision + 1) throw new Error(`Batch ${sequence} applied to a state at ${state.revision}.`);
  state.revision = sequence;
  for (const command of batch.commands) applyCommand(state, sequence, batch, command);
}

function applyCommand(state: State, revision: number, batch: Batch, command: Command): void {
  const { by, atMs } = batch;
  const changed = (item: 'document' | 'identity' | 'workload', key: string) => {
    state.changes.add(revision, item, key);
    state.desiredRevision = revision;
  };
  switch (command.kind) {
    case 'documents':
      applyDocuments(state.documents, command, { revision, by, atMs });
      for (const key of command.removed) changed('document', documentKeyText(key));
      for (const document of command.set) changed('document', documentKeyText(documentKeyOf(document)));
      return;
    case 'workloads':
      for (const id of command.removed) {
        removeWorkload(state.inventory, id);
        changed('workload', id);
      }
      for (const entry of command.set) {
        setWorkload(state.inventory, entry);
        changed('workload', entry.report.workload);
      }
      return;
    case 'identities-allocated':
      for (const [identity, labels] of command.identities) {
        allocateIdentity(state.inventory, identity, labels);
        changed('identity', String(identity));
      }
      return;
    case 'identities-released':
      for (const identity of command.identities) {
        releaseIdentity(state.inventory, identity, revision);
        changed('identity', String(identity));
      }
      return;
    case 'identities-assigned':
      for (const [id, identity] of command.workloads) {
        assignIdentity(state.inventory, id, identity);
        changed('workload', id);
      }
      return;
    case 'enrolment-token-created':
      state.hosts.tokens.set(command.token.id, command.token);
      return;
    case 'enrolment-token-revoked':
      state.hosts.tokens.delete(command.id);
      return;
    case 'host-enrolled':
      return enrolHost(state.hosts, command, atMs);
    case 'host-renewed':
      return renewHost(state.hosts, command.host, command.certificate);
    case 'host-revoked':
      return revokeHost(state.hosts, command.host, { atMs, because: command.because, by });
    case 'person-token-created':
      state.people.set(command.token.id, command.token);
      return;
    case 'person-token-revoked':
      state.people.delete(command.id);
      return;
    case 'enforcement':
      state.enforcement = { on: command.on, because: command.because, by, atMs };
      return;
    case 'adoption':
      for (const [workload, mode] of state.adoptions) {
        if (mode === 'release' && !state.inventory.workloads.has(workload)) state.adoptions.delete(workload);
      }
      // A release is kept too: a host that is away must hear of it when it comes back.
      state.adoptions.set(command.workload, command.mode);
      return;
  }
}
