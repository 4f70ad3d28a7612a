import type { Command } from 'commander';
import type { ApiClient } from '@bulkhead/protocol';
import { connect } from '../client/connection.ts';
import { valueOf } from '../client/failure.ts';
import { readDocuments } from '../documents/read-documents.ts';
import { CommandFailure } from '../exit.ts';
import { printValue } from '../output/format.ts';
import { duration, plural } from '../output/units.ts';
import { documentKind } from '../resources/resources.ts';
import { examples, type Registration, type Shell } from '../shell.ts';
import { changeLine, differenceLines, type DocumentChange } from '../views/document-view.ts';
import { durationOption, outputFormatOf } from './options.ts';

interface ApplyOptions {
  readonly file: readonly string[];
  readonly dryRun?: boolean;
  /** Milliseconds, or true for the default. */
  readonly wait?: number | true;
}

const waitDefaultMs = 30_000;
/** Longest single wait at the manager; longer ones are several. */
const waitStepMs = 10_000;

const gather = (value: string, before: readonly string[] | undefined): readonly string[] => [...(before ?? []), value];
const fileFlag = ['-f, --file <path>', 'file, folder, or - for standard input; may be repeated', gather] as const;
const waitFlag = [
  '--wait [duration]',
  'until every connected host enforces it (30s)',
  durationOption('--wait'),
] as const;

export const registerDocuments: Registration = (program, shell) => {
  registerApply(program, shell);
  registerDiff(program, shell);
  registerDelete(program, shell);
};

function registerApply(program: Command, shell: Shell): void {
  const command = program
    .command('apply')
    .description('Apply documents: all of them, or nothing when one is wrong')
    .requiredOption(...fileFlag)
    .option('--dry-run', 'check everything, change nothing')
    .option(...waitFlag)
    .action(async (options: ApplyOptions, self: Command) => {
      const documents = await readDocuments(options.file);
      const { api } = await connect(self, shell);
      const dryRun = options.dryRun === true;
      const applied = valueOf(await api.applyDocuments({ query: { dryRun }, body: { documents: [...documents] } }));
      printValue(shell.terminal, outputFormatOf(self), applied, () => changeLines(applied.changes, shell));
      tellRevision(shell, applied);
      if (options.wait !== undefined && !dryRun) await waitForReceipts(api, shell, applied.revision, options.wait);
    });
  examples(command, [
    ['bulkhead apply -f policy/', 'a folder of documents, as one change'],
    ['bulkhead apply -f orders.yaml --dry-run', 'would it be taken?'],
    ['bulkhead apply -f orders.yaml --wait', 'return when every host enforces it, with the time it took'],
    ['cat orders.yaml | bulkhead apply -f -', 'from standard input'],
  ]);
}

function changeLines(changes: readonly DocumentChange[], shell: Shell): readonly string[] {
  return changes.map((change) => changeLine(change, shell.terminal.paint));
}

function tellRevision(
  shell: Shell,
  applied: {
    readonly revision: number;
    readonly dryRun: boolean;
    readonly relabelled: number;
    readonly changes: readonly DocumentChange[];
  },
): void {
  const changed = applied.changes.filter((change) => change.change !== 'unchanged').length;
  const others = applied.relabelled === 0 ? '' : `, ${plural(applied.relabelled, 'workload')} with another identity`;
  const done = applied.dryRun ? 'dry run: nothing was changed; ' : '';
  shell.terminal.err(`${done}${plural(changed, 'change')}${others}, revision ${applied.revision}`);
}

async function waitForReceipts(api: ApiClient, shell: Shell, revision: number, wait: number | true): Promise<void> {
  const beganMs = shell.nowMs();
  const endMs = beganMs + (wait === true ? waitDefaultMs : wait);
  const progress = shell.terminal.progress(`revision ${revision} on every host`);
  try {
    for (;;) {
      const waitMs = Math.max(0, Math.min(waitStepMs, endMs - shell.nowMs()));
      const params = { revision: String(revision) };
      const receipts = valueOf(await api.getReceipts({ params, query: { waitMs } }));
      progress.update({ note: `${receipts.enforcedCount} of ${receipts.hostsCount}` });
      if (receipts.complete) {
        const slowest = Math.max(0, ...receipts.hosts.map((host) => host.enforcedMs ?? 0));
        const failed = receipts.hosts.flatMap((host) => host.failed.map((what) => ({ where: host.host, what })));
        progress.end();
        if (receipts.hostsCount === 0) shell.terminal.err('no host is connected: it will be enforced when one is');
        else
          shell.terminal.err(
            `enforced on ${plural(receipts.enforcedCount, 'host')} after ${duration(shell.nowMs() - beganMs)} (slowest host: ${duration(slowest)})`,
          );
        if (failed.length > 0)
          throw new CommandFailure('failed', 'some of it could not be applied and stays denied', { faults: failed });
        return;
      }
      if (shell.nowMs() >= endMs) {
        const late = receipts.hosts.filter((host) => host.connected && !host.enforced);
        throw new CommandFailure('timedOut', `revision ${revision} is not enforced everywhere yet`, {
          faults: late.map((host) => ({ where: host.host, what: `is at revision ${host.revision ?? 'none'}` })),
          remedy: 'It is applied, and goes on being rolled out: bulkhead get hosts --watch.',
        });
      }
    }
  } finally {
    progress.end();
  }
}

