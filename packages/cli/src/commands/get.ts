import { Argument, Option, type Command } from 'commander';
import { connect, type Connection } from '../client/connection.ts';
import { valueOf } from '../client/failure.ts';
import { CommandFailure } from '../exit.ts';
import { printListing, printValue, stableJson } from '../output/format.ts';
import { plural } from '../output/units.ts';
import { documentKind, storedName } from '../resources/document-kinds.ts';
import { findResource, resourceNames, type Narrowing, type Resource } from '../resources/resources.ts';
import { examples, type Registration, type Shell } from '../shell.ts';
import { describeDocument, describeFlowById, describeHostByName, describeWorkloadByName } from './describe.ts';
import { countOption, outputFormatOf, revisionOption } from './options.ts';
import { repeat } from './watch.ts';

interface GetOptions extends Narrowing {
  readonly limit: number;
  readonly watch?: boolean;
}

const limitDefault = 500;
const limitMax = 100_000;

export const registerGet: Registration = (program, shell) => {
  const command = program
    .command('get')
    .description('List things of one kind, or show one of them')
    .addArgument(new Argument('<kind>', resourceNames.join(', ')).argParser(String))
    .argument('[name]', 'only this one')
    .option('--segment <segment>', 'only members of this segment')
    .option('--host <host>', 'only on this host')
    .option('-l, --label <labels>', 'only with these labels: key=value or key, joined by commas')
    .option('--search <text>', 'only with this in the name')
    .addOption(
      new Option('--governance <state>', 'only workloads in this state').choices([
        'governed',
        'observed',
        'ungoverned',
      ]),
    )
    .option('--revision <revision>', 'documents as they were in that revision', revisionOption('--revision'))
    .option('-n, --namespace <namespace>', 'documents of Kubernetes in this namespace')
    .option('--staged', 'only flows of which staged policies would have made something else')
    .option('--limit <rows>', 'at most so many rows', countOption('--limit', limitMax), limitDefault)
    .option('-w, --watch', 'show again whenever it changes, until Ctrl-C')
    .action(async (kind: string, name: string | undefined, options: GetOptions, self: Command) => {
      const resource = findResource(kind);
      const connection = await connect(self, shell);
      if (name !== undefined) await showOne(connection, shell, self, { resource, kind, name, options });
      else await showList(connection, shell, self, { resource, options });
    });
  examples(command, [
    ['bulkhead get workloads', 'every workload with segments, addresses and labels'],
    ['bulkhead get workloads -l app=web --host h1', 'some of them'],
    ['bulkhead get workloads --governance ungoverned', 'containers that Bulkhead does not govern, with the reason'],
    ['bulkhead get policies -o yaml', 'as documents'],
    ['bulkhead get hosts --watch', 'hosts with the revision they enforce, live'],
    ['bulkhead get policy orders', 'one document'],
    ['bulkhead get documents --revision 41', 'what was in force in revision 41'],
    ['bulkhead get netpol -n shop', 'Kubernetes NetworkPolicies of a namespace'],
    ['bulkhead get flows --staged', 'flows of which staged policies would have made something else'],
  ]);
};

function narrowingOf(resource: Resource, options: GetOptions): Narrowing {
  const { segment, host, label, search, governance, revision, namespace, staged } = options;
  const given = Object.entries({ segment, host, label, search, governance, revision, namespace, staged }).filter(
    ([, value]) => value !== undefined,
  );
  for (const [name] of given) {
    if (!resource.narrows.some((each) => each === name)) {
      const known = resource.narrows.map((each) => `--${each}`).join(', ') || 'nothing';
      throw new CommandFailure('usage', `--${name} does not narrow ${resource.names[0]}`, {
        remedy: `It takes ${known}.`,
      });
    }
  }
  return Object.fromEntries(given) as Narrowing;
}

async function showList(
  { api }: Connection,
  shell: Shell,
  command: Command,
  { resource, options }: { readonly resource: Resource; readonly options: GetOptions },
): Promise<void> {
  const narrowing = narrowingOf(resource, options);
  const format = outputFormatOf(command);
  const empty = Object.keys(narrowing).length === 0 ? resource.empty : `no such ${resource.names[0]}`;
  await repeat(shell, options.watch === true, async () => {
    const { rows, columns, name, more } = await resource.list(api, narrowing, options.limit, shell.nowMs());
    return {
      key: stableJson(rows, 0),
      print: () => {
        printListing(shell.terminal, format, { rows, columns, name, empty });
        if (more) shell.terminal.err(`… the first ${plural(rows.length, 'row')}; --limit shows more`);
      },
    };
  });
}

async function showOne(
  connection: Connection,
  shell: Shell,
  command: Command,
  {
    resource,
    kind,
    name,
    options,
  }: {
    readonly resource: Resource;
    readonly kind: string;
    readonly name: string;
    readonly options: GetOptions;
  },
): Promise<void> {
  const plural = resource.names[0];
  if (plural === 'workloads') return describeWorkloadByName(connection, shell, command, name);
  if (plural === 'hosts') return describeHostByName(connection, shell, command, name);
  const documentOf = documentKind(kind);
  if (documentOf !== null) {
    const { namespace, revision } = options;
    const stored = { kind: documentOf, name: storedName(documentOf, name, namespace), revision };
    return describeDocument(connection, shell, command, stored);
  }
  if (plural === 'flows') return describeFlowById(connection, shell, command, name);
  if (plural === 'questions') {
    const question = valueOf(await connection.api.getQuestion({ params: { id: name } }));
    return printValue(shell.terminal, outputFormatOf(command), question, () => [stableJson(question)]);
  }
  throw new CommandFailure('usage', `one of ${plural} cannot be shown by name`, { remedy: `bulkhead get ${plural}` });
}
