/**
 * A set that costs little while it has few members, as most here do: the one member itself, then a list up to `fewMax`, then a set.
 * Whoever goes through one member or a list sees it as it was when he began.
 */
export class FewSet<Item extends object> {
  /** The one member, while `#items` is null. */
  #only: Item | null = null;
  #items: readonly Item[] | Set<Item> | null = null;

  get size(): number {
    const items = this.#items;
    if (items === null) return this.#only === null ? 0 : 1;
    return items instanceof Set ? items.size : items.length;
  }

  has(item: Item): boolean {
    const items = this.#items;
    if (items === null) return this.#only === item;
    return items instanceof Set ? items.has(item) : items.includes(item);
  }

  add(item: Item): void {
    const items = this.#items;
    if (items === null) this.#addToOne(item);
    else if (items instanceof Set) items.add(item);
    else if (items.includes(item)) return;
    else if (items.length < fewMax) this.#items = oneMore(items, item);
    else this.#items = new Set(items).add(item);
  }

  #addToOne(item: Item): void {
    const only = this.#only;
    if (only === null) {
      this.#only = item;
    } else if (only !== item) {
      this.#items = [only, item];
      this.#only = null;
    }
  }

  delete(item: Item): boolean {
    const items = this.#items;
    if (items instanceof Set) return items.delete(item);
    if (!this.has(item)) return false;
    if (items === null) this.#only = null;
    else this.#items = items.filter((other) => other !== item);
    return true;
  }

  [Symbol.iterator](): IterableIterator<Item> {
    if (this.#items !== null) return this.#items.values();
    return (this.#only === null ? none : [this.#only]).values();
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