function registerDiff(program: Command, shell: Shell): void {
  const command = program
    .command('diff')
    .description('What an apply would change, document by document')
    .requiredOption(...fileFlag)
    .option('--exit-code', 'exit with 1 when there are differences')
    .action(async (options: { readonly file: readonly string[]; readonly exitCode?: boolean }, self: Command) => {
      const documents = await readDocuments(options.file);
      const { api } = await connect(self, shell);
      const found = valueOf(await api.diffDocuments({ body: { documents: [...documents] } }));
      const changes = found.changes.filter((change) => change.change !== 'unchanged');
      printValue(shell.terminal, outputFormatOf(self), { ...found, changes }, () =>
        changes.flatMap((change) => differenceLines(change, shell.terminal.paint)),
      );
      if (changes.length === 0) shell.terminal.err(`no differences to revision ${found.revision}`);
      else if (options.exitCode === true) throw new CommandFailure('failed', 'there are differences');
    });
  examples(command, [
    ['bulkhead diff -f policy/', 'read before you apply'],
    ['bulkhead diff -f policy/ --exit-code', 'for a pipeline: exits with 1 when something would change'],
  ]);
}

function registerDelete(program: Command, shell: Shell): void {
  const command = program
    .command('delete')
    .description('Remove documents; refused while another one refers to them')
    .argument('[kind]', 'segment, policy or tier')
    .argument('[name]')
    .option(...fileFlag)
    .option('--dry-run', 'check everything, change nothing')
    .option(...waitFlag)
    .action(
      async (kind: string | undefined, name: string | undefined, options: Partial<ApplyOptions>, self: Command) => {
        if (options.file !== undefined && kind !== undefined)
          throw new CommandFailure('usage', 'say what to remove by name or by file, not both');
        const dryRun = options.dryRun === true;
        const remove = await removalOf(options.file, kind, name);
        const { api } = await connect(self, shell);
        const applied = valueOf(await remove(api, dryRun));
        printValue(shell.terminal, outputFormatOf(self), applied, () => changeLines(applied.changes, shell));
        tellRevision(shell, applied);
        if (options.wait !== undefined && !dryRun) await waitForReceipts(api, shell, applied.revision, options.wait);
      },
    );
  examples(command, [
    ['bulkhead delete policy orders', 'one document'],
    ['bulkhead delete -f policy/', 'everything that the files name, as one change'],
  ]);
}

type Removal = (api: ApiClient, dryRun: boolean) => ReturnType<ApiClient['applyDocuments']>;

/** One document by its own route, which knows "not found" from "refused"; those of files as one change. */
async function removalOf(
  files: readonly string[] | undefined,
  kind: string | undefined,
  name: string | undefined,
): Promise<Removal> {
  if (files === undefined) {
    const params = named(kind, name);
    return (api, dryRun) => api.deleteDocument({ params, query: { dryRun } });
  }
  const removed = (await readDocuments(files)).map(keyOf);
  return (api, dryRun) => api.applyDocuments({ query: { dryRun }, body: { removed } });
}

function named(kind: string | undefined, name: string | undefined): { readonly kind: string; readonly name: string } {
  if (kind === undefined || name === undefined)
    throw new CommandFailure('usage', 'say what to remove', {
      remedy: 'bulkhead delete KIND NAME, or bulkhead delete -f FILE',
    });
  const documentOf = documentKind(kind);
  if (documentOf === null)
    throw new CommandFailure('usage', `${kind} is no kind of document`, { remedy: 'segment, policy or tier' });
  return { kind: documentOf, name };
}

function keyOf(document: { readonly value: unknown; readonly file: string }): {
  readonly kind: string;
  readonly name: string;
} {
  const value = (document.value ?? {}) as { readonly kind?: unknown; readonly metadata?: { readonly name?: unknown } };
  const name = value.metadata?.name;
  if (typeof value.kind === 'string' && typeof name === 'string') return { kind: value.kind, name };
  throw new CommandFailure('invalid', `${document.file}: a document without kind or name cannot be removed`);
}
