/** `npm run bench:datapath`: our datapath with 100, 10,000 and 100,000 policies beside the peers, in interleaved rounds. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import process from 'node:process';
import { createInterface } from 'node:readline';
import {
  measured,
  notMeasured,
  parseBenchOptions,
  ratio,
  report,
  type BenchOptions,
  type Figure,
} from '../contract.ts';
import { mountBpf } from '../host/governed-host.ts';
import { fleetFigures } from './fleet.ts';
import type { PacketCosts } from './ours.ts';
import { createTopology, peers, type Topology } from './topology.ts';
import { buildLoad, measureLoad, setOffload, startServer, type Load } from './traffic.ts';

const policiesMost = 100_000;

interface Contender {
  readonly name: string;
  readonly topology: Topology;
  readonly processes: readonly ChildProcess[];
  readonly loadMs?: number;
}

interface Ours extends Contender {
  readonly loadMs: number;
  costs(policies: number): Promise<PacketCosts>;
}

/** Our datapath between two workloads, under its own pins. The host process lives in the namespace until its input ends. */
async function startOurs(policies: number, sample: boolean): Promise<Ours> {
  const topology = await createTopology(`p${policies}${sample ? 's' : ''}`, 'routed');
  const pins = `/sys/fs/bpf/${topology.host}`;
  const host = spawn(
    'nsenter',
    [
      `--net=/run/netns/${topology.host}`,
      process.execPath,
      path.join(import.meta.dirname, 'ours.ts'),
      pins,
      String(policies),
      ...(sample ? ['sample'] : []),
    ],
    {
      stdio: ['pipe', 'pipe', 'inherit'],
    },
  );
  const lines = createInterface({ input: host.stdout });
  const next = async (): Promise<unknown> => JSON.parse(((await once(lines, 'line')) as [string])[0]);
  const { ready } = (await next()) as { ready: { loadMs: number } };
  const remove = async (): Promise<void> => {
    const gone = once(host, 'exit');
    host.stdin.end();
    await gone;
    await topology[Symbol.asyncDispose]();
  };
  return {
    name: String(policies),
    topology: { ...topology, [Symbol.asyncDispose]: remove },
    processes: sample ? [] : [await startServer(topology)],
    loadMs: ready.loadMs,
    costs: async (count) => {
      host.stdin.write(`${JSON.stringify({ first: count })}\n`);
      return ((await next()) as { costs: PacketCosts }).costs;
    },
  };
}

type Series = Map<string, Record<'rr' | 'crr' | 'gso' | 'nogso' | 'crrP50', number[]>>;

async function measureRounds(contenders: readonly Contender[], rounds: number, seconds: number): Promise<Series> {
  const series: Series = new Map(
    contenders.map((one) => [one.name, { rr: [], crr: [], gso: [], nogso: [], crrP50: [] }]),
  );
  const each = async (load: Load, keep: (name: string, rate: number, p50: number) => void): Promise<void> => {
    for (const { name, topology } of contenders) {
      const { rate, p50 } = await measureLoad(topology, load, seconds);
      keep(name, rate, p50);
    }
  };
  for (let round = 0; round < rounds; round++) {
    await each('rr', (name, rate) => series.get(name)!.rr.push(rate));
    await each('crr', (name, rate, p50) => {
      series.get(name)!.crr.push(rate);
      series.get(name)!.crrP50.push(p50);
    });
    await each('stream', (name, rate) => series.get(name)!.gso.push(rate));
    for (const { topology } of contenders) await setOffload(topology, false);
    await each('stream', (name, rate) => series.get(name)!.nogso.push(rate));
    for (const { name, topology } of contenders) if (name !== 'ovs') await setOffload(topology, true);
    process.stderr.write(`\rround ${round + 1} of ${rounds}`);
  }
  process.stderr.write('\n');
  return series;
}

