import { isIP } from 'node:net';
import { Option, type Command } from 'commander';
import type { FlowExplanation, FlowSideExplanation } from '@bulkhead/protocol';
import { connect, type Connection } from '../client/connection.ts';
import { valueOf } from '../client/failure.ts';
import { CommandFailure } from '../exit.ts';
import { printValue } from '../output/format.ts';
import { renderDescription, type DescribeItem } from '../output/table.ts';
import { labelsText, serviceText } from '../output/units.ts';
import { examples, type Registration, type Shell } from '../shell.ts';
import { outputFormatOf, revisionOption } from './options.ts';
import { partyText, verdictTone } from '../views/flow-view.ts';

interface ExplainOptions {
  readonly flow?: string;
  readonly host?: string;
  readonly from?: string;
  readonly to?: string;
  readonly protocol: keyof typeof protocols;
  readonly port?: number | string;
  readonly revision?: number;
}

type Party =
  | { readonly workload: string }
  | { readonly labels: Record<string, string> }
  | { readonly address: string }
  | { readonly dns: string }
  | { readonly host: true | string };

const protocols = { tcp: 6, udp: 17, icmp: 1, icmpv6: 58, sctp: 132 } as const;

/** `host`, `host:NAME`, `dns:NAME`, an address, `app=web,tier=front`, or the name of a workload. */
export function parseParty(text: string): Party {
  if (text === 'host') return { host: true };
  if (text.startsWith('host:')) return { host: text.slice('host:'.length) };
  if (text.startsWith('dns:')) return { dns: text.slice('dns:'.length) };
  if (isIP(text) !== 0) return { address: text };
  if (!text.includes('=')) return { workload: text };
  const labels = text.split(',').map((pair) => {
    const at = pair.indexOf('=');
    if (at < 1) throw new CommandFailure('usage', `${text}: labels are KEY=VALUE, joined by commas`);
    return [pair.slice(0, at), pair.slice(at + 1)] as const;
  });
  return { labels: Object.fromEntries(labels) };
}

/** A number, `TYPE:CODE` of an ICMP, or the name of a port of the destination. */
export function parsePort(text: string): number | string {
  const icmp = /^([0-9]{1,3}):([0-9]{1,3})$/.exec(text);
  if (icmp !== null) return Number(icmp[1]) * 256 + Number(icmp[2]);
  if (!/^[0-9]+$/.test(text)) return text;
  const port = Number(text);
  if (port <= 65_535) return port;
  throw new CommandFailure('usage', `--port ${text}: a port is at most 65535, or the name of one`);
}

export const registerExplain: Registration = (program, shell) => {
  const command = program
    .command('explain')
    .description('What policy says about a connection, which rule says it on each side, and which rules lost')
    .option('--from <party>', 'a workload, an address, labels (app=web), host, host:NAME, or dns:NAME')
    .option('--to <party>', 'the same')
    .addOption(new Option('--protocol <protocol>', 'protocol').choices(Object.keys(protocols)).default('tcp'))
    .option('--port <port>', 'destination port, by number or name; TYPE:CODE of an ICMP', parsePort)
    .option('--revision <revision>', 'by the documents of that revision', revisionOption('--revision'))
    .option('--flow <id>', 'instead: why this recorded flow was allowed or refused')
    .option('--host <host>', 'with --flow: the host that recorded it, where two gave one id')
    .action(async (options: ExplainOptions, self: Command) => {
      if (options.flow !== undefined)
        return explainFlow(await connect(self, shell), shell, self, options.flow, options.host);
      if (options.from === undefined || options.to === undefined)
        throw new CommandFailure('usage', 'say from whom to whom', {
          remedy: 'bulkhead explain --from web --to orders-db --port 5432, or bulkhead explain --flow ID',
        });
      const ends = { source: parseParty(options.from), destination: parseParty(options.to) };
      await explainParties(await connect(self, shell), shell, self, { ...options, ...ends });
    });
  examples(command, [
    ['bulkhead explain --from web --to orders-db --port 5432', 'two workloads'],
    ['bulkhead explain --from app=intern --to payments --port https', 'labels that no workload has yet, a named port'],
    ['bulkhead explain --from 198.51.100.10 --to web --port 8080', 'an address outside'],
    ['bulkhead explain --from web --to dns:api.example.com --port 443', 'a name that web has asked for'],
    ['bulkhead explain --from web --to orders-db --port 5432 --revision 41', 'as it was in revision 41'],
    ['bulkhead explain --flow 1f2e.3k9.x7', 'a recorded flow, by the documents of its revision'],
  ]);
};

