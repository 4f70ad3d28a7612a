import { ClassSet } from './class-set.ts';

/** Every class of `from` with every class of `to`. */
export interface Rectangle {
  readonly from: ClassSet;
  readonly to: ClassSet;
}

/** A relation between classes, gathered pair by pair. */
export class Relation {
  readonly #classes: number;
  readonly #rows = new Map<number, ClassSet>();

  constructor(classes: number) {
    this.#classes = classes;
  }

  add(from: number, to: number): void {
    let row = this.#rows.get(from);
    if (row === undefined) {
      row = new ClassSet(this.#classes);
      this.#rows.set(from, row);
    }
    row.add(to);
  }

  /** Disjoint rectangles that are the relation: by equal rows or by equal columns, whichever are fewer. */
  rectangles(): readonly Rectangle[] {
    const byRow = grouped(this.#classes, this.#rows);
    const columns = new Relation(this.#classes);
    for (const [from, row] of this.#rows) for (const to of row) columns.add(to, from);
    const byColumn = grouped(this.#classes, columns.#rows);
    if (byRow.length <= byColumn.length) return byRow.map(([from, to]) => ({ from, to }));
    return byColumn.map(([to, from]) => ({ from, to }));
  }
}

function grouped(classes: number, rows: ReadonlyMap<number, ClassSet>): (readonly [ClassSet, ClassSet])[] {
  const groups = Map.groupBy(rows, ([, row]) => row.key());
  return [...groups.values()].map((group) => [
    ClassSet.of(
      classes,
      group.map(([index]) => index),
    ),
    group[0]![1],
  ]);
}
