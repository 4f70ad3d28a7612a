import type { Command } from 'commander';
import { contextEntry, localContext, type ContextEntry } from '../context/contexts.ts';
import { readContexts, writeContexts } from '../context/store.ts';
import { CommandFailure } from '../exit.ts';
import { printListing } from '../output/format.ts';
import { examples, type Registration } from '../shell.ts';
import { outputFormatOf } from './options.ts';

interface SetOptions {
  readonly server: string;
  readonly tokenFile?: string;
  readonly caFile?: string;
}

/** Names for managers, so that `--context NAME` is enough. */
export const registerContext: Registration = (program, shell) => {
  const command = program.command('context').description('Names for managers: list, choose, set, remove');

  command
    .command('list')
    .description('List the contexts')
    .action(async (_options: unknown, self: Command) => {
      const { file } = await readContexts(shell.environment);
      const entries: Readonly<Record<string, ContextEntry>> = { local: localContext, ...file.contexts };
      const rows = Object.entries(entries).map(([name, entry]) => ({
        name,
        current: name === (file.current ?? 'local'),
        ...entry,
      }));
      printListing(shell.terminal, outputFormatOf(self), {
        rows,
        columns: [
          { title: '', value: (row) => (row.current ? '*' : '') },
          { title: 'NAME', value: (row) => row.name },
          { title: 'SERVER', value: (row) => row.server },
          { title: 'TOKEN', value: (row) => row.tokenFile ?? '' },
          { title: 'AUTHORITY', value: (row) => row.caFile ?? '', wide: true },
        ],
        name: (row) => row.name,
        empty: 'no contexts',
      });
    });

  command
    .command('use')
    .description('Make a context the current one')
    .argument('<context>')
    .action(async (name: string) => {
      const stored = await readContexts(shell.environment);
      if (name !== 'local' && stored.file.contexts[name] === undefined)
        throw new CommandFailure('notFound', `there is no context ${JSON.stringify(name)}`, {
          remedy: 'See  bulkhead context list.',
        });
      await writeContexts({ ...stored, file: { ...stored.file, current: name } });
      shell.terminal.err(`the current context is ${name} (${stored.path})`);
    });

  // Not --server, --token-file and --ca-file: those are options of every command, for that command alone.
  const set = command
    .command('set')
    .description('Add or change a context')
    .argument('<context>')
    .argument('<server>', 'https://HOST:PORT or unix:///PATH')
    .argument('[token-file]', 'file with the token')
    .argument('[ca-file]', "the manager's certificate authority, PEM")
    .action(async (name: string, server: string, tokenFile: string | undefined, caFile: string | undefined) => {
      const options: SetOptions = {
        server,
        ...(tokenFile === undefined ? {} : { tokenFile }),
        ...(caFile === undefined ? {} : { caFile }),
      };
      const checked = contextEntry.safeParse(options);
      if (!checked.success)
        throw new CommandFailure('usage', `${server}: ${checked.error.issues[0]?.message ?? 'is no address'}`);
      const stored = await readContexts(shell.environment);
      await writeContexts({
        ...stored,
        file: { ...stored.file, contexts: { ...stored.file.contexts, [name]: checked.data } },
      });
      shell.terminal.err(`context ${name} is in ${stored.path}`);
    });

  command
    .command('remove')
    .description('Forget a context')
    .argument('<context>')
    .action(async (name: string) => {
      const stored = await readContexts(shell.environment);
      const { [name]: gone, ...rest } = stored.file.contexts;
      if (gone === undefined) throw new CommandFailure('notFound', `there is no context ${JSON.stringify(name)}`);
      const { current, ...others } = stored.file;
      const file = current === undefined || current === name ? { ...others } : { ...others, current };
      await writeContexts({ ...stored, file: { ...file, contexts: rest } });
    });

  examples(set, [
    ['bulkhead context set floor https://10.0.0.5:7444 ~/floor.token ~/floor-ca.pem', 'a manager elsewhere'],
    ['bulkhead context use floor', 'talk to it from now on'],
  ]);
};
