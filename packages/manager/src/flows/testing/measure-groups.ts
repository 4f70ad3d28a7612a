/**
 * Measures what a simulation takes of the store: `node measure-groups.ts [flows]`. Stores flows between 10,000 workloads, then groups
 * them and judges the groups, and says how many flows a second that is, end to end.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { createPolicySet, createSimulation, parseDocument } from '@bulkhead/policy';
import { DuckFlowStore } from '../flow-store.ts';
import { flowNumber, inventoryOf } from './flows.ts';

const flows = Number(process.argv[2] ?? 2_000_000);
const batchFlows = 20_000;
const directory = mkdtempSync(join(tmpdir(), 'bulkhead-groups-measure-'));
const store = await DuckFlowStore.open({
  path: join(directory, 'flows.duckdb'),
  inventory: inventoryOf(10_000),
  retention: { ageMsMax: Number.MAX_SAFE_INTEGER, bytesMax: Number.MAX_SAFE_INTEGER },
  after: () => () => undefined,
  onFault: (error) => console.error(error),
});
for (let batch = 0; batch * batchFlows < flows; batch += 1) {
  // Ports of services repeat, as the pairs of workloads that use them do.
  const rows = Array.from({ length: batchFlows }, (_, place) => {
    const number = batch * batchFlows + place;
    return { ...flowNumber(number % 40_000, {}, 10_000), id: `f-${number}` };
  });
  await store.append('h1', { boot: 'b', number: batch, lost: 0 }, rows);
}
const segment = (name: string, label: string): unknown => ({
  ...{ apiVersion: 'bulkhead.dev/v1', kind: 'Segment', metadata: { name } },
  spec: { selector: { matchLabels: { app: label } } },
});
const documents = [
  ...Array.from({ length: 50 }, (_, number) => segment(`s${number}`, `app-${number}`)),
  {
    ...{ apiVersion: 'bulkhead.dev/v1', kind: 'Policy', metadata: { name: 'web' } },
    spec: {
      rules: [
        {
          name: 'in',
          action: 'allow',
          from: { any: true },
          to: { any: true },
          ports: [{ protocol: 'tcp', port: 8080 }],
        },
      ],
    },
  },
].map((value) => {
  const parsed = parseDocument(value, {});
  if (parsed.kind !== 'ok') throw new Error(JSON.stringify(parsed.problems));
  return parsed.document;
});
const set = createPolicySet(documents, { checkCondition: () => null });
if (set.kind !== 'ok') throw new Error(JSON.stringify(set.problems));
for (let round = 0; round < 3; round += 1) {
  const began = performance.now();
  const grouped = await store.group({ sinceMs: 0 }, null);
  if (grouped === null) throw new Error('too many groups');
  const groupedMs = performance.now() - began;
  const simulation = createSimulation(set.policySet);
  simulation.add(grouped.flows);
  const result = simulation.result();
  const ms = performance.now() - began;
  console.log(
    `${result.flows} flows in ${result.groups} groups: ${Math.round(groupedMs)} ms to group, ${Math.round(ms - groupedMs)} ms to judge, ${Math.round(result.flows / (ms / 1_000))} flows/s; ${result.changed} change`,
  );
}
await store[Symbol.asyncDispose]();
rmSync(directory, { recursive: true });
