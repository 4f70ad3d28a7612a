/** Maps that never change, each made of the one before at the cost of the difference and not of the size. */

/** Most keys that differ from the map underneath. About the square root of the largest maps: what is copied at each change, and how often all of it is. */
const differencesMax = 512;

const absent = Symbol('absent');

/** The map without some keys and with others; what is both removed and set is set. The map that it is made of stays as it is. */
export function changedMap<Value>(
  before: ReadonlyMap<string, Value>,
  removed: Iterable<string>,
  set: Iterable<readonly [string, Value]>,
): ReadonlyMap<string, Value> {
  const given = new Map(set);
  const gone = [...new Set(removed)].filter((key) => !given.has(key) && before.has(key));
  if (gone.length === 0 && given.size === 0) return before;
  if (before.size === 0) return given;
  const { base, differences } = before instanceof Overlay ? before.parts() : { base: before, differences: none };
  if (base.size <= differencesMax || differences.size + given.size + gone.length > differencesMax) {
    const after = new Map(before);
    for (const key of gone) after.delete(key);
    for (const [key, value] of given) after.set(key, value);
    return after;
  }
  const after = new Map<string, Value | typeof absent>(differences);
  let size = before.size - gone.length;
  for (const key of gone) after.set(key, absent);
  for (const [key, value] of given) {
    if (!before.has(key)) size++;
    after.set(key, value);
  }
  return new Overlay(base, after, size);
}

const none: ReadonlyMap<string, never> = new Map<string, never>();

/** A map, and over it what differs. No value is undefined. */
class Overlay<Value> implements ReadonlyMap<string, Value> {
  readonly #base: ReadonlyMap<string, Value>;
  readonly #differences: ReadonlyMap<string, Value | typeof absent>;
  readonly size: number;

  constructor(base: ReadonlyMap<string, Value>, differences: ReadonlyMap<string, Value | typeof absent>, size: number) {
    this.#base = base;
    this.#differences = differences;
    this.size = size;
  }

  parts() {
    return { base: this.#base, differences: this.#differences };
  }

  get(key: string): Value | undefined {
    const over = this.#differences.get(key);
    if (over === undefined) return this.#base.get(key);
    return over === absent ? undefined : (over as Value);
  }

  has(key: string): boolean {
    return this.get(key) !== undefined;
  }

  *entries(): MapIterator<[string, Value]> {
    for (const entry of this.#base) if (!this.#differences.has(entry[0])) yield entry;
    for (const [key, value] of this.#differences) if (value !== absent) yield [key, value as Value];
  }

  *keys(): MapIterator<string> {
    for (const [key] of this.entries()) yield key;
  }

  *values(): MapIterator<Value> {
    for (const [, value] of this.entries()) yield value;
  }

  [Symbol.iterator](): MapIterator<[string, Value]> {
    return this.entries();
  }

  forEach(each: (value: Value, key: string, map: ReadonlyMap<string, Value>) => void): void {
    for (const [key, value] of this.entries()) each(value, key, this);
  }
}
