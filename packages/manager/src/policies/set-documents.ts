/** The documents of a policy set, asked for by kinds and names that come from outside. */
import type { Document, PolicySet } from '@bulkhead/policy';
import type { DocumentKey } from '../store/commands.ts';

export function documentOf(set: PolicySet, { kind, name }: DocumentKey): Document | null {
  if (!Object.hasOwn(set.documents, kind)) return null;
  return set.documents[kind as Document['kind']].get(name) ?? null;
}

export function documentCount(set: PolicySet): number {
  return Object.values(set.documents).reduce((sum, ofKind) => sum + ofKind.size, 0);
}
