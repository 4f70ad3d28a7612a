/** Something of which it is known how many use it. It carries the count itself, since it is counted for every row. */
export interface Countable {
  uses: number;
}

/** Keeps things while somebody uses them. What nobody uses lives until `sweep`, so that it may be used again. */
export class Counted<Item extends Countable> {
  /** What nobody used at some time since the last sweep; one may stand here twice, and may be in use again. */
  #idle: Item[] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** One that nobody uses yet. */
  add(item: Item): void {
    this.#size++;
    this.#idle.push(item);
  }

  hold(item: Item): void {
    item.uses++;
  }

  release(item: Item): void {
    item.uses--;
    if (item.uses === 0) this.#idle.push(item);
    else if (item.uses < 0) throw new Error('something is given back more often than it was taken');
  }

  /** Forgets what nobody uses, and tells what that is. */
  sweep(onForgotten: (item: Item) => void): void {
    const unused = new Set(this.#idle.filter(({ uses }) => uses === 0));
    this.#idle = [];
    this.#size -= unused.size;
    for (const item of unused) onForgotten(item);
  }
}

/** Something that is made once per content. */
export interface Keyed extends Countable {
  readonly key: string;
}

/** Keeps one object per key while somebody uses it. */
export class Interned<Item extends Keyed> {
  readonly #byKey = new Map<string, Item>();
  readonly #counted = new Counted<Item>();

  get size(): number {
    return this.#counted.size;
  }

  /** The item of that key, made where there is none. */
  intern(key: string, make: () => Item): Item {
    let item = this.#byKey.get(key);
    if (item === undefined) {
      item = make();
      this.#byKey.set(key, item);
      this.#counted.add(item);
    }
    return item;
  }

  hold(item: Item): void {
    this.#counted.hold(item);
  }

  release(item: Item): void {
    this.#counted.release(item);
  }

  /** Forgets what nobody uses, and tells what that is. */
  sweep(onForgotten?: (item: Item) => void): void {
    this.#counted.sweep((item) => {
      this.#byKey.delete(item.key);
      onForgotten?.(item);
    });
  }
}
