/** A wall with everything in it that the rules of contact need: which names conflict, for how long, and who is exempt. */
export interface WallRule {
  readonly name: string;
  readonly scope: WallScope;
  /** With scope `transaction`: which readings of "not bound to the same store" hold. Empty otherwise. */
  readonly readings: readonly WallReading[];
  /** Conflicting datasets (or roles), each pair once, both in it and the pairs themselves in order. */
  readonly pairs: readonly NamePair[];
  /** Segments whose members carry nothing from one contact to another, by name and in order. */
  readonly sanitizers: readonly string[];
}

export type WallScope = 'static' | 'history' | 'transaction';

/**
 * `roles-apart`: whatever the workloads of one role have been in contact with since the transaction began, those of a conflicting
 * role may not be. `never-both`: one transaction is never in contact with two conflicting datasets.
 */
export type WallReading = 'roles-apart' | 'never-both';

export type NamePair = readonly [string, string];

/** What the documents say about walls, as the contacts need it. Plain data: it is part of a command in the ledger. */
export interface WallConfiguration {
  readonly walls: readonly WallRule[];
  /** Segments that are marked as a dataset: segment, dataset. */
  readonly datasets: readonly (readonly [segment: string, dataset: string])[];
}

export const noWalls: WallConfiguration = { walls: [], datasets: [] };

/** Pairs and classes (every two of a class) as pairs that are there once. A name beside itself is no conflict. */
export function conflictPairs(
  pairs: readonly (readonly string[])[],
  classes: readonly (readonly string[])[],
): readonly NamePair[] {
  const known = new Map<string, NamePair>();
  for (const group of [...pairs, ...classes]) {
    for (const [index, a] of group.entries()) {
      for (const b of group.slice(index + 1)) {
        if (a === b) continue;
        const pair: NamePair = a < b ? [a, b] : [b, a];
        known.set(JSON.stringify(pair), pair);
      }
    }
  }
  return [...known.values()].sort(comparePairs);
}

export function comparePairs(a: NamePair, b: NamePair): number {
  if (a[0] !== b[0]) return a[0] < b[0] ? -1 : 1;
  return a[1] === b[1] ? 0 : a[1] < b[1] ? -1 : 1;
}
