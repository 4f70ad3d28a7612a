/** Which label keys documents read: the only ones that make identities. */
import { documentLabelKeys } from '@bulkhead/policy';
import type { Document } from '@bulkhead/policy';

/** Label key → how many documents read it. */
export type KeyCounts = ReadonlyMap<string, number>;

/** What a change of documents makes of the counts, at the cost of the change alone. */
export function changedKeyCounts(
  counts: KeyCounts,
  changes: Iterable<{ readonly before: Document | null; readonly after: Document | null }>,
): KeyCounts {
  const changed = new Map(counts);
  const add = (document: Document | null, by: 1 | -1) => {
    for (const key of new Set(document === null ? [] : documentLabelKeys(document))) {
      const count = (changed.get(key) ?? 0) + by;
      if (count === 0) changed.delete(key);
      else changed.set(key, count);
    }
  };
  for (const { before, after } of changes) {
    add(before, -1);
    add(after, 1);
  }
  return changed;
}
