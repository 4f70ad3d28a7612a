/** What every command is given: where to write, what the environment says, what time it is, and when to stop. */
import type { Command } from 'commander';
import type { Terminal } from './output/terminal.ts';

export interface Shell {
  readonly terminal: Terminal;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly nowMs: () => number;
  /** Aborted by Ctrl-C; a command that watches ends then, with exit code 0. */
  readonly signal: AbortSignal;
}

/** Adds one command, or a family of them, to the program. */
export type Registration = (program: Command, shell: Shell) => void;

/** Examples below the help of a command: what is typed, and what for. */
export function examples(command: Command, list: readonly (readonly [typed: string, purpose: string])[]): Command {
  const width = Math.max(...list.map(([typed]) => typed.length));
  const lines = list.map(([typed, purpose]) => `  ${typed.padEnd(width)}   # ${purpose}`);
  return command.addHelpText('after', `\nExamples:\n${lines.join('\n')}`);
}
