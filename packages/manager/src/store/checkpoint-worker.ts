/** The thread of checkpoints.ts: a connection of its own that copies when it is told. Copying waits for nobody, and nobody for it. */
import { DatabaseSync } from 'node:sqlite';
import { parentPort, workerData } from 'node:worker_threads';
import type { CheckpointOrder } from './checkpoints.ts';

const port = parentPort;
if (port === null) throw new Error('checkpoint-worker.ts runs as a worker');
const database = new DatabaseSync(workerData as string);
database.exec('PRAGMA synchronous = FULL');
const checkpoint = database.prepare('PRAGMA wal_checkpoint(PASSIVE)');

port.on('message', (order: CheckpointOrder) => {
  switch (order) {
    case 'checkpoint':
      checkpoint.get();
      port?.postMessage(order);
      return;
    case 'close':
      database.close();
      port.close();
  }
});
