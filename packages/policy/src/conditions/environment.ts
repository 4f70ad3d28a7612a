/**
 * What a condition may name: a flat list of dotted names, each with its type, how it is read, and what it depends on.
 */
import type { Value, ValueType } from './types.ts';

/**
 * What an answer depends on beyond the rule, the segments of both parties, protocol and port. `time` and `rate` change by
 * themselves, so an answer holds for its connection only; `workload` differs between workloads of one identity, so an answer may
 * not be given to another pair of workloads.
 */
export type Dependency = 'time' | 'rate' | 'workload';

export interface Variable<Facts> {
  readonly type: ValueType;
  readonly read: (facts: Facts) => Value;
  readonly dependsOn: Dependency | null;
}

export type Environment<Facts> = ReadonlyMap<string, Variable<Facts>>;

/** The names that follow `prefix.`, or the first parts of all names when `prefix` is empty. */
export function namesUnder(environment: ReadonlyMap<string, unknown>, prefix: string): string[] {
  const start = prefix === '' ? '' : `${prefix}.`;
  const parts = [...environment.keys()]
    .filter((name) => name.startsWith(start))
    .map((name) => name.slice(start.length).split('.')[0] ?? '');
  return [...new Set(parts)].sort();
}

/** The candidate nearest to a word by Damerau–Levenshtein distance, if it is near enough to be a slip of the hand. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.floor(word.length / 3) + 1;
  for (const candidate of candidates) {
    const far = distance(word.toLowerCase(), candidate.toLowerCase());
    if (far <= bestDistance && (best === undefined || far < bestDistance)) {
      best = candidate;
      bestDistance = far;
    }
  }
  return best;
}

/** Words longer than this are not compared: nobody misspells one by a letter. */
const wordMax = 64;

function distance(a: string, b: string): number {
  if (a.length > wordMax || b.length > wordMax) return wordMax;
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row += 1) {
    const current = [row];
    for (let column = 1; column <= b.length; column += 1) {
      const same = a[row - 1] === b[column - 1];
      let least = Math.min(last[column]! + 1, current[column - 1]! + 1, last[column - 1]! + (same ? 0 : 1));
      const swapped = row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
      if (swapped) least = Math.min(least, beforeLast[column - 2]! + 1);
      current.push(least);
    }
    beforeLast = last;
    last = current;
  }
  return last[b.length]!;
}
