/** The documents in force, as the ledger left them. */
import { documentKeyOf, documentKeyText } from '../store/commands.ts';
import type { DocumentKey, StoredDocument } from '../store/commands.ts';

export interface DocumentEntry {
  readonly document: StoredDocument;
  /** Revision that last changed it. */
  readonly revision: number;
  readonly by: string;
  readonly atMs: number;
}

export interface DocumentsState {
  /** By `kind/name`. */
  readonly entries: Map<string, DocumentEntry>;
  /** Revision of the newest change of any document. */
  revision: number;
}

export function emptyDocuments(): DocumentsState {
  return { entries: new Map(), revision: 0 };
}

export function applyDocuments(
  state: DocumentsState,
  change: { readonly set: readonly StoredDocument[]; readonly removed: readonly DocumentKey[] },
  context: { readonly revision: number; readonly by: string; readonly atMs: number },
): void {
  for (const key of change.removed) state.entries.delete(documentKeyText(key));
  for (const document of change.set) {
    state.entries.set(documentKeyText(documentKeyOf(document)), { document, ...context });
  }
  state.revision = context.revision;
}
