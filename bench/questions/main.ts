/** `npm run bench:questions`: what it costs a connection to be asked about, and how many can be, with real processes on the real datapath. */
import { once } from 'node:events';
import path from 'node:path';
import process from 'node:process';
import { DatabaseSync } from 'node:sqlite';
import { text } from 'node:stream/consumers';
import { measured, median, parseBenchOptions, report, type BenchOptions, type Figure } from '../contract.ts';
import { buildLoad, loadBinary, type LoadResult } from '../datapath/traffic.ts';
import { GovernedHost, mountBpf } from '../host/governed-host.ts';
import { allowedPort, askedPort, askedPorts, documents, labelsOf } from './documents.ts';

/** Several senders, since what one may ask a second is bounded by default: 2,000. */
const clients = ['c1', 'c2', 'c3', 'c4', 'c5', 'c6', 'c7', 'c8'] as const;
const server = 's';
/** Connects under way of each client; none of them are alike, so that no two share a question. */
const width = 48;
const warmUpSeconds = 2;

interface Connects extends LoadResult {
  readonly operations: number;
}

interface Sizes {
  readonly latencyRounds: number;
  readonly latencySeconds: number;
  readonly rateRounds: number;
  readonly rateSeconds: number;
}

interface Asked {
  /** Held by the programs to be asked about. */
  readonly held: number;
  /** Questions in the manager's log. */
  readonly logged: number;
}

function sizesOf({ quick }: BenchOptions): Sizes {
  return quick
    ? { latencyRounds: 5, latencySeconds: 1, rateRounds: 3, rateSeconds: 3 }
    : { latencyRounds: 11, latencySeconds: 3, rateRounds: 5, rateSeconds: 6 };
}

async function connects(
  host: GovernedHost,
  client: string,
  words: readonly [kind: 'connect' | 'spread', address: string, port: number, seconds: number, width: number],
): Promise<Connects> {
  const child = host.spawn(client, [loadBinary, ...words.map(String)]);
  const [output, [code]] = await Promise.all([text(child.stdout!), once(child, 'exit') as Promise<[number | null]>]);
  if (code !== 0) throw new Error(`the load in ${client} ended with ${code}`);
  return JSON.parse(output) as Connects;
}

/** The log itself, beside the manager that writes it. */
function openLog(host: GovernedHost): { count(): number; [Symbol.dispose](): void } {
  const database = new DatabaseSync(path.join(host.directory, 'manager', 'questions.sqlite'), { readOnly: true });
  const count = database.prepare('SELECT count(*) AS count FROM questions');
  return { count: () => Number(count.get()!['count']), [Symbol.dispose]: () => database.close() };
}

async function askedOf(host: GovernedHost): Promise<Asked> {
  using log = openLog(host);
  const held = (await host.counters()).get('asked') ?? 0;
  return { held, logged: log.count() };
}

/** Nothing waits any more: neither at the agent, nor on its way to the manager. */
async function settle(host: GovernedHost): Promise<void> {
  await host.until('all questions to be settled', async () => {
    const { questions, journal } = await host.status();
    return questions.waiting === 0 && journal.batches === 0;
  });
}

async function latencyFigures(host: GovernedHost, address: string, sizes: Sizes): Promise<Figure[]> {
  const series = { open: [] as Connects[], asked: [] as Connects[] };
  for (let round = 0; round < sizes.latencyRounds; round++) {
    series.open.push(await connects(host, clients[0], ['connect', address, allowedPort, sizes.latencySeconds, 1]));
    series.asked.push(await connects(host, clients[0], ['spread', address, askedPort, sizes.latencySeconds, 1]));
    process.stderr.write(`\rlatency, round ${round + 1} of ${sizes.latencyRounds}`);
  }
  process.stderr.write('\n');
  const added = (kind: 'p50' | 'p99'): number[] =>
    series.asked.map((asked, round) => (asked[kind] - series.open[round]![kind]) / 1000);
  const least = Math.min(...series.asked.map(({ operations }) => operations));
  return [
    measured(
      'questions.added.p50',
      'ms',
      added('p50'),
      undefined,
      `asked − allowed, at least ${least} connects a round`,
    ),
    measured('questions.added.p99', 'ms', added('p99')),
    measured(
      'questions.allowed.p50',
      'ms',
      series.open.map(({ p50 }) => p50 / 1000),
    ),
    measured(
      'questions.asked.p50',
      'ms',
      series.asked.map(({ p50 }) => p50 / 1000),
    ),
  ];
}

async function rateFigures(host: GovernedHost, address: string, sizes: Sizes): Promise<Figure[]> {
  const rates: number[] = [];
  const lost: number[] = [];
  const latencies: number[] = [];
  const costs = { agent: [] as number[], manager: [] as number[] };
  const all = (seconds: number): Promise<Connects[]> =>
    Promise.all(clients.map((client) => connects(host, client, ['spread', address, askedPort, seconds, width])));
  await all(warmUpSeconds);
  host.beginProfiles();
  for (let round = 0; round < sizes.rateRounds; round++) {
    await settle(host);
    const before = await askedOf(host);
    const spent = { agent: host.cpuSeconds('agent'), manager: host.cpuSeconds('manager') };
    const results = await all(sizes.rateSeconds);
    await settle(host);
    const after = await askedOf(host);
    for (const part of ['agent', 'manager'] as const)
      costs[part].push(((host.cpuSeconds(part) - spent[part]) * 1e6) / (after.held - before.held));
    rates.push(results.reduce((sum, { rate }) => sum + rate, 0));
    latencies.push(median(results.map(({ p50 }) => p50)) / 1000);
    lost.push(after.held - before.held - (after.logged - before.logged));
    process.stderr.write(`\rrate, round ${round + 1} of ${sizes.rateRounds}`);
  }
  process.stderr.write('\n');
  const underWay = clients.length * width;
  return [
    measured(
      'questions.rate',
      '1/s',
      rates,
      undefined,
      `${underWay} under way from ${clients.length} workloads, none alike`,
    ),
    measured('questions.cpu.agent', 'us', costs.agent, undefined, 'processor time per question, with its flows'),
    measured('questions.cpu.manager', 'us', costs.manager),
    measured('questions.rate.p50', 'ms', latencies, undefined, 'of a connect under that load'),
    measured(
      'questions.lost',
      'count',
      lost,
      lost.reduce((sum, count) => sum + count, 0),
      'held by the kernel − in the log',
    ),
  ];
}

async function main(): Promise<void> {
  const options = parseBenchOptions(
    'questions',
    'Connects to an allowed port and to one that every connect is asked about, by agent and manager as processes.',
  );
  const sizes = sizesOf(options);
  await mountBpf();
  await buildLoad();
  await using host = await GovernedHost.start('questions', options);
  await host.addNamespaces([...clients, server].map((workload) => host.namespaceOf(workload)));
  const address = await host.attach(server, labelsOf.server);
  for (const client of clients) await host.attach(client, labelsOf.client);
  await host.apply(documents());
  for (const words of [[allowedPort], [askedPort, askedPorts]]) {
    const serving = host.spawn(server, [loadBinary, 'serve', ...words.map(String)]);
    await once(serving.stdout!, 'data');
  }
  const figures = [...(await latencyFigures(host, address, sizes)), ...(await rateFigures(host, address, sizes))];
  const limited = (await host.counters()).get('punt_rate') ?? 0;
  const { questions } = await host.status();
  if (limited + questions.timedOut > 0)
    process.stderr.write(
      `${limited} connects met the limit of questions, ${questions.timedOut} had no answer in time\n`,
    );
  report('Questions', figures, options);
}

await main();
