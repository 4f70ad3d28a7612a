import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { StoreError } from './ledger.ts';

/**
 * Keeps a second manager out of a data directory: two writers would fork the audit chain. The lock is the kernel's (fcntl, through
 * SQLite), so it goes with the process, however that ends.
 */
export function lockDirectory(directory: string): Disposable {
  const database = new DatabaseSync(join(directory, 'lock.sqlite'), { timeout: 0 });
  try {
    database.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE');
  } catch (cause) {
    database.close();
    throw new StoreError(`${directory} is in use by another manager`, { cause });
  }
  return { [Symbol.dispose]: () => database.close() };
}
