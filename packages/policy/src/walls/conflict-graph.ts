import type { Mark } from './contact-graph.ts';
import type { WallRule } from './wall.ts';

/** Two marks that must not meet, and the wall that says so. */
export interface MarkConflict {
  readonly wall: string;
  readonly between: readonly [Mark, Mark];
}

/** The symmetric graph of conflicts of some walls, over numbered names. */
export class ConflictGraph {
  readonly #adjacent = new Map<Mark, Map<Mark, string[]>>();

  constructor(walls: readonly WallRule[], numberOf: (name: string) => Mark) {
    for (const { name, pairs } of walls) {
      for (const pair of pairs) {
        const [a, b] = pair.map(numberOf) as [Mark, Mark];
        this.#add(a, b, name);
        this.#add(b, a, name);
      }
    }
  }

  #add(a: Mark, b: Mark, wall: string): void {
    let row = this.#adjacent.get(a);
    if (row === undefined) this.#adjacent.set(a, (row = new Map()));
    const walls = row.get(b);
    if (walls === undefined) row.set(b, [wall]);
    else walls.push(wall);
  }

  /** Whether some wall names it. */
  names(mark: Mark): boolean {
    return this.#adjacent.has(mark);
  }

  /** Conflicts with one end in each of the two sets. Follows the smaller set, and of each of its marks the shorter list. */
  *across(a: Marks, b: Marks): Generator<MarkConflict> {
    const [few, many] = a.size <= b.size ? [a, b] : [b, a];
    for (const mark of few.keys()) {
      const row = this.#adjacent.get(mark);
      if (row === undefined) continue;
      const [shorter, longer] = row.size <= many.size ? [row, many] : [many, row];
      for (const other of shorter.keys()) {
        if (!longer.has(other)) continue;
        for (const wall of row.get(other)!) yield { wall, between: [mark, other] };
      }
    }
  }

  /** Conflicts inside one set, each once. */
  *within(marks: Marks): Generator<MarkConflict> {
    for (const mark of marks.keys()) {
      const row = this.#adjacent.get(mark);
      if (row === undefined) continue;
      const [shorter, longer] = row.size <= marks.size ? [row, marks] : [marks, row];
      for (const other of shorter.keys()) {
        if (other <= mark || !longer.has(other)) continue;
        for (const wall of row.get(other)!) yield { wall, between: [mark, other] };
      }
    }
  }
}

/** A set of marks, or a map with marks as keys. */
export interface Marks {
  readonly size: number;
  has(mark: Mark): boolean;
  keys(): IterableIterator<Mark>;
}
