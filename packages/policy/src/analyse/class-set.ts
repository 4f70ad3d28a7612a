/** A set of class numbers as bits. Made large enough for all classes of one analysis; sets of different analyses do not mix. */
export class ClassSet {
  readonly #words: Uint32Array;

  constructor(classes: number) {
    this.#words = new Uint32Array((classes + 31) >>> 5);
  }

  static of(classes: number, members: Iterable<number>): ClassSet {
    const set = new ClassSet(classes);
    for (const member of members) set.add(member);
    return set;
  }

  add(member: number): void {
    this.#words[member >>> 5]! |= 1 << (member & 31);
  }

  has(member: number): boolean {
    return (this.#words[member >>> 5]! & (1 << (member & 31))) !== 0;
  }

  get size(): number {
    let count = 0;
    for (const word of this.#words) count += bitCount(word);
    return count;
  }

  *[Symbol.iterator](): Generator<number> {
    for (const [index, word] of this.#words.entries()) {
      for (let rest = word; rest !== 0; rest &= rest - 1) yield index * 32 + (31 - Math.clz32(rest & -rest));
    }
  }

  isInside(other: ClassSet): boolean {
    const [own, others] = [this.#words, other.#words];
    for (let index = 0; index < own.length; index++) if ((own[index]! & ~others[index]!) !== 0) return false;
    return true;
  }

  sizeShared(other: ClassSet): number {
    const [own, others] = [this.#words, other.#words];
    let count = 0;
    for (let index = 0; index < own.length; index++) count += bitCount(own[index]! & others[index]!);
    return count;
  }

  shared(other: ClassSet): ClassSet {
    return this.#combined(other, (a, b) => a & b);
  }

  without(other: ClassSet): ClassSet {
    return this.#combined(other, (a, b) => a & ~b);
  }

  joined(other: ClassSet): ClassSet {
    return this.#combined(other, (a, b) => a | b);
  }

  #combined(other: ClassSet, combine: (a: number, b: number) => number): ClassSet {
    const result = new ClassSet(this.#words.length * 32);
    for (const [index, word] of this.#words.entries()) result.#words[index] = combine(word, other.#words[index]!);
    return result;
  }

  /** Equal for equal sets of one analysis. */
  key(): string {
    return String.fromCharCode(...new Uint16Array(this.#words.buffer));
  }
}

function bitCount(word: number): number {
  let bits = word - ((word >>> 1) & 0x55555555);
  bits = (bits & 0x33333333) + ((bits >>> 2) & 0x33333333);
  return Math.imul((bits + (bits >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}
