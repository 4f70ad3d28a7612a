import type { Command } from 'commander';
import type { ApiClient, RouteOutput } from '@bulkhead/protocol';
import { connect } from '../client/connection.ts';
import { valueOf } from '../client/failure.ts';
import { collect } from '../client/pages.ts';
import { readDocuments, type SourceDocument } from '../documents/read-documents.ts';
import { CommandFailure } from '../exit.ts';
import { printValue } from '../output/format.ts';
import { plural } from '../output/units.ts';
import { documentKind, documentNames, storedName } from '../resources/document-kinds.ts';
import { examples, type Registration, type Shell } from '../shell.ts';
import { changeLine, type DocumentChange } from '../views/document-view.ts';
import { fileFlag } from './file-option.ts';
import { durationOption, outputFormatOf, revisionOption } from './options.ts';
import { waitForReceipts } from './receipts.ts';

interface ApplyOptions {
  readonly file: readonly string[];
  readonly dryRun?: boolean;
  /** Milliseconds, or true for the default. */
  readonly wait?: number | true;
  readonly prune?: boolean;
  readonly label?: string;
  readonly expectRevision?: number;
  readonly force?: boolean;
}

const waitFlag = [
  '--wait [duration]',
  'until every connected host enforces it (30s)',
  durationOption('--wait'),
] as const;

export const registerDocuments: Registration = (program, shell) => {
  registerApply(program, shell);
  registerDelete(program, shell);
};

function registerApply(program: Command, shell: Shell): void {
  const command = program
    .command('apply')
    .description('Apply documents: all of them, or nothing when one is wrong')
    .requiredOption(...fileFlag)
    .option('--dry-run', 'check everything, change nothing')
    .option(...waitFlag)
    .option('--force', 'also documents that may cut hosts off from SSH and from the manager (lockOutGuard: false)')
    .option('--prune', 'also remove documents that have the labels of -l and are in none of the files')
    .option('-l, --label <labels>', 'with --prune: which documents are this source’s, key=value, joined by commas')
    .option(
      '--expect-revision <revision>',
      'refuse if a document changed after this revision',
      revisionOption('--expect-revision'),
    )
    .action(async (options: ApplyOptions, self: Command) => {
      if (options.prune === true && options.label === undefined)
        throw new CommandFailure('usage', '--prune needs -l: only documents with these labels are removed', {
          remedy: 'Give all documents of one source a label, and that label here.',
        });
      const documents = await readDocuments(options.file);
      const { api } = await connect(self, shell);
      const dryRun = options.dryRun === true;
      const removed = options.prune === true ? await prunedBy(api, documents, options.label!) : [];
      const expected = options.expectRevision === undefined ? {} : { expectRevision: options.expectRevision };
      const query = { dryRun, force: options.force === true, ...expected };
      const sentMs = shell.nowMs();
      const applied = valueOf(await api.applyDocuments({ query, body: { documents: [...documents], removed } }));
      await tellApplied(api, shell, self, applied, { ...options, sentMs });
    });
  examples(command, [
    ['bulkhead apply -f policy/', 'a folder of documents, as one change'],
    ['bulkhead apply -f orders.yaml --dry-run', 'would it be taken?'],
    ['bulkhead apply -f orders.yaml --wait', 'return when every host enforces it, with the time it took'],
    ['bulkhead apply -f policy/ --prune -l team=orders', 'and remove what is labelled so and no longer in the folder'],
    ['bulkhead apply -f policy/ --expect-revision 41', 'only if nobody changed a document since'],
    ['cat orders.yaml | bulkhead apply -f -', 'from standard input'],
  ]);
}

type Applied = RouteOutput<'applyDocuments'>;

/** What was done, and with `--wait` when every host does it. In JSON and YAML both are one value. */
async function tellApplied(
  api: ApiClient,
  shell: Shell,
  command: Command,
  applied: Applied,
  { wait, sentMs }: { readonly wait?: number | true; readonly sentMs: number },
): Promise<void> {
  const format = outputFormatOf(command);
  const waits = wait !== undefined && !applied.dryRun;
  const isText = format === 'table' || format === 'wide' || format === 'name';
  const print = (value: unknown): void =>
    printValue(shell.terminal, format, value, () => changeLines(applied.changes, shell));
  // Text comes at once; a value has to wait for its receipts.
  if (isText || !waits) print(applied);
  tellRevision(shell, applied);
  if (!waits) return;
  const receipts = await waitForReceipts(api, shell, applied.revision, { wait, sentMs });
  if (!isText) print({ ...applied, receipts: receipts.hosts });
}

