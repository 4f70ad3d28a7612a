/** Union–find over numbered things: who is joined with whom, directly or through others. */
export class JoinedParts {
  readonly #parents: number[] = [];

  /** The number that stands for the part. */
  part(of: number): number {
    const parents = this.#parents;
    // Whoever was never joined is a part of his own.
    for (let number = parents.length; number <= of; number++) parents.push(number);
    let number = of;
    while (parents[number] !== number) {
      // Every other link is shortened on the way.
      parents[number] = parents[parents[number]!]!;
      number = parents[number]!;
    }
    return number;
  }

  join(a: number, b: number): void {
    const [partA, partB] = [this.part(a), this.part(b)];
    if (partA !== partB) this.#parents[Math.max(partA, partB)] = Math.min(partA, partB);
  }
}
