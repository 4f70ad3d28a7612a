/** A whole number from 0 to `below - 1`. */
export type Random = (below: number) => number;

/** mulberry32. */
export function seededRandom(seed: number): Random {
  let state = seed | 0;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

export function pick<T>(random: Random, from: readonly T[]): T {
  if (from.length === 0) throw new Error('nothing to pick from');
  return from[random(from.length)]!;
}

export const chance = (random: Random, percent: number): boolean => random(100) < percent;

/** One to `lengthMax` of them. */
export const listOf = <T>(random: Random, lengthMax: number, make: () => T): T[] =>
  Array.from({ length: 1 + random(lengthMax) }, make);
