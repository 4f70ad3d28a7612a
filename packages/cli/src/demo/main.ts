/**
 * `npm run demo`: the trading floor on a private Docker engine, real traffic, and what happened to it. With `--once` nobody is asked and
 * the exit code is 0 only if every step came out as declared; otherwise everything stays up for exploring until Ctrl-C.
 */
import process from 'node:process';
import { createInterface } from 'node:readline/promises';
import { parseArgs } from 'node:util';
import { describeError, CommandFailure } from '../exit.ts';
import { createTerminal, type Terminal } from '../output/terminal.ts';
import { duration } from '../output/units.ts';
import { factLines, stepHeading, stepMet, summaryLines, type Fact, type StepResult } from './narration.ts';
import { openStage, type Stage, type StageOptions } from './stage.ts';
import type { Step } from './step.ts';
import { steps } from './steps/steps.ts';

const help = `Usage: npm run demo [-- --once] [-- --name NAME]

  --once       run every step once, ask nobody, exit with 0 only if all came out as declared
  --name NAME  names the engine, its namespaces and directories (default demo)
`;

const { values } = parseArgs({
  options: {
    once: { type: 'boolean', default: false },
    name: { type: 'string', default: 'demo' },
    help: { type: 'boolean', default: false },
  },
});

async function main(): Promise<number> {
  const terminal = createTerminal(process.stdout, process.stderr, process.env);
  if (values.help) {
    terminal.out(help.trimEnd());
    return 0;
  }
  if (process.getuid?.() !== 0) {
    terminal.err('The demo makes network namespaces and loads eBPF programs: run it as root.');
    return 2;
  }
  const interruption = new AbortController();
  // A signal ends the demo between two pieces of work, so that everything it started is taken down again.
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, () => interruption.abort());
  terminal.out(terminal.paint('strong', 'Bulkhead: the trading floor'));
  terminal.out(terminal.paint('dim', 'Real containers on a real Docker engine; the firewall lives below them.'));
  terminal.out('');
  const options = stageOptions(terminal, interruption.signal);
  const stage = await openStage(options);
  try {
    const results = await runSteps(stage, terminal, interruption.signal);
    for (const line of summaryLines(results, terminal.paint)) terminal.out(line);
    const met = results.length === steps.length && results.every(stepMet);
    if (!values.once && !interruption.signal.aborted) await explore(stage, terminal, interruption.signal);
    return met ? 0 : 1;
  } finally {
    await closing(terminal, stage);
  }
}

async function closing(terminal: Terminal, stage: Stage): Promise<void> {
  const progress = terminal.progress('  cleaning up');
  try {
    await stage[Symbol.asyncDispose]();
  } finally {
    progress.end();
  }
}

function stageOptions(terminal: Terminal, signal: AbortSignal): StageOptions {
  return {
    name: values.name,
    ask: async (question) => {
      if (values.once || !terminal.interactive) return true;
      const reader = createInterface({ input: process.stdin, output: process.stdout });
      try {
        const answer = await reader.question(`\n  ${terminal.paint('ask', `${question} [Y/n] `)}`, { signal });
        return !/^n/i.test(answer.trim());
      } finally {
        reader.close();
      }
    },
    during: async (title, work) => {
      signal.throwIfAborted();
      const beganMs = performance.now();
      const progress = terminal.progress(`  ${title}`);
      try {
        const value = await work((note) => progress.update({ note }));
        const took = duration(performance.now() - beganMs);
        progress.end(`  ${terminal.errPaint('good', '✓')} ${title} ${terminal.errPaint('dim', took)}`);
        return value;
      } catch (error) {
        progress.end(`  ${terminal.errPaint('bad', '✗')} ${title}`);
        throw error;
      }
    },
  };
}

async function runSteps(stage: Stage, terminal: Terminal, signal: AbortSignal): Promise<readonly StepResult[]> {
  const results: StepResult[] = [];
  for (const [index, step] of steps.entries()) {
    if (signal.aborted) break;
    results.push(await runStep(stage, terminal, step, index + 1));
  }
  return results;
}

async function runStep(stage: Stage, terminal: Terminal, step: Step, number: number): Promise<StepResult> {
  const columns = terminal.width ?? 100;
  for (const line of stepHeading(number, step.title, step.story, terminal.paint, columns)) terminal.out(line);
  const facts: Fact[] = [];
  const show = (fact: Fact): void => {
    facts.push(fact);
    for (const line of factLines(fact, terminal.paint, columns)) terminal.out(line);
  };
  const beganMs = performance.now();
  try {
    await step.run(stage, show);
  } catch (error) {
    // A step that breaks has not come out as declared; the others still show what they can.
    const actual = error instanceof Error ? error.message : String(error);
    show({ kind: 'expected', text: 'the step runs to its end', met: false, actual });
  }
  return { number, title: step.title, story: step.story, facts, tookMs: performance.now() - beganMs };
}

async function explore(stage: Stage, terminal: Terminal, signal: AbortSignal): Promise<void> {
  const { paths } = stage.machine.options;
  const { paint } = terminal;
  const lines = [
    '',
    paint('strong', 'Everything stays up. In another terminal:'),
    '',
    `  export BULKHEAD_SERVER=unix://${paths.managerSocket}`,
    `  export BULKHEAD_TOKEN_FILE=${paths.adminTokenFile}`,
    `  export BULKHEAD_CA_FILE=${paths.authorityFile}`,
    `  export DOCKER_HOST=unix://${stage.engine.socket}`,
    '',
    `  npx bulkhead flows -f                              ${paint('dim', 'connections as they happen, each with its reason')}`,
    `  npx bulkhead get workloads                         ${paint('dim', 'who is here')}`,
    `  npx bulkhead explain --from web --to orders-db --port 5432`,
    `  docker exec -it intern sh                          ${paint('dim', 'be the attacker: probe, ping, nc, wget')}`,
    `  docker exec desk probe tcp payments 8443 60000     ${paint('dim', 'then: npx bulkhead approve only')}`,
    `  npx bulkhead diff -f examples/trading-floor/policy ${paint('dim', 'after you have changed a document')}`,
    '',
    paint('dim', 'Ctrl-C ends it and cleans up.'),
  ];
  for (const line of lines) terminal.out(line);
  if (signal.aborted) return;
  // Something must keep the process alive while nothing happens here.
  const alive = setInterval(() => undefined, 60_000);
  await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  clearInterval(alive);
}

try {
  process.exitCode = await main();
} catch (error) {
  const interrupted = error instanceof Error && error.name === 'AbortError';
  const lines =
    error instanceof CommandFailure
      ? describeError(error)
      : [error instanceof Error ? (error.stack ?? error.message) : String(error)];
  if (!interrupted) for (const line of lines) console.error(line);
  process.exitCode = interrupted ? 130 : 1;
}
