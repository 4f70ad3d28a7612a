/** The desired state as messages: the whole of it, or the difference from the revision that an agent has. */
import { parseDocumentKey } from '../store/commands.ts';
import type { AuditHead, DesiredMessage } from '@bulkhead/protocol';
import type { DocumentKey, InventoryEntry, StoredDocument } from '../store/commands.ts';
import type { State } from '../store/state.ts';

/**
 * About how large one message is, in characters of its JSON; CBOR is smaller. One such message at a time waits in the socket of each
 * agent. Only a document that is larger by itself makes a larger one.
 */
const messageCharactersMax = 256_000;
/** Most items in one message, all lists together. */
const messageItemsMax = 5000;

type Workload = DesiredMessage['workloads'][number];

type Item =
  | { readonly list: 'documents'; readonly value: StoredDocument }
  | { readonly list: 'documentsRemoved'; readonly value: DocumentKey }
  | { readonly list: 'identities'; readonly value: DesiredMessage['identities'][number] }
  | { readonly list: 'identitiesRemoved'; readonly value: number }
  | { readonly list: 'workloads'; readonly value: Workload }
  | { readonly list: 'workloadsRemoved'; readonly value: string };

/**
 * Messages that bring an agent from revision `from` to the present one; the last has `more: false`. The full state when `from` is 0,
 * unknown, or too long ago. There is always at least one message, so that the agent answers with a receipt.
 */
export function desiredMessages(state: State, from: number, auditHead: AuditHead | null): readonly DesiredMessage[] {
  const changed = from > 0 && from <= state.desiredRevision ? state.changes.since(from) : null;
  const items = changed === null ? allItems(state) : changedItems(state, changed);
  return pack(items, state.desiredRevision, changed === null ? 0 : from, auditHead);
}

function* allItems(state: State): Generator<Item> {
  for (const { document } of state.documents.entries.values()) yield { list: 'documents', value: document };
  for (const [identity, { labels }] of state.inventory.identities)
    yield { list: 'identities', value: [identity, labels] };
  for (const entry of state.inventory.workloads.values()) {
    if (entry.identity !== 0) yield { list: 'workloads', value: workloadOf(entry) };
  }
}

function* changedItems(
  state: State,
  changed: {
    readonly document: ReadonlySet<string>;
    readonly identity: ReadonlySet<string>;
    readonly workload: ReadonlySet<string>;
  },
): Generator<Item> {
  for (const key of changed.document) {
    const entry = state.documents.entries.get(key);
    if (entry === undefined) yield { list: 'documentsRemoved', value: parseDocumentKey(key) };
    else yield { list: 'documents', value: entry.document };
  }
  for (const key of changed.identity) {
    const identity = Number(key);
    const entry = state.inventory.identities.get(identity);
    if (entry === undefined) yield { list: 'identitiesRemoved', value: identity };
    else yield { list: 'identities', value: [identity, entry.labels] };
  }
  for (const id of changed.workload) {
    const entry = state.inventory.workloads.get(id);
    if (entry === undefined || entry.identity === 0) yield { list: 'workloadsRemoved', value: id };
    else yield { list: 'workloads', value: workloadOf(entry) };
  }
}

function workloadOf(entry: InventoryEntry): Workload {
  const { report } = entry;
  return {
    workload: report.workload,
    name: report.name,
    host: entry.host,
    identity: entry.identity,
    generation: report.generation,
    labels: entry.labels,
    // The schema's bound; a workload with more endpoints than that keeps the rest denied.
    addresses: entry.addresses.slice(0, 64),
  };
}

function pack(
  items: Iterable<Item>,
  revision: number,
  from: number,
  auditHead: AuditHead | null,
): readonly DesiredMessage[] {
  const lists: ReturnType<typeof emptyLists>[] = [emptyLists()];
  let characters = 0;
  let count = 0;
  for (const { list, value } of items) {
    const size = JSON.stringify(value).length;
    if (count > 0 && (characters + size > messageCharactersMax || count >= messageItemsMax)) {
      lists.push(emptyLists());
      characters = 0;
      count = 0;
    }
    (lists.at(-1)![list] as unknown[]).push(value);
    characters += size;
    count += 1;
  }
  return lists.map((content, index) => ({ revision, from, more: index < lists.length - 1, ...content, auditHead }));
}

function emptyLists(): { [List in Item['list']]: DesiredMessage[List] } {
  return {
    documents: [],
    documentsRemoved: [],
    identities: [],
    identitiesRemoved: [],
    workloads: [],
    workloadsRemoved: [],
  };
}