/** Documents in force that carry all of these labels and are not among those given. */
async function prunedBy(
  api: ApiClient,
  given: readonly SourceDocument[],
  text: string,
): Promise<{ readonly kind: string; readonly name: string }[]> {
  const labels = parseLabels(text);
  const kept = new Set(given.map(keyOf).map(({ kind, name }) => `${kind}/${name}`));
  const { items } = await collect(pruneReadMax, (page) => api.listDocuments({ query: page }));
  return items
    .filter((row) => {
      const { labels: own = {} } = row.document['metadata'] as { readonly labels?: Readonly<Record<string, string>> };
      return Object.entries(labels).every(([key, value]) => own[key] === value);
    })
    .map(({ kind, name }) => ({ kind, name }))
    .filter(({ kind, name }) => !kept.has(`${kind}/${name}`));
}

/** Most documents that a `--prune` looks through: as many as there can be. */
const pruneReadMax = 200_000;

function parseLabels(text: string): Readonly<Record<string, string>> {
  const pairs = text.split(',').map((pair) => {
    const at = pair.indexOf('=');
    if (at < 1) throw new CommandFailure('usage', `-l ${text}: labels are KEY=VALUE, joined by commas`);
    return [pair.slice(0, at), pair.slice(at + 1)] as const;
  });
  return Object.fromEntries(pairs);
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

function registerDelete(program: Command, shell: Shell): void {
  const command = program
    .command('delete')
    .description('Remove documents; refused while another one refers to them')
    .argument('[kind]', documentNames.map(({ names }) => names[1]!).join(', '))
    .argument('[name]', 'NAME, or NAMESPACE/NAME')
    .option(...fileFlag)
    .option('-n, --namespace <namespace>', 'of a document of Kubernetes (default)')
    .option('--dry-run', 'check everything, change nothing')
    .option(...waitFlag)
    .action(async (kind: string | undefined, name: string | undefined, options: DeleteOptions, self: Command) => {
      if (options.file !== undefined && kind !== undefined)
        throw new CommandFailure('usage', 'say what to remove by name or by file, not both');
      const dryRun = options.dryRun === true;
      const remove = await removalOf(options, kind, name);
      const { api } = await connect(self, shell);
      const sentMs = shell.nowMs();
      const applied = valueOf(await remove(api, dryRun));
      await tellApplied(api, shell, self, applied, { ...options, sentMs });
    });
  examples(command, [
    ['bulkhead delete policy orders', 'one document'],
    ['bulkhead delete netpol web -n shop', 'a NetworkPolicy of the namespace shop'],
    ['bulkhead delete -f policy/', 'everything that the files name, as one change'],
  ]);
}

interface DeleteOptions extends Partial<ApplyOptions> {
  readonly namespace?: string;
}

type Removal = (api: ApiClient, dryRun: boolean) => ReturnType<ApiClient['applyDocuments']>;

/** One document by its own route, which knows "not found" from "refused"; those of files as one change. */
async function removalOf(
  { file: files, namespace }: DeleteOptions,
  kind: string | undefined,
  name: string | undefined,
): Promise<Removal> {
  if (files === undefined) {
    const params = named(kind, name, namespace);
    return (api, dryRun) => api.deleteDocument({ params, query: { dryRun } });
  }
  const removed = (await readDocuments(files)).map(keyOf);
  return (api, dryRun) => api.applyDocuments({ query: { dryRun }, body: { removed } });
}

function named(
  kind: string | undefined,
  name: string | undefined,
  namespace: string | undefined,
): { readonly kind: string; readonly name: string } {
  if (kind === undefined || name === undefined)
    throw new CommandFailure('usage', 'say what to remove', {
      remedy: 'bulkhead delete KIND NAME, or bulkhead delete -f FILE',
    });
  const documentOf = documentKind(kind);
  if (documentOf === null)
    throw new CommandFailure('usage', `${kind} is no kind of document`, {
      remedy: documentNames.map(({ names }) => names[1]!).join(', '),
    });
  return { kind: documentOf, name: storedName(documentOf, name, namespace) };
}

function keyOf(document: { readonly value: unknown; readonly file: string }): {
  readonly kind: string;
  readonly name: string;
} {
  const value = (document.value ?? {}) as {
    readonly kind?: unknown;
    readonly metadata?: { readonly name?: unknown; readonly namespace?: unknown };
  };
  const { name, namespace } = value.metadata ?? {};
  if (typeof value.kind === 'string' && typeof name === 'string') {
    const within = typeof namespace === 'string' ? namespace : undefined;
    return { kind: value.kind, name: storedName(value.kind, name, within) };
  }
  throw new CommandFailure('invalid', `${document.file}: a document without kind or name cannot be removed`);
}
