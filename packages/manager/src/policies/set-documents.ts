/** The documents of a policy set, asked for by kinds and names that come from outside. */
import type { Document, PolicySet } from '@bulkhead/policy';
import type { DocumentKey } from '../store/commands.ts';

export function documentOf(set: PolicySet, { kind, name }: DocumentKey): Document | null {
  if (!Object.hasOwn(set.documents, kind)) return null;
  const ofKind: ReadonlyMap<string, Document> = set.documents[kind as Document['kind']];
  return ofKind.get(name) ?? null;
}

export function documentCount(set: PolicySet): number {
  return Object.values(set.documents).reduce((sum, ofKind: ReadonlyMap<string, unknown>) => sum + ofKind.size, 0);
}
