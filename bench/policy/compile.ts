/**
 * `node bench/policy/compile.ts wide|dense`: compiles one shape in a process of its own, changes it, and prints what that cost as JSON.
 * Everything is made that any host would need: the tables of every pod in both directions.
 */
import {
  changePolicySet,
  type Compiler,
  createCompiler,
  createPolicySet,
  type IdentityId,
  type Labels,
  type PolicySet,
} from '@bulkhead/policy';
import { readFileSync } from 'node:fs';
import process from 'node:process';
import { makeShape, parsed, type Shape, type ShapeName } from './shapes.ts';

export interface CompileCosts {
  readonly parseSeconds: number;
  readonly compileSeconds: number;
  /** Processor time of all threads, the garbage collector's among them. */
  readonly compileCpuSeconds: number;
  /** The most memory that the process held up to then: documents, their parsed form, everything compiled. */
  readonly peakMegabytes: number;
  readonly heapMegabytes: number;
  readonly sizes: ReturnType<Compiler['sizes']>;
  /** Rows of all pods' tables. */
  readonly rows: number;
  readonly labelMs: readonly number[];
  readonly policyMs: readonly number[];
}

const changes = 60;
/** The first changes run unoptimised code, as no change of a running agent does. */
const warmUp = 10;
const options = { checkCondition: () => null };

function measure(shape: Shape): CompileCosts {
  const started = performance.now();
  // As they are written they are not kept, here as anywhere.
  const documents = shape.values.splice(0).map(parsed);
  const parseSeconds = (performance.now() - started) / 1000;

  const [cpu, from] = [process.cpuUsage(), performance.now()];
  const result = createPolicySet(documents, options);
  if (result.kind === 'refused') throw new Error(JSON.stringify(result.problems));
  const compiler = createCompiler();
  const subjects = { added: shape.pods.keys() };
  compiler.update({ policySet: result.policySet, identities: { set: shape.pods }, subjects });
  const compileSeconds = (performance.now() - from) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  const peakMegabytes = peakMemory();

  return {
    parseSeconds,
    compileSeconds,
    compileCpuSeconds: (user + system) / 1e6,
    peakMegabytes,
    heapMegabytes: process.memoryUsage().heapUsed / 2 ** 20,
    sizes: compiler.sizes(),
    rows: countRows(compiler, shape),
    labelMs: measureLabels(compiler, shape),
    policyMs: measurePolicies(compiler, shape, result.policySet),
  };
}

/** The most that was resident so far, in MB. */
function peakMemory(): number {
  const kilobytes = /^VmHWM:\s*(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
  return Number(kilobytes) / 1024;
}

function countRows(compiler: Compiler, { pods }: Shape): number {
  let rows = 0;
  for (const identity of pods.keys()) {
    const { egress, ingress } = compiler.subject(identity)!;
    rows += egress.rows.size + ingress.rows.size;
  }
  return rows;
}

/** A pod loses the label that policies select it by, and gets it back. */
function measureLabels(compiler: Compiler, { pods }: Shape): number[] {
  const all = [...pods];
  const costs: number[] = [];
  for (let index = 0; index < warmUp + changes; index++) {
    const [identity, labels] = all[((index >> 1) * 7919) % all.length]!;
    const other = Object.fromEntries(Object.entries(labels).filter(([key]) => !key.startsWith('app-')));
    costs.push(timed(() => relabel(compiler, identity, index % 2 === 0 ? other : labels)));
  }
  return costs.slice(warmUp);
}

function relabel(compiler: Compiler, identity: IdentityId, labels: Labels): void {
  const { subjects } = compiler.update({ identities: { set: [[identity, labels]] } });
  if (!subjects.some((change) => change.identity === identity)) throw new Error('the pod was not judged anew');
}

/** A policy gets other ports: what is timed is all from the parsed document to the tables. */
function measurePolicies(compiler: Compiler, shape: Shape, first: PolicySet): number[] {
  let policySet = first;
  const costs: number[] = [];
  for (let index = 0; index < warmUp + changes; index++) {
    const document = parsed(shape.changedPolicy(index * 7919));
    const cost = timed(() => {
      const result = changePolicySet(policySet, { set: [document] }, options);
      if (result.kind === 'refused') throw new Error(JSON.stringify(result.problems));
      policySet = result.policySet;
      compiler.update({ policySet });
    });
    costs.push(cost);
  }
  return costs.slice(warmUp);
}

function timed(work: () => void): number {
  const from = performance.now();
  work();
  return performance.now() - from;
}

if (import.meta.main) console.log(JSON.stringify(measure(makeShape(process.argv[2] as ShapeName))));