function trafficFigures(series: Series, absent: ReadonlyMap<string, string>): Figure[] {
  const bridge = series.get('bridge')!;
  const figures: Figure[] = [];
  const kinds = ['rr', 'crr', 'nogso', 'gso'] as const;
  const add = (name: string, suffix: string): void => {
    for (const kind of kinds)
      figures.push(ratio(`datapath.${kind}.ratio${suffix}`, series.get(name)![kind], bridge[kind]));
  };
  add(String(policiesMost), '');
  for (const [name] of series)
    if (name !== 'bridge' && name !== String(policiesMost))
      add(name, /^\d/.test(name) ? `.policies${name}` : `.${name}`);
  for (const [name, why] of absent)
    for (const kind of kinds) figures.push(notMeasured(`datapath.${kind}.ratio.${name}`, 'ratio', why));
  figures.push(
    measured('datapath.crr.p50', 'us', series.get(String(policiesMost))!.crrP50),
    measured('datapath.crr.p50.bridge', 'us', bridge.crrP50),
  );
  return figures;
}

async function packetFigures(rounds: number): Promise<Figure[]> {
  const ours = await startOurs(100, true);
  const costs = new Map<number, PacketCosts[]>([
    [100, []],
    [policiesMost, []],
  ]);
  try {
    for (let round = 0; round < rounds; round++) for (const [count, list] of costs) list.push(await ours.costs(count));
  } finally {
    await ours.topology[Symbol.asyncDispose]();
  }
  const few = costs.get(100)!;
  const many = costs.get(policiesMost)!;
  const of = (list: PacketCosts[], kind: keyof PacketCosts): number[] => list.map((one) => one[kind]);
  return [
    {
      ...ratio('datapath.flat.ratio', of(many, 'new'), of(few, 'new')),
      note: 'same 64 flows; 60 % ports, 25 % ranges, 15 % networks',
    },
    {
      ...ratio('datapath.flat.cold.ratio', of(many, 'newCold'), of(few, 'newCold')),
      note: 'flows spread over all policies, mostly networks',
    },
    measured('datapath.ns_per_packet.hit', 'ns', of(many, 'hit')),
    measured('datapath.ns_per_packet.new', 'ns', of(many, 'new')),
    measured('datapath.ns_per_packet.deny', 'ns', of(many, 'deny')),
  ];
}

async function trafficPart(options: BenchOptions): Promise<Figure[]> {
  const contenders: Contender[] = [];
  const absent = new Map<string, string>();
  const loads: number[] = [];
  try {
    for (const [name, make] of Object.entries(peers)) {
      const topology = await make();
      if (typeof topology === 'string') absent.set(name, topology);
      else contenders.push({ name, topology, processes: [await startServer(topology)] });
    }
    for (const policies of [100, 10_000, policiesMost]) {
      const ours = await startOurs(policies, false);
      contenders.push(ours);
      if (policies === policiesMost) loads.push(ours.loadMs / 1000);
    }
    const [rounds, seconds] = options.quick ? [3, 0.25] : [11, 1];
    const figures = trafficFigures(await measureRounds(contenders, rounds, seconds), absent);
    return [...figures, measured('datapath.load100k', 's', loads)];
  } finally {
    for (const { processes } of contenders) for (const one of processes) one.kill();
    for (const { topology } of contenders) await topology[Symbol.asyncDispose]();
  }
}

/** Attaching 1,000 endpoints is set-up and takes minutes, so that `--quick` leaves it to those who ask for it. */
function fleetPart(options: BenchOptions): Promise<Figure[]> {
  if (!options.quick || options.only === 'fleet') return fleetFigures(options);
  const why = '1,000 endpoints take longer to attach than --quick lasts: --only fleet';
  return Promise.resolve([notMeasured('agent.memory', 'MB', why), notMeasured('policy.receipt.p99', 'ms', why)]);
}

const parts: Readonly<Record<string, (options: BenchOptions) => Promise<Figure[]>>> = {
  traffic: trafficPart,
  packets: (options) => packetFigures(options.quick ? 3 : 11),
  fleet: fleetPart,
};

async function main(): Promise<void> {
  const options = parseBenchOptions(
    'datapath',
    'The datapath between two workloads beside a plain bridge, routing and other firewalls; medians of interleaved rounds.',
    Object.keys(parts),
  );
  await mountBpf();
  await buildLoad();
  const figures: Figure[] = [];
  for (const [name, measure] of Object.entries(parts))
    if (options.only === null || options.only === name) figures.push(...(await measure(options)));
  report('Datapath', figures, options);
}

await main();
