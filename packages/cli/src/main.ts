/** The `bulkhead` command: wiring only. */
import process from 'node:process';
import { createTerminal } from './output/terminal.ts';
import { runProgram } from './program.ts';

const interruption = new AbortController();
// A second Ctrl-C ends at once: the default action is back after the first.
for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => interruption.abort());
// `bulkhead flows | head` ends when head does.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(0);
});

process.exitCode = await runProgram(process.argv.slice(2), {
  terminal: createTerminal(process.stdout, process.stderr, process.env),
  environment: process.env,
  nowMs: Date.now,
  signal: interruption.signal,
});
