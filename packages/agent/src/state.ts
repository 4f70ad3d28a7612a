/**
 * The agent's own memory on disk: one SQLite file with named collections of JSON records. Every change is durable when the call
 * returns (WAL, synchronous FULL): what an engine told us once is never told again.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

export const stateDirectoryDefault = '/var/lib/bulkhead/agent';

/** Records of one kind, by key. Values must be JSON. */
export interface Records<T> {
  get(key: string): T | undefined;
  set(key: string, value: T): void;
  delete(key: string): void;
  clear(): void;
  entries(): readonly (readonly [key: string, value: T])[];
}

export interface AgentState extends Disposable {
  readonly directory: string;
  /** `parse` checks what an older version may have written; it may throw, which names collection and key. */
  records<T>(collection: string, parse: (value: unknown) => T): Records<T>;
  /**
   * All changes inside are durable together, or none is. Nests: the outermost counts. `process`: what is written survives the end of
   * the process in whatever way, and may be lost with the power. That is enough for what a reboot makes void anyway, and costs no fsync.
   */
  transaction<T>(run: () => T, survives?: 'power' | 'process'): T;
}

/** A record on disk that this version cannot read. */
export class StateError extends Error {
  constructor(collection: string, key: string, cause: unknown) {
    super(`state: record ${collection}/${key} cannot be read: ${String(cause)}`, { cause });
    this.name = 'StateError';
  }
}

const schema = `
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = FULL;
  PRAGMA busy_timeout = 2000;
  CREATE TABLE IF NOT EXISTS record (
    collection TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (collection, key)
  ) WITHOUT ROWID, STRICT;
`;

/** Opens (or makes) the state under a directory, mode 0700. `:memory:` keeps nothing. */
export function openAgentState(directory: string): AgentState {
  const inMemory = directory === ':memory:';
  if (!inMemory) mkdirSync(directory, { recursive: true, mode: 0o700 });
  const database = new DatabaseSync(inMemory ? directory : join(directory, 'state.db'));
  database.exec(schema);
  const select = database.prepare('SELECT value FROM record WHERE collection = ? AND key = ?');
  const selectAll = database.prepare('SELECT key, value FROM record WHERE collection = ? ORDER BY key');
  const upsert = database.prepare(
    'INSERT INTO record (collection, key, value) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value',
  );
  const remove = database.prepare('DELETE FROM record WHERE collection = ? AND key = ?');
  const removeAll = database.prepare('DELETE FROM record WHERE collection = ?');
  let depth = 0;

  function records<T>(collection: string, parse: (value: unknown) => T): Records<T> {
    const read = (key: string, text: unknown): T => {
      try {
        return parse(JSON.parse(String(text)));
      } catch (cause) {
        throw new StateError(collection, key, cause);
      }
    };
    return {
      get(key) {
        const row = select.get(collection, key);
        return row === undefined ? undefined : read(key, row['value']);
      },
      set: (key, value) => void upsert.run(collection, key, JSON.stringify(value)),
      delete: (key) => void remove.run(collection, key),
      clear: () => void removeAll.run(collection),
      entries: () =>
        selectAll.all(collection).map((row) => [String(row['key']), read(String(row['key']), row['value'])]),
    };
  }

  function transaction<T>(run: () => T, survives: 'power' | 'process' = 'power'): T {
    if (depth > 0) return run();
    if (survives === 'process') database.exec('PRAGMA synchronous = NORMAL');
    depth++;
    try {
      database.exec('BEGIN IMMEDIATE');
      const result = run();
      database.exec('COMMIT');
      return result;
    } catch (error) {
      if (database.isTransaction) database.exec('ROLLBACK');
      throw error;
    } finally {
      depth--;
      if (survives === 'process') database.exec('PRAGMA synchronous = FULL');
    }
  }

  return { directory, records, transaction, [Symbol.dispose]: () => database.close() };
}
