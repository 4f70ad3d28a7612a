/** The ledger on one machine: SQLite with a write-ahead log, every commit synced. */
import { batchBytesMax, StoreError } from './ledger.ts';
import { GroupCommit, openDatabase } from './group-commit.ts';
import type { AppendResult, Ledger, LedgerEntry, ReadResult, Snapshot } from './ledger.ts';

const schema = `
  CREATE TABLE IF NOT EXISTS batches (sequence INTEGER PRIMARY KEY, batch BLOB NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS snapshots (sequence INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;
`;

export function openSqliteLedger(path: string): Ledger {
  const database = openDatabase(path);
  database.exec(schema);
  const commits = new GroupCommit(database);
  // After compaction the table may be empty: the snapshot then says where the sequence stands.
  const selectLast = database.prepare(
    'SELECT max(coalesce((SELECT max(sequence) FROM batches), 0), coalesce((SELECT max(sequence) FROM snapshots), 0)) AS last',
  );
  const insert = database.prepare('INSERT INTO batches (sequence, batch) VALUES (?, ?)');
  const selectBatches = database.prepare(
    'SELECT sequence, batch FROM batches WHERE sequence > ? ORDER BY sequence LIMIT ?',
  );
  const selectSnapshot = database.prepare('SELECT sequence, data FROM snapshots ORDER BY sequence DESC LIMIT 1');
  const insertSnapshot = database.prepare('INSERT OR REPLACE INTO snapshots (sequence, data) VALUES (?, ?)');
  const deleteSnapshots = database.prepare('DELETE FROM snapshots WHERE sequence < ?');
  const deleteBatches = database.prepare('DELETE FROM batches WHERE sequence <= ?');
  const last = () => Number(selectLast.get()?.['last'] ?? 0);

  return {
    append(expectedSequence, batch) {
      if (batch.length > batchBytesMax) {
        return Promise.reject(
          new StoreError('ledger append', { cause: new Error(`${batch.length} bytes, more than ${batchBytesMax}`) }),
        );
      }
      return commits.submit('ledger append', (): AppendResult => {
        const sequence = last();
        if (sequence !== expectedSequence) return { kind: 'conflict', sequence };
        insert.run(sequence + 1, batch);
        return { kind: 'appended', sequence: sequence + 1 };
      });
    },
    async read(after, limit): Promise<ReadResult> {
      const rows = selectBatches.all(after, limit) as unknown as LedgerEntry[];
      const first = rows[0]?.sequence ?? last() + 1;
      if (first > after + 1) return { kind: 'compacted', horizon: first };
      return { kind: 'entries', entries: rows };
    },
    async last() {
      return last();
    },
    async snapshot(): Promise<Snapshot | null> {
      return (selectSnapshot.get() as unknown as Snapshot | undefined) ?? null;
    },
    saveSnapshot(snapshot, compactThrough) {
      return commits.submit('ledger snapshot', () => {
        if (snapshot.sequence > last()) throw new Error(`snapshot ${snapshot.sequence} is after the end ${last()}`);
        insertSnapshot.run(snapshot.sequence, snapshot.data);
        deleteSnapshots.run(snapshot.sequence);
        deleteBatches.run(Math.min(compactThrough, snapshot.sequence));
      });
    },
    [Symbol.asyncDispose]: () => commits[Symbol.asyncDispose](),
  };
}
