import type { Command } from 'commander';
import { differenceText, type PolicyDifference } from '@bulkhead/policy';
import type { ApiClient } from '@bulkhead/protocol';
import { connect } from '../client/connection.ts';
import { valueOf } from '../client/failure.ts';
import { readDocuments, type SourceDocument } from '../documents/read-documents.ts';
import { CommandFailure, CommandResult } from '../exit.ts';
import { printValue } from '../output/format.ts';
import { examples, type Registration, type Shell } from '../shell.ts';
import { differenceLines } from '../views/document-view.ts';
import { fileFlag } from './file-option.ts';
import { outputFormatOf, revisionOption } from './options.ts';

interface DiffOptions {
  readonly file?: readonly string[];
  readonly semantic?: boolean;
  readonly from?: number;
  readonly to?: number;
}

export const registerDiff: Registration = (program, shell) => {
  const command = program
    .command('diff')
    .description(
      'What an apply would change: document by document, or in meaning. Exits with 1 when there are differences',
    )
    .option(...fileFlag)
    .option('--semantic', 'which connections would be allowed, denied or asked about otherwise')
    .option('--from <revision>', 'compare with the documents of this revision', revisionOption('--from'))
    .option('--to <revision>', 'instead of files: the documents of this revision', revisionOption('--to'))
    .action(async (options: DiffOptions, self: Command) => {
      if ((options.from !== undefined || options.to !== undefined) && options.semantic !== true)
        throw new CommandFailure('usage', '--from and --to compare meanings', { remedy: 'Add --semantic.' });
      if (options.file === undefined && options.from === undefined && options.to === undefined)
        throw new CommandFailure('usage', 'say what to compare', {
          remedy: 'bulkhead diff -f FILE, or bulkhead diff --semantic --from REVISION',
        });
      const documents = options.file === undefined ? [] : await readDocuments(options.file);
      const { api } = await connect(self, shell);
      const isSame = options.semantic === true ? compareMeaning : compareDocuments;
      if (!(await isSame(api, shell, self, { documents, options }))) throw new CommandResult('failed');
    });
  // What scripts gave when differences were no failure by themselves.
  command.option('--exit-code', 'exits with 1 when there are differences, as it does without');
  examples(command, [
    ['bulkhead diff -f policy/', 'read before you apply'],
    ['bulkhead diff --semantic -f policy/', 'which connections would be allowed or denied otherwise, exactly'],
    ['bulkhead diff --semantic --from 41', 'what has changed in meaning since revision 41'],
    ['bulkhead diff --semantic --from 41 --to 42 -o json', 'between two revisions, for a program'],
  ]);
};

interface Comparison {
  readonly documents: readonly SourceDocument[];
  readonly options: DiffOptions;
}

async function compareDocuments(
  api: ApiClient,
  shell: Shell,
  command: Command,
  { documents }: Comparison,
): Promise<boolean> {
  const found = valueOf(await api.diffDocuments({ body: { documents: [...documents] } }));
  const changes = found.changes.filter((change) => change.change !== 'unchanged');
  printValue(shell.terminal, outputFormatOf(command), { ...found, changes }, () =>
    changes.flatMap((change) => differenceLines(change, shell.terminal.paint)),
  );
  if (changes.length === 0) shell.terminal.err(`no differences to revision ${found.revision}`);
  return changes.length === 0;
}

async function compareMeaning(
  api: ApiClient,
  shell: Shell,
  command: Command,
  { documents, options }: Comparison,
): Promise<boolean> {
  const { from: before, to: after } = options;
  const body = {
    documents: [...documents],
    ...(before === undefined ? {} : { before }),
    ...(after === undefined ? {} : { after }),
  };
  const found = valueOf(await api.diffMeaning({ body }));
  printValue(shell.terminal, outputFormatOf(command), found, () =>
    differenceText({ kind: 'difference', ...found } as PolicyDifference).split('\n'),
  );
  return found.groups.length === 0;
}
