/** The documents of a policy set, asked for by kinds and names that come from outside. */
import { documentKeyText } from '../store/commands.ts';
import type { Document, PolicySet } from '@bulkhead/policy';
import type { DocumentKey } from '../store/commands.ts';

export function documentOf(set: PolicySet, key: DocumentKey): Document | null {
  return set.documents.get(documentKeyText(key)) ?? null;
}

export function documentsOf(set: PolicySet): Iterable<Document> {
  return set.documents.values();
}

export function documentCount(set: PolicySet): number {
  return set.documents.size;
}
