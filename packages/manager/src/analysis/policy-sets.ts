/** Resolved documents of any revision that is kept, from the history's file, each made from the nearest that is there already. */
import { changePolicySet, emptyPolicySet, parseDocument } from '@bulkhead/policy';
import { DatabaseSync } from 'node:sqlite';
import { parseDocumentKey } from '../store/commands.ts';
import { setsKept } from './limits.ts';
import type { Document, PolicySet } from '@bulkhead/policy';

interface Kept {
  readonly revision: number;
  readonly set: PolicySet;
}

const lockWaitMs = 5_000;
const inForce = 'since <= $revision AND (until IS NULL OR until > $revision)';

export class PolicySets implements Disposable {
  readonly #database: DatabaseSync;
  readonly #all;
  readonly #changed;
  readonly #count;
  #kept: Kept[] = [];

  constructor(path: string) {
    this.#database = new DatabaseSync(path, { readOnly: true, timeout: lockWaitMs });
    this.#all = this.#database.prepare(`SELECT document FROM versions WHERE ${inForce}`);
    this.#changed = this.#database
      .prepare(`SELECT touched.key, (SELECT document FROM versions WHERE key = touched.key AND ${inForce})
      AS document FROM (SELECT key FROM versions WHERE since > $from AND since <= $through
      UNION SELECT key FROM versions WHERE until > $from AND until <= $through) AS touched`);
    this.#count = this.#database.prepare(`SELECT count(*) AS changes FROM versions
      WHERE (since > $from AND since <= $through) OR (until > $from AND until <= $through)`);
  }

  /** The documents in force at a revision. Whoever asks has made sure that it is kept. */
  at(revision: number): PolicySet {
    const known = this.#kept.find((kept) => kept.revision === revision);
    const set = known?.set ?? this.#made(revision);
    this.#kept = [{ revision, set }, ...this.#kept.filter((kept) => kept.revision !== revision)].slice(0, setsKept);
    return set;
  }

  [Symbol.dispose](): void {
    this.#database.close();
  }

  #made(revision: number): PolicySet {
    let nearest: { readonly kept: Kept; readonly changes: number } | null = null;
    for (const kept of this.#kept) {
      const changes = this.#changesBetween(kept.revision, revision);
      if (nearest === null || changes < nearest.changes) nearest = { kept, changes };
    }
    if (nearest === null || nearest.changes > documentCountOf(nearest.kept.set)) {
      const rows = this.#all.all({ $revision: revision });
      return resolved(
        emptyPolicySet,
        rows.map((row) => documentOf(row['document'])),
        [],
      );
    }
    const { revision: known, set } = nearest.kept;
    const bounds = { $from: Math.min(known, revision), $through: Math.max(known, revision) };
    const rows = this.#changed.all({ ...bounds, $revision: revision });
    const present = rows.filter((row) => row['document'] !== null).map((row) => documentOf(row['document']));
    const gone = rows.filter((row) => row['document'] === null).map((row) => parseDocumentKey(String(row['key'])));
    return resolved(set, present, gone);
  }

  #changesBetween(a: number, b: number): number {
    const row = this.#count.get({ $from: Math.min(a, b), $through: Math.max(a, b) });
    return Number(row?.['changes'] ?? 0);
  }
}

function documentOf(text: unknown): Document {
  const parsed = parseDocument(JSON.parse(String(text)), {});
  if (parsed.kind === 'ok') return parsed.document;
  throw new Error(`The history holds a document that this version refuses: ${JSON.stringify(parsed.problems)}`);
}

/** What the history holds was checked when it was applied, conditions too. */
function resolved(
  before: PolicySet,
  set: readonly Document[],
  removed: readonly { readonly kind: string; readonly name: string }[],
): PolicySet {
  const result = changePolicySet(before, { set, removed }, { checkCondition: () => null });
  if (result.kind === 'ok') return result.policySet;
  throw new Error(`The history holds documents that this version refuses: ${JSON.stringify(result.problems)}`);
}

function documentCountOf(set: PolicySet): number {
  return Object.values(set.documents).reduce((sum, ofKind: ReadonlyMap<string, unknown>) => sum + ofKind.size, 0);
}
