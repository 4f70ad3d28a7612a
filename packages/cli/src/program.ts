/** The tree of commands, and how a command line becomes an exit code. */
import { Command, CommanderError } from 'commander';
import packageFile from '../package.json' with { type: 'json' };
import { registerAnalyse } from './commands/analyse.ts';
import { registerAttach } from './commands/attach.ts';
import { registerAudit } from './commands/audit.ts';
import { registerCompletion } from './commands/completion.ts';
import { createLookUp } from './completion/look-up.ts';
import { registerContext } from './commands/context.ts';
import { registerDescribe } from './commands/describe.ts';
import { registerDiff } from './commands/diff.ts';
import { registerDoctor } from './commands/doctor.ts';
import { registerDocuments } from './commands/documents.ts';
import { registerExplain } from './commands/explain.ts';
import { registerGet } from './commands/get.ts';
import { registerMachine } from './commands/machine.ts';
import { registerOperate } from './commands/operate.ts';
import { addGlobalOptions } from './commands/options.ts';
import { registerSchema } from './commands/schema.ts';
import { registerStatus } from './commands/status.ts';
import { registerTraffic } from './commands/traffic.ts';
import { CommandFailure, CommandResult, describeError, exitCodes } from './exit.ts';
import { agentMain, managerMain } from './local/paths.ts';
import { runInstead } from './local/run-instead.ts';
import type { Registration, Shell } from './shell.ts';

const version: string = packageFile.version;

const exitHelp = `
Exit codes:
  0 done   1 failed   2 wrong command line   3 refused by validation   4 not permitted
  5 unreachable   6 not found   7 conflict   8 timed out   130 interrupted

Environment:
  BULKHEAD_CONTEXT, BULKHEAD_SERVER, BULKHEAD_TOKEN_FILE, BULKHEAD_CA_FILE   as the options of these names
  BULKHEAD_TOKEN    the token itself
  BULKHEAD_CONFIG   the context file (~/.config/bulkhead/config, /etc/bulkhead/config)
  NO_COLOR          no colours, ever`;

/** In the order in which help shows them. */
const registrations: readonly Registration[] = [
  registerStatus,
  registerGet,
  registerDescribe,
  registerDocuments,
  registerDiff,
  registerExplain,
  registerAnalyse,
  registerSchema,
  registerTraffic,
  registerOperate,
  registerAttach,
  registerMachine,
  registerAudit,
  registerDoctor,
  registerContext,
];

export function createProgram(shell: Shell): Command {
  const program = new Command('bulkhead')
    .description('Compartments for containers and virtual machines: a firewall below them, and a manager that is asked')
    .version(version, '-V, --version', 'the version of this command')
    .showHelpAfterError('(--help shows how it is used)')
    .showSuggestionAfterError(true)
    .configureHelp({ sortSubcommands: false, showGlobalOptions: true })
    .addHelpText('after', exitHelp)
    .exitOverride();
  addGlobalOptions(program);
  for (const register of registrations) register(program, shell);
  registerCompletion(program, shell, createLookUp(program, shell));
  inherit(program, shell);
  return program;
}

/** Settings that commander does not hand down: every command throws instead of exiting, and writes where the shell says. */
function inherit(command: Command, shell: Shell): void {
  command.exitOverride();
  command.configureOutput({
    writeOut: (text) => shell.terminal.out(text.replace(/\n$/, '')),
    writeErr: (text) => shell.terminal.err(text.replace(/\n$/, '')),
    getOutHelpWidth: () => shell.terminal.width ?? 100,
    getErrHelpWidth: () => shell.terminal.width ?? 100,
    getOutHasColors: () => false,
    getErrHasColors: () => false,
  });
  for (const child of command.commands) inherit(child, shell);
}

/** Commands that are another package's process: their words are theirs, ours ends with them. */
const processes: Readonly<Record<string, string>> = { manager: managerMain, agent: agentMain };

export async function runProgram(words: readonly string[], shell: Shell): Promise<number> {
  const [first = '', ...rest] = words;
  const script = Object.hasOwn(processes, first) ? processes[first] : undefined;
  if (script !== undefined) return runInstead(script, rest);
  try {
    await createProgram(shell).parseAsync(words, { from: 'user' });
    return exitCodes.ok;
  } catch (error) {
    return report(error, shell);
  }
}

function report(error: unknown, shell: Shell): number {
  // Commander has said already what was wrong; help and version end with its own code 0.
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
  if (error instanceof CommandResult) return exitCodes[error.exit];
  if (error instanceof CommandFailure) {
    for (const [index, line] of describeError(error).entries())
      shell.terminal.err(index === 0 ? shell.terminal.errPaint('bad', line) : line);
    return exitCodes[error.exit];
  }
  if (shell.signal.aborted) return exitCodes.interrupted;
  shell.terminal.err(error instanceof Error ? (error.stack ?? error.message) : String(error));
  return exitCodes.failed;
}
