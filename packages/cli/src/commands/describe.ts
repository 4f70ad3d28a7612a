import { Argument, type Command } from 'commander';
import type { ApiClient } from '@bulkhead/protocol';
import { connect, type Connection } from '../client/connection.ts';
import { valueOf } from '../client/failure.ts';
import { printValue, yamlText } from '../output/format.ts';
import { renderDescription, renderTable, type DescribeItem } from '../output/table.ts';
import { clock } from '../output/units.ts';
import { documentKind, documentNames, storedName } from '../resources/document-kinds.ts';
import { examples, type Registration, type Shell } from '../shell.ts';
import { describeFlow, flowColumns } from '../views/flow-view.ts';
import { describeHost, describeWorkload } from '../views/inventory-view.ts';
import { describeQuestion } from '../views/question-view.ts';
import { divergenceColumns } from '../views/record-view.ts';
import { outputFormatOf } from './options.ts';

/** Recent flows that a workload's description shows. */
const flowsShown = 10;

const things = ['workload', 'host', 'question', 'flow'] as const;
const kinds: readonly string[] = [...things, ...documentNames.map(({ names }) => names[1]!)];
const spellings: readonly string[] = [...things, ...documentNames.flatMap(({ names }) => names)];

export const registerDescribe: Registration = (program, shell) => {
  const command = program
    .command('describe')
    .description('Everything about one thing: what it is, what it did, and why')
    .addArgument(new Argument('<kind>', kinds.join(', ')).choices(spellings))
    .argument('<name>', 'its name or id')
    .option('-n, --namespace <namespace>', 'of a document of Kubernetes (default)')
    .action(async (kind: string, name: string, options: { readonly namespace?: string }, self: Command) => {
      const connection = await connect(self, shell);
      switch (kind) {
        case 'workload':
          return describeWorkloadByName(connection, shell, self, name);
        case 'host':
          return describeHostByName(connection, shell, self, name);
        case 'question': {
          const question = valueOf(await connection.api.getQuestion({ params: { id: name } }));
          return show(shell, self, question, describeQuestion(question, shell.nowMs()));
        }
        case 'flow':
          return describeFlowById(connection, shell, self, name);
        default: {
          const stored = documentKind(kind)!;
          const full = storedName(stored, name, options.namespace);
          return describeDocument(connection, shell, self, { kind: stored, name: full, revision: undefined });
        }
      }
    });
  examples(command, [
    ['bulkhead describe workload web', 'labels, segments, isolation, recent flows with reasons, differences'],
    ['bulkhead describe host h1', 'receipt, counters, what could not be applied'],
    ['bulkhead describe question h1:b1:42', 'who asked for what, which rule, who answered and why'],
  ]);
};

function show(shell: Shell, command: Command, value: unknown, items: readonly DescribeItem[]): void {
  printValue(shell.terminal, outputFormatOf(command), value, () => renderDescription(items, shell.terminal.paint));
}

export async function describeWorkloadByName(
  { api }: Connection,
  shell: Shell,
  command: Command,
  name: string,
): Promise<void> {
  const workload = valueOf(await api.getWorkload({ params: { workload: name } }));
  const [flows, divergences] = await Promise.all([
    api.listFlows({ query: { workload: workload.workload, limit: flowsShown } }).then(valueOf),
    api.listDivergences({ query: { workload: workload.workload } }).then(valueOf),
  ]);
  const postures = await posturesOf(api, workload.segments);
  const nowMs = shell.nowMs();
  const options = { paint: shell.terminal.paint };
  const items: readonly DescribeItem[] = [
    ...describeWorkload(workload, nowMs),
    { kind: 'section', title: 'Postures, where no rule speaks', lines: postures },
    {
      kind: 'section',
      title: 'Last flows',
      lines: flows.items.length === 0 ? ['none'] : renderTable(flows.items, flowColumns(nowMs), options),
    },
    ...(divergences.items.length === 0
      ? []
      : [
          {
            kind: 'section' as const,
            title: 'Differences between engine and wire',
            lines: renderTable(divergences.items, divergenceColumns(nowMs), options),
          },
        ]),
  ];
  show(shell, command, { ...workload, flows: flows.items, divergences: divergences.items }, items);
}

/** What happens in each segment when no rule speaks. A segment that was removed meanwhile is left out. */
async function posturesOf(api: ApiClient, segments: readonly string[]): Promise<readonly string[]> {
  if (segments.length === 0) return ['in no segment: everything is denied'];
  const documents = await Promise.all(segments.map((name) => api.getDocument({ params: { kind: 'Segment', name } })));
  return documents.flatMap((result) => {
    if (result.kind === 'error') return [];
    const { posture = {} } = result.value.document['spec'] as { readonly posture?: Readonly<Record<string, unknown>> };
    const side = (name: string): string => `${name} ${String(posture[name] ?? 'deny')}`;
    return [`${result.value.name}: ${side('ingress')}, ${side('egress')}`];
  });
}

export async function describeHostByName(
  { api }: Connection,
  shell: Shell,
  command: Command,
  name: string,
): Promise<void> {
  const host = valueOf(await api.getHost({ params: { host: name } }));
  show(shell, command, host, describeHost(host, shell.nowMs()));
}

/** The document itself is what there is to say, so it is shown as YAML, with who changed it last above. */
export async function describeDocument(
  { api }: Connection,
  shell: Shell,
  command: Command,
  { kind, name, revision }: { readonly kind: string; readonly name: string; readonly revision: number | undefined },
): Promise<void> {
  const query = revision === undefined ? {} : { revision };
  const stored = valueOf(await api.getDocument({ params: { kind, name }, query }));
  printValue(shell.terminal, outputFormatOf(command), stored.document, () => [
    shell.terminal.paint('dim', `# revision ${stored.revision}, ${clock(stored.atMs, shell.nowMs())}, ${stored.by}`),
    ...yamlText(stored.document).split('\n'),
  ]);
}

export async function describeFlowById({ api }: Connection, shell: Shell, command: Command, id: string): Promise<void> {
  const flow = valueOf(await api.getFlow({ params: { id } }));
  show(shell, command, flow, describeFlow(flow, shell.nowMs()));
}
