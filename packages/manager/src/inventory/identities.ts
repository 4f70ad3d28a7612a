/**
 * Which identity each label set has. Only keys that policy reads count, so that a label nobody asks for (a build number) makes no new
 * identity. Pure planning: the numbers it chooses become commands of the ledger.
 */
import { identityFirst, identityMax } from '@bulkhead/policy';
import { labelsText } from './inventory-state.ts';
import type { Labels } from '@bulkhead/policy';
import type { InventoryState } from './inventory-state.ts';

export type IdentityPlan =
  | {
      readonly kind: 'planned';
      readonly allocated: readonly (readonly [number, Labels])[];
      /** Workload → identity, in the order asked. */
      readonly identityOf: ReadonlyMap<string, number>;
    }
  /** All 24-bit numbers are referenced or not yet confirmed as removed. */
  | { readonly kind: 'exhausted' };

/** The part of the labels that policy reads. */
export function relevantLabels(labels: Labels, keys: ReadonlySet<string>): Labels {
  return Object.fromEntries(
    Object.entries(labels)
      .filter(([key]) => keys.has(key))
      .toSorted(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)),
  );
}

/**
 * `confirmedRevision`: every host is known to enforce this revision or a later one, so that a number released by then is seen by
 * nobody any more.
 */
export function planIdentities(
  state: InventoryState,
  wanted: Iterable<readonly [string, Labels]>,
  keys: ReadonlySet<string>,
  confirmedRevision: number,
): IdentityPlan {
  const allocated: (readonly [number, Labels])[] = [];
  const byText = new Map<string, number>();
  const taken = new Set<number>();
  const identityOf = new Map<string, number>();
  let next = state.nextIdentity;
  for (const [workload, labels] of wanted) {
    const relevant = relevantLabels(labels, keys);
    const text = labelsText(relevant);
    let identity = state.identityByLabels.get(text) ?? byText.get(text);
    if (identity === undefined) {
      const free = findFree(state, next, taken, confirmedRevision);
      if (free === null) return { kind: 'exhausted' };
      identity = free;
      next = free + 1;
      taken.add(identity);
      byText.set(text, identity);
      allocated.push([identity, relevant]);
    }
    identityOf.set(workload, identity);
  }
  return { kind: 'planned', allocated, identityOf };
}

/** The first usable number from `from` on, round the end once. */
function findFree(
  state: InventoryState,
  from: number,
  taken: ReadonlySet<number>,
  confirmedRevision: number,
): number | null {
  const size = identityMax - identityFirst + 1;
  for (let step = 0; step < size; step += 1) {
    const identity = identityFirst + ((from - identityFirst + step) % size);
    if (state.identities.has(identity) || taken.has(identity)) continue;
    const releasedAt = state.released.get(identity);
    if (releasedAt === undefined || releasedAt <= confirmedRevision) return identity;
  }
  return null;
}
