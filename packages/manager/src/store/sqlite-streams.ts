/** Streams on one machine: one SQLite file beside the ledger's. */
import { GroupCommit, openDatabase } from './group-commit.ts';
import type { StreamRecord, Streams } from '../services.ts';

const schema = `
  CREATE TABLE IF NOT EXISTS records (
    stream TEXT NOT NULL, sequence INTEGER NOT NULL, at_ms REAL NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (stream, sequence)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS marks (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS trimmed (stream TEXT PRIMARY KEY, through INTEGER NOT NULL) STRICT, WITHOUT ROWID;
`;

/** Streams that are evidence: never trimmed. */
const keptForEver: ReadonlySet<string> = new Set(['audit']);

export function openSqliteStreams(path: string, nowMs: () => number): Streams {
  const database = openDatabase(path);
  database.exec(schema);
  const commits = new GroupCommit(database);
  const selectLast = database.prepare(
    `SELECT max(coalesce((SELECT max(sequence) FROM records WHERE stream = $stream), 0),
                coalesce((SELECT through FROM trimmed WHERE stream = $stream), 0)) AS last`,
  );
  const insert = database.prepare('INSERT INTO records (stream, sequence, at_ms, data) VALUES (?, ?, ?, ?)');
  const selectFrom = database.prepare(
    'SELECT sequence, at_ms AS atMs, data FROM records WHERE stream = ? AND sequence >= ? ORDER BY sequence LIMIT ?',
  );
  const selectTail = database.prepare(
    'SELECT sequence, at_ms AS atMs, data FROM records WHERE stream = ? ORDER BY sequence DESC LIMIT ?',
  );
  const remove = database.prepare('DELETE FROM records WHERE stream = ? AND sequence < ?');
  const setTrimmed = database.prepare(
    'INSERT INTO trimmed (stream, through) VALUES (?, ?) ON CONFLICT (stream) DO UPDATE SET through = max(through, excluded.through)',
  );
  const setMark = database.prepare(
    'INSERT INTO marks (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value',
  );
  const selectMark = database.prepare('SELECT value FROM marks WHERE key = ?');
  const last = (stream: string) => Number(selectLast.get({ $stream: stream })?.['last'] ?? 0);

  return {
    append(stream, records) {
      const atMs = nowMs();
      return commits.submit(`append to stream ${stream}`, () => {
        const first = last(stream) + 1;
        records.forEach((data, index) => insert.run(stream, first + index, atMs, data));
        return first;
      });
    },
    async read(stream, from, limit) {
      return selectFrom.all(stream, from, limit) as unknown as StreamRecord[];
    },
    async tail(stream, limit) {
      return (selectTail.all(stream, limit) as unknown as StreamRecord[]).toReversed();
    },
    async last(stream) {
      return last(stream);
    },
    trim(stream, before) {
      if (keptForEver.has(stream)) return Promise.reject(new Error(`The stream ${stream} is never trimmed.`));
      return commits.submit(`trim stream ${stream}`, () => {
        const through = Math.min(before - 1, last(stream));
        remove.run(stream, through + 1);
        setTrimmed.run(stream, through);
      });
    },
    setMark(key, value) {
      return commits.submit(`mark ${key}`, () => {
        setMark.run(key, value);
      });
    },
    async mark(key) {
      const row = selectMark.get(key);
      return row === undefined ? null : Number(row['value']);
    },
    [Symbol.asyncDispose]: () => commits[Symbol.asyncDispose](),
  };
}
