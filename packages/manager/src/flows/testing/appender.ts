/** A process that is killed: stores batches of flows as fast as it can and prints the number of each batch that was acknowledged. */
import { writeSync } from 'node:fs';
import process from 'node:process';
import { DuckFlowStore } from '../flow-store.ts';
import { flowNumber, inventoryOf } from './flows.ts';

const [path = '', boot = '', size = '100'] = process.argv.slice(2);
const store = await DuckFlowStore.open({
  path,
  inventory: inventoryOf(50),
  retention: { ageMsMax: Number.MAX_SAFE_INTEGER, bytesMax: Number.MAX_SAFE_INTEGER },
  after: () => () => undefined,
  onFault: (error) => {
    throw error;
  },
});
for (let batch = 0; ; batch += 1) {
  const flows = Array.from({ length: Number(size) }, (_, place) => {
    const number = batch * Number(size) + place;
    return flowNumber(number, { id: `${boot}-${number}` });
  });
  await store.append('h1', { boot, number: batch, lost: 1 }, flows);
  writeSync(1, `${batch}\n`);
}
