/** From a command line to a manager: which one, as whom, and the typed calls. */
import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { createApiClient, type ApiClient } from '@bulkhead/protocol';
import { contextRequestOf } from '../commands/options.ts';
import { chooseContext, type ChosenContext } from '../context/contexts.ts';
import { readContexts } from '../context/store.ts';
import { CommandFailure } from '../exit.ts';
import type { Shell } from '../shell.ts';
import { createTransport, managerClock } from './transport.ts';

export interface Connection {
  readonly context: ChosenContext;
  readonly api: ApiClient;
  /** The manager's clock, ms, to the second; null where it does not tell. */
  readonly clockMs: () => Promise<number | null>;
}

export async function connect(command: Command, shell: Shell): Promise<Connection> {
  const stored = await readContexts(shell.environment);
  return openContext(chooseContext(stored.file, contextRequestOf(command, shell.environment)), shell);
}

export async function openContext(
  context: ChosenContext,
  shell: Pick<Shell, 'environment' | 'signal'>,
): Promise<Connection> {
  const token = await readToken(context, shell.environment);
  const authority = context.caFile === undefined ? null : await readNamed(context.caFile, 'certificate authority');
  const options = { server: context.server, token, authority, signal: shell.signal };
  return { context, api: createApiClient(createTransport(options)), clockMs: () => managerClock(options) };
}

/** $BULKHEAD_TOKEN is for pipelines that keep secrets in the environment; a file is the rule. */
async function readToken(
  context: ChosenContext,
  environment: Readonly<Record<string, string | undefined>>,
): Promise<string | null> {
  const given = environment['BULKHEAD_TOKEN'];
  if (given !== undefined && given !== '') return given.trim();
  if (context.tokenFile === undefined) return null;
  return (await readNamed(context.tokenFile, 'token')).trim();
}

async function readNamed(path: string, what: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const exit = code === 'EACCES' ? 'forbidden' : code === 'ENOENT' ? 'unreachable' : 'failed';
    const remedy =
      code === 'EACCES'
        ? 'Use sudo, or a token of your own with --token-file.'
        : 'Is a manager running here (bulkhead up)? Another one is named with --context or --server and --token-file.';
    throw new CommandFailure(exit, `the ${what} ${path} cannot be read: ${message}`, { remedy, cause });
  }
}
