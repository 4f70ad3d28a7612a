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
    else if (items.length < fewMax) this.#items = oneMore(items, item);
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

/**
 * The list with one more at its end, and no room behind: what grows by pushing or spreading has room for 16 more (V8), and most lists
 * here stay at one or two.
 */
export function oneMore<Item>(items: readonly Item[], item: Item): Item[] {
  return items.length === 0 ? [item] : items.concat([item]);
}

/** From how many on a set, or a list that grows by pushing, costs less. */
export const fewMax = 8;
const none: readonly never[] = [];
