/**
 * A set that costs little while it has few members, as most here do: a list up to `fewMax`, then a set. Whoever goes through a list sees
 * it as it was when he began.
 */
export class FewSet<Item> {
  #items: readonly Item[] | Set<Item> = none;

  get size(): number {
    return this.#items instanceof Set ? this.#items.size : this.#items.length;
  }

  has(item: Item): boolean {
    return this.#items instanceof Set ? this.#items.has(item) : this.#items.includes(item);
  }

  add(item: Item): void {
    const items = this.#items;
    if (items instanceof Set) items.add(item);
    else if (items.includes(item)) return;
    else if (items.length < fewMax) this.#items = [...items, item];
    else this.#items = new Set(items).add(item);
  }

  delete(item: Item): boolean {
    const items = this.#items;
    if (items instanceof Set) return items.delete(item);
    if (!items.includes(item)) return false;
    this.#items = items.filter((other) => other !== item);
    return true;
  }

  [Symbol.iterator](): IterableIterator<Item> {
    return this.#items.values();
  }
}

const fewMax = 8;
const none: readonly never[] = [];
