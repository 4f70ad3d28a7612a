/** `npm run bench:policy`: documents of a large cluster compiled and changed; flows simulated and decided. */
import { execFile } from 'node:child_process';
import path from 'node:path';
import process from 'node:process';
import { promisify } from 'node:util';
import { type Figure, measured, median, parseBenchOptions, report } from '../contract.ts';
import type { CompileCosts } from './compile.ts';
import { FlowWorld, flowsAbout, simulatedAbout } from './flows.ts';
import { measureManagerMemory } from './manager-memory.ts';
import type { ShapeName } from './shapes.ts';

const parts = ['wide', 'dense', 'flows', 'manager'] as const;
const outputMax = 2 ** 20;

const options = parseBenchOptions(
  'policy',
  `Compiles the two shapes of Antrea's published controller test, changes them, and judges flows:
wide is 25,000 namespaces, 75,000 NetworkPolicies, 100,000 pods; dense is 10,000 pods and 10,000 NetworkPolicies in one namespace.`,
  parts,
);
const rounds = options.quick ? { wide: 2, dense: 2, flows: 3 } : { wide: 5, dense: 5, flows: 5 };
const runs = (part: (typeof parts)[number]): boolean => options.only === null || options.only === part;

/** In a process of its own each time: memory is that of the whole process, and no round has the code of another warm. */
async function compile(shape: ShapeName): Promise<CompileCosts> {
  const script = path.join(import.meta.dirname, 'compile.ts');
  const { stdout } = await promisify(execFile)(process.execPath, [script, shape], { maxBuffer: outputMax });
  return JSON.parse(stdout) as CompileCosts;
}

async function compileFigures(shape: ShapeName): Promise<{ figures: Figure[]; costs: readonly CompileCosts[] }> {
  const costs: CompileCosts[] = [];
  for (let round = 0; round < rounds[shape]; round++) {
    costs.push(await compile(shape));
    process.stderr.write(`\r${shape}: round ${round + 1} of ${rounds[shape]} `);
  }
  process.stderr.write('\n');
  const of = (pick: (cost: CompileCosts) => number): number[] => costs.map(pick);
  const [{ sizes, rows }] = costs as [CompileCosts];
  const about =
    `all ${sizes.subjects} pods' tables, both directions: ${sizes.rules} rules, ${rows} rows, ` +
    `${sizes.portTables} distinct port tables; from parsed documents`;
  const name = `policy.compile.${shape}`;
  return {
    costs,
    figures: [
      measured(
        name,
        's',
        of(({ compileSeconds }) => compileSeconds),
        undefined,
        about,
      ),
      measured(
        `${name}.cpu`,
        's',
        of(({ compileCpuSeconds }) => compileCpuSeconds),
        undefined,
        'all threads',
      ),
      measured(
        `${name}.memory`,
        'MB',
        of(({ peakMegabytes }) => peakMegabytes),
        undefined,
        'peak of the whole process',
      ),
      measured(
        `${name}.parse`,
        's',
        of(({ parseSeconds }) => parseSeconds),
        undefined,
        'before, not in the figure',
      ),
    ],
  };
}

/** What one change costs when everything is there; the larger of both shapes counts. */
function updateFigures(costs: ReadonlyMap<ShapeName, readonly CompileCosts[]>): Figure[] {
  const figure = (name: string, pick: (cost: CompileCosts) => readonly number[], about: string): Figure[] => {
    const byShape = [...costs].map(([shape, list]) => ({ shape, raw: list.flatMap(pick) }));
    const worst = byShape.toSorted((a, b) => median(b.raw) - median(a.raw))[0];
    if (worst === undefined) return [];
    return [
      measured(name, 'ms', worst.raw, median(worst.raw), `${about}; ${worst.shape}, the slower shape`),
      ...byShape.map(({ shape, raw }) => measured(`${name}.${shape}`, 'ms', raw)),
    ];
  };
  return [
    ...figure('policy.update.label', ({ labelMs }) => labelMs, 'a pod loses or gets the label that it is selected by'),
    ...figure(
      'policy.update.policy',
      ({ policyMs }) => policyMs,
      'other ports: from the parsed document to all tables',
    ),
  ];
}

function flowFigures(): Figure[] {
  const world = new FlowWorld();
  const rates = Array.from({ length: rounds.flows }, () => world.measure());
  return [
    measured(
      'policy.simulate.rate',
      'flows/s',
      rates.map(({ simulated }) => simulated),
      undefined,
      simulatedAbout,
    ),
    measured(
      'policy.decide.rate',
      '1/s',
      rates.map(({ decided }) => decided),
      undefined,
      `decide(), both ends; ${flowsAbout}`,
    ),
  ];
}

const figures: Figure[] = [];
const costs = new Map<ShapeName, readonly CompileCosts[]>();
for (const shape of ['wide', 'dense'] as const) {
  if (!runs(shape)) continue;
  const compiled = await compileFigures(shape);
  figures.push(...compiled.figures);
  costs.set(shape, compiled.costs);
}
figures.push(...updateFigures(costs));
if (runs('flows')) figures.push(...flowFigures());
if (runs('manager')) {
  const { megabytes, about } = await measureManagerMemory();
  figures.push(measured('manager.memory', 'MB', [megabytes], undefined, `resident, no flows: ${about}`));
}
report('Policy at the size of a large cluster', figures, options);
