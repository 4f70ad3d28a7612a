/**
 * Measures the flow store alone: `node measure.ts [seconds]`. How many flows a second get stored (committed, synced) from batches of
 * 2,000 of ten hosts, with a search of the last minute running all the time, and what it costs in time and memory.
 */
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { DuckFlowStore } from '../flow-store.ts';
import { flowNumber, inventoryOf } from './flows.ts';

const seconds = Number(process.argv[2] ?? 8);
const batchFlows = 2_000;
const hosts = 10;
const directory = mkdtempSync(join(tmpdir(), 'bulkhead-flows-measure-'));
const path = join(directory, 'flows.duckdb');
const store = await DuckFlowStore.open({
  path,
  inventory: inventoryOf(10_000),
  retention: { ageMsMax: Number.MAX_SAFE_INTEGER, bytesMax: Number.MAX_SAFE_INTEGER },
  after: () => () => undefined,
  onFault: (error) => console.error(error),
});
let made = 0;
const fill = (state: 'new' | 'closed', from: number): ReturnType<typeof flowNumber>[] =>
  Array.from({ length: batchFlows }, (_, place) => flowNumber(from + place, { state }, 10_000));
// Made before the clock runs: in a manager they come off the wire.
const batches = Array.from({ length: 200 }, (_, batch) => fill('closed', batch * batchFlows));

async function ingest(untilMs: number, next: () => ReturnType<typeof fill>): Promise<number> {
  let stored = 0;
  const lane = async (host: string): Promise<void> => {
    while (performance.now() < untilMs) {
      const flows = next();
      made += 1;
      await store.append(host, { boot: 'b', number: made, lost: 0 }, flows);
      stored += flows.length;
    }
  };
  await Promise.all(Array.from({ length: hosts }, (_, host) => lane(`h${host}`)));
  return stored;
}

async function measured(name: string, searching: boolean, next: () => ReturnType<typeof fill>): Promise<void> {
  const started = performance.now();
  const untilMs = started + seconds * 1_000;
  const latencies: number[] = [];
  const search = async (): Promise<void> => {
    while (performance.now() < untilMs) {
      const asked = performance.now();
      await store.query({ verdict: 'deny', segment: 'segment-3' }, 'newest', { limit: 100, scope: null });
      latencies.push(performance.now() - asked);
    }
  };
  const [stored] = await Promise.all([ingest(untilMs, next), searching ? search() : null]);
  const perSecond = Math.round(stored / ((performance.now() - started) / 1_000));
  latencies.sort((a, b) => a - b);
  const p50 = latencies[latencies.length >> 1];
  console.log(
    `${name}: ${perSecond} flows/s${p50 === undefined ? '' : `, ${latencies.length} searches, p50 ${p50.toFixed(0)} ms`}`,
  );
}

let turn = 0;
const unique = (): ReturnType<typeof fill> => {
  const flows = batches[turn++ % batches.length]!;
  // New ids without making new records: what is measured is the store.
  for (const flow of flows) (flow as { id: string }).id = `${turn}-${flow.id}`.slice(0, 24);
  return flows;
};
await measured('ingest', false, unique);
await measured('ingest while searching', true, unique);
let opened = 0;
let closing = 0;
const pairs = (): ReturnType<typeof fill> =>
  opened > closing + 9 ? fill('closed', 1e9 + batchFlows * closing++) : fill('new', 1e9 + batchFlows * opened++);
await measured('each flow reported twice', false, pairs);
const { stored } = store.counts();
await store[Symbol.asyncDispose]();
console.log(
  `${stored} stored, ${(statSync(path).size / stored).toFixed(1)} bytes a flow, resident ${Math.round(process.memoryUsage().rss / 2 ** 20)} MiB at the end, ${Math.round(process.resourceUsage().maxRSS / 1024)} MiB at most`,
);
rmSync(directory, { recursive: true });
