/** The thread of checkpoints.ts: a connection of its own that copies when it is told. Copying waits for nobody, and nobody for it. */
import { DatabaseSync } from 'node:sqlite';
import { parentPort, workerData } from 'node:worker_threads';
import type { CheckpointOrder } from './checkpoints.ts';

const database = new DatabaseSync(workerData as string);
database.exec('PRAGMA synchronous = FULL');
const checkpoint = database.prepare('PRAGMA wal_checkpoint(PASSIVE)');

parentPort!.on('message', (order: CheckpointOrder) => {
  switch (order) {
    case 'checkpoint':
      checkpoint.get();
      parentPort!.postMessage(order);
      return;
    case 'close':
      database.close();
      parentPort!.close();
  }
});
