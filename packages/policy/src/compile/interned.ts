/** Something that is made once per content. It carries the count of its users itself, since it is counted for every row. */
export interface Countable {
  readonly key: string;
  uses: number;
}

/** Keeps one object per key while somebody uses it. What nobody uses lives until `sweep`, so that it may be used again. */
export class Interned<Item extends Countable> {
  readonly #byKey = new Map<string, Item>();
  readonly #idle = new Set<Item>();

  get size(): number {
    return this.#byKey.size;
  }

  /** The item of that key, made where there is none. */
  intern(key: string, make: () => Item): Item {
    let item = this.#byKey.get(key);
    if (item === undefined) {
      item = make();
      this.#byKey.set(key, item);
      this.#idle.add(item);
    }
    return item;
  }

  hold(item: Item): void {
    item.uses++;
  }

  release(item: Item): void {
    item.uses--;
    if (item.uses === 0) this.#idle.add(item);
    else if (item.uses < 0) throw new Error(`"${item.key}" is given back more often than it was taken`);
  }

  /** Forgets what nobody uses, and tells what that is. */
  sweep(onForgotten?: (item: Item) => void): void {
    for (const item of this.#idle) {
      if (item.uses > 0) continue;
      this.#byKey.delete(item.key);
      onForgotten?.(item);
    }
    this.#idle.clear();
  }
}
