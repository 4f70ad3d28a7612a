/**
 * Measures the question service alone, each answer durable: `node measure.ts [directory]`. Latency of single questions one after the
 * other, of single questions arriving at a rate in one process (open loop), and the most that batches get through.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { openSqliteQuestionLog } from '../sqlite-question-log.ts';
import { World } from './world.ts';

const directory = mkdtempSync(join(process.argv[2] ?? tmpdir(), 'bulkhead-measure-'));
const world = new World([
  {
    name: 'day',
    when: 'time.hour >= 8 && time.hour < 18 && source.class == "microvm" && flow.ratePerMinute < 30 && source.labels.team == "orders"',
  },
]);
const service = world.service(openSqliteQuestionLog(join(directory, 'questions.sqlite')));

function quantiles(name: string, millis: number[]): string {
  const sorted = millis.sort((a, b) => a - b);
  const at = (part: number): string => (sorted[Math.floor(sorted.length * part)] ?? 0).toFixed(3);
  return `${name}: ${sorted.length} answers, p50 ${at(0.5)} ms, p90 ${at(0.9)} ms, p99 ${at(0.99)} ms, max ${(sorted.at(-1) ?? 0).toFixed(1)} ms`;
}

async function oneByOne(count: number): Promise<number[]> {
  const latencies: number[] = [];
  for (let asked = 0; asked < count; asked += 1) {
    const started = performance.now();
    await service.ask('h1', [world.question('day')]);
    latencies.push(performance.now() - started);
  }
  return latencies;
}

/** Each question is a call of its own and is due at its time, whether the ones before are answered or not. */
async function atRate(perSecond: number, seconds: number): Promise<number[]> {
  const latencies: number[] = [];
  const total = perSecond * seconds;
  const started = performance.now();
  const running: Promise<void>[] = [];
  const ask = async (dueMs: number): Promise<void> => {
    await service.ask('h1', [world.question('day')]);
    latencies.push(performance.now() - started - dueMs);
  };
  while (running.length < total) {
    const due = Math.min(total, 1 + Math.floor(((performance.now() - started) / 1_000) * perSecond));
    while (running.length < due) running.push(ask((running.length / perSecond) * 1_000));
    await new Promise(setImmediate);
  }
  await Promise.all(running);
  return latencies;
}

async function most(batch: number, lanes: number, seconds: number): Promise<number> {
  const until = performance.now() + seconds * 1_000;
  let answered = 0;
  const lane = async (): Promise<void> => {
    while (performance.now() < until) {
      const decisions = await service.ask(
        'h1',
        Array.from({ length: batch }, () => world.question('day')),
      );
      answered += decisions.length;
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  return Math.round(answered / seconds);
}

await oneByOne(500);
console.log(quantiles('one after the other', await oneByOne(3_000)));
for (const rate of [2_000, 8_000, 12_000]) console.log(quantiles(`${rate}/s`, await atRate(rate, 4)));
for (const [batch, lanes] of [
  [1, 64],
  [32, 4],
  [256, 4],
] as const) {
  console.log(`most, batches of ${batch} in ${lanes} lanes: ${await most(batch, lanes, 3)} questions/s`);
}
const { asked } = service.counts();
await service[Symbol.asyncDispose]();
await using log = openSqliteQuestionLog(join(directory, 'questions.sqlite'));
console.log(`asked ${asked}, logged ${log.count()}, resident ${Math.round(process.memoryUsage().rss / 2 ** 20)} MiB`);
rmSync(directory, { recursive: true });
