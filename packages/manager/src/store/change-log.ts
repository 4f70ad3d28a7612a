/**
 * Which items of the desired state changed in which revision, for the newest revisions: from it the difference between an agent's
 * revision and ours is read, removals included. What reaches further back than the log gets the full state.
 */

/** Most remembered changes. */
export const changesMax = 200_000;

export type ChangedItem = 'document' | 'identity' | 'workload';

interface Change {
  readonly revision: number;
  readonly item: ChangedItem;
  readonly key: string;
}

export class ChangeLog {
  #changes: Change[] = [];
  /** Differences from this revision on are complete. */
  #horizon: number;

  constructor(horizon: number) {
    this.#horizon = horizon;
  }

  add(revision: number, item: ChangedItem, key: string): void {
    this.#changes.push({ revision, item, key });
    if (this.#changes.length > changesMax) {
      // Half at once, so that the cost of moving the rest is paid rarely; whole revisions only.
      const cut = this.#changes[changesMax / 2]!.revision;
      this.#changes = this.#changes.filter((change) => change.revision > cut);
      this.#horizon = cut;
    }
  }

  /** Keys that changed after revision `from`, or null when that is not known any more. */
  since(from: number): Readonly<Record<ChangedItem, ReadonlySet<string>>> | null {
    if (from < this.#horizon) return null;
    const result = { document: new Set<string>(), identity: new Set<string>(), workload: new Set<string>() };
    for (let index = this.#changes.length - 1; index >= 0; index -= 1) {
      const change = this.#changes[index]!;
      if (change.revision <= from) break;
      result[change.item].add(change.key);
    }
    return result;
  }
}
