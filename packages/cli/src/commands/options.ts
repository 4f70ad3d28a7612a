/** Options that many commands share, declared once so that they read alike. */
import { Option, type Command } from 'commander';
import type { ContextRequest } from '../context/contexts.ts';
import { CommandFailure } from '../exit.ts';
import { outputFormats, type OutputFormat } from '../output/format.ts';
import { parseDuration } from '../output/units.ts';

/** Options of the program itself: they may stand anywhere on the command line. */
export function addGlobalOptions(program: Command): Command {
  return program
    .addOption(new Option('-o, --output <format>', 'form of the result').choices(outputFormats).default('table'))
    .option('--context <name>', 'which manager, by the name of a context')
    .option('--server <address>', 'which manager: https://HOST:PORT or unix:///PATH')
    .option('--token-file <file>', 'file with the token')
    .option('--ca-file <file>', "the manager's certificate authority, PEM");
}

interface GlobalOptions extends ContextRequest {
  readonly output: OutputFormat;
}

const globals = (command: Command): GlobalOptions => command.optsWithGlobals<GlobalOptions>();

export const outputFormatOf = (command: Command): OutputFormat => globals(command).output;

/** Flags first, then the environment. */
export function contextRequestOf(
  command: Command,
  environment: Readonly<Record<string, string | undefined>>,
): ContextRequest {
  const options = globals(command);
  return {
    context: options.context ?? environment['BULKHEAD_CONTEXT'],
    server: options.server ?? environment['BULKHEAD_SERVER'],
    tokenFile: options.tokenFile ?? environment['BULKHEAD_TOKEN_FILE'],
    caFile: options.caFile ?? environment['BULKHEAD_CA_FILE'],
  };
}

/** `--since 10m` and the like, as milliseconds. */
export function durationOption(flag: string): (text: string) => number {
  return (text) => {
    const ms = parseDuration(text);
    if (ms === null)
      throw new CommandFailure('usage', `${flag} ${text}: a duration is a number and its unit, e.g. 30s, 10m, 2h, 7d`);
    return ms;
  };
}

export function revisionOption(flag: string): (text: string) => number {
  return (text) => {
    if (!/^[0-9]{1,15}$/.test(text)) throw new CommandFailure('usage', `${flag} ${text}: a revision is a whole number`);
    return Number(text);
  };
}

export function countOption(flag: string, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < 1 || value > max)
      throw new CommandFailure('usage', `${flag} ${text}: a whole number from 1 to ${max}`);
    return value;
  };
}

/** `key=value`, as `--label` and `--param` take it, gathered over repeated use. */
export function pairOption(flag: string) {
  return (text: string, before: Readonly<Record<string, string>> | undefined): Readonly<Record<string, string>> => {
    const at = text.indexOf('=');
    if (at < 1) throw new CommandFailure('usage', `${flag} ${text}: KEY=VALUE is wanted`);
    return { ...before, [text.slice(0, at)]: text.slice(at + 1) };
  };
}
