/**
 * What every benchmark shares: its options, its figures, the table for people and the file for machines
 * (`{"machine": …, "figures": [{"name", "value", "unit", "rounds", "raw"}]}`).
 */
import { readFileSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import process from 'node:process';
import { parseArgs } from 'node:util';

export interface Figure {
  readonly name: string;
  /** Null where it could not be measured; `why` says so. */
  readonly value: number | null;
  readonly unit: string;
  readonly rounds: number;
  readonly raw: readonly number[];
  readonly why?: string;
  readonly note?: string;
}

export interface BenchOptions {
  readonly quick: boolean;
  readonly json: string | null;
  /** Where the processes that are measured write CPU profiles; slows them down. */
  readonly profile: string | null;
  /** The one part of the benchmark that is to run; null: all that fit. */
  readonly only: string | null;
}

/** `parts`: what `--only` may name. */
export function parseBenchOptions(name: string, about: string, parts: readonly string[] = []): BenchOptions {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      json: { type: 'string' },
      profile: { type: 'string' },
      only: { type: 'string' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) {
    console.log(
      [
        `npm run bench:${name} -- [options]\n\n${about}\n`,
        '  --quick        fewer rounds, at most 50 s; the sizes stay as they are',
        '  --json FILE    also write the figures and their raw data to FILE',
        '  --profile DIR  CPU profiles of agent and manager in DIR, where they are run; figures are then too slow',
        ...(parts.length === 0 ? [] : [`  --only PART    ${parts.join(', ')}`]),
      ].join('\n'),
    );
    process.exit(0);
  }
  const { quick, json = null, profile = null, only = null } = values;
  if (only !== null && !parts.includes(only)) {
    console.error(`--only ${only}: is none of ${parts.join(', ') || 'no parts'}`);
    process.exit(2);
  }
  return { quick, json, profile, only };
}

export function median(values: readonly number[]): number {
  if (values.length === 0) throw new Error('the median of nothing');
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** The value below which `share` (0 … 1) of the values lie. */
export function percentile(values: readonly number[], share: number): number {
  if (values.length === 0) throw new Error('a percentile of nothing');
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!;
}

export function measured(
  name: string,
  unit: string,
  raw: readonly number[],
  value: number = median(raw),
  note?: string,
): Figure {
  return { name, value, unit, rounds: raw.length, raw, ...(note === undefined ? {} : { note }) };
}

export function notMeasured(name: string, unit: string, why: string): Figure {
  return { name, value: null, unit, rounds: 0, raw: [], why };
}

/** Ratio of two interleaved series, round by round; the figure is the median of the ratios. */
export function ratio(name: string, ours: readonly number[], theirs: readonly number[]): Figure {
  const raw = ours.slice(0, theirs.length).map((value, round) => value / theirs[round]!);
  return measured(name, 'ratio', raw);
}

function machine(): Record<string, unknown> {
  const model = /model name\s*:\s*(.+)/.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? 'unknown';
  return {
    cpu: model,
    cores: os.cpus().length,
    memoryGiB: Math.round(os.totalmem() / 2 ** 30),
    kernel: os.release(),
    node: process.version,
    load: os.loadavg()[0],
  };
}

/** Prints the table and writes the file. */
export function report(title: string, figures: readonly Figure[], options: BenchOptions): void {
  const about = machine();
  console.log(
    `\n${title}\n${Object.entries(about)
      .map(([key, value]) => `${key}: ${String(value)}`)
      .join(', ')}\n`,
  );
  const width = Math.max(...figures.map((figure) => figure.name.length));
  for (const figure of figures) {
    const value =
      figure.value === null ? `not measured: ${figure.why ?? ''}` : `${figure.value.toPrecision(4)} ${figure.unit}`;
    const spread =
      figure.raw.length > 1
        ? `(${Math.min(...figure.raw).toPrecision(3)} … ${Math.max(...figure.raw).toPrecision(3)}, n=${figure.raw.length})`
        : '';
    console.log(`${figure.name.padEnd(width)}  ${value.padEnd(16)} ${spread} ${figure.note ?? ''}`.trimEnd());
  }
  if (options.json !== null) writeFileSync(options.json, `${JSON.stringify({ machine: about, figures }, null, 2)}\n`);
}