async function explainParties(
  { api }: Connection,
  shell: Shell,
  command: Command,
  options: ExplainOptions & { readonly source: Party; readonly destination: Party },
): Promise<void> {
  const protocol = protocols[options.protocol];
  const { source, destination } = options;
  const at = options.revision === undefined ? {} : { revision: options.revision };
  const said = valueOf(await api.explain({ body: { source, destination, protocol, port: options.port ?? 0, ...at } }));
  const party = (value: typeof said.source): string =>
    `${value.text}  [${value.segments.join(', ') || 'no segment'}]  ${labelsText(value.labels)}`.trimEnd();
  const tone = said.action === 'ask' ? 'ask' : verdictTone(said.action);
  const items: readonly DescribeItem[] = [
    { kind: 'field', name: 'Verdict', value: said.action, tone },
    { kind: 'field', name: 'From', value: party(said.source) },
    { kind: 'field', name: 'To', value: party(said.destination) },
    { kind: 'field', name: 'Service', value: serviceText(protocol, said.port) },
    { kind: 'field', name: "Sender's side", value: `${said.egress.action}  ${said.egress.reason}` },
    { kind: 'field', name: "Receiver's side", value: `${said.ingress.action}  ${said.ingress.reason}` },
    { kind: 'field', name: 'Revision', value: String(said.revision) },
    ...lookedAt(said.lines),
  ];
  printValue(shell.terminal, outputFormatOf(command), said, () => renderDescription(items, shell.terminal.paint));
}

async function explainFlow(
  { api }: Connection,
  shell: Shell,
  command: Command,
  id: string,
  host: string | undefined,
): Promise<void> {
  const query = host === undefined ? {} : { host };
  const said = valueOf(await api.explainFlow({ params: { id }, query }));
  printValue(shell.terminal, outputFormatOf(command), said, () =>
    renderDescription(describeExplanation(said), shell.terminal.paint),
  );
}

function describeExplanation(said: FlowExplanation): readonly DescribeItem[] {
  const { flow } = said;
  const side = (value: FlowSideExplanation): string => {
    const older = value.revision === said.revision ? '' : `  (revision ${value.revision})`;
    if (value.unjudged) return `not judged: ${flow.dropReason ?? ''}`;
    return `${value.elsewhere ? 'judged by the other host' : value.reason}${older}`;
  };
  return [
    { kind: 'field', name: 'Flow', value: `${flow.host} ${flow.id}` },
    { kind: 'field', name: 'Verdict', value: said.verdict, tone: verdictTone(said.verdict) },
    { kind: 'field', name: 'From', value: `${partyText(flow.source)}  ${labelsText(flow.source.labels)}`.trimEnd() },
    {
      kind: 'field',
      name: 'To',
      value: `${partyText(flow.destination)}  ${labelsText(flow.destination.labels)}`.trimEnd(),
    },
    { kind: 'field', name: 'Service', value: serviceText(flow.protocol, flow.destination.port) },
    { kind: 'field', name: "Sender's side", value: side(said.egress) },
    { kind: 'field', name: "Receiver's side", value: side(said.ingress) },
    { kind: 'field', name: 'Revision', value: String(said.revision) },
    ...(said.notes.length === 0 ? [] : [{ kind: 'section' as const, title: 'Note', lines: said.notes }]),
    ...lookedAt(said.lines),
  ];
}

function lookedAt(lines: readonly string[]): readonly DescribeItem[] {
  return lines.length === 0 ? [] : [{ kind: 'section', title: 'Looked at', lines }];
}
