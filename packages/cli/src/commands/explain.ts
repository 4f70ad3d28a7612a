import { isIP } from 'node:net';
import { Option, type Command } from 'commander';
import { connect } from '../client/connection.ts';
import { valueOf } from '../client/failure.ts';
import { CommandFailure } from '../exit.ts';
import { printValue } from '../output/format.ts';
import { renderDescription } from '../output/table.ts';
import { labelsText, serviceText } from '../output/units.ts';
import { examples, type Registration } from '../shell.ts';
import { countOption, outputFormatOf } from './options.ts';
import { verdictTone } from '../views/flow-view.ts';

interface ExplainOptions {
  readonly from: string;
  readonly to: string;
  readonly protocol: keyof typeof protocols;
  readonly port?: number;
}

type Party =
  | { readonly workload: string }
  | { readonly labels: Record<string, string> }
  | { readonly address: string }
  | { readonly host: true };

const protocols = { tcp: 6, udp: 17, icmp: 1, icmpv6: 58, sctp: 132 } as const;

/** `host`, an address, `app=web,tier=front`, or the name of a workload. */
export function parseParty(text: string): Party {
  if (text === 'host') return { host: true };
  if (isIP(text) !== 0) return { address: text };
  if (!text.includes('=')) return { workload: text };
  const labels = text.split(',').map((pair) => {
    const at = pair.indexOf('=');
    if (at < 1) throw new CommandFailure('usage', `${text}: labels are KEY=VALUE, joined by commas`);
    return [pair.slice(0, at), pair.slice(at + 1)] as const;
  });
  return { labels: Object.fromEntries(labels) };
}

export const registerExplain: Registration = (program, shell) => {
  const command = program
    .command('explain')
    .description('What policy says about a connection, which rule says it on each side, and which rules lost')
    .requiredOption('--from <party>', 'a workload, an address, labels (app=web), or host')
    .requiredOption('--to <party>', 'the same')
    .addOption(new Option('--protocol <protocol>', 'protocol').choices(Object.keys(protocols)).default('tcp'))
    .option('--port <port>', 'destination port', countOption('--port', 65_535))
    .action(async (options: ExplainOptions, self: Command) => {
      const protocol = protocols[options.protocol];
      const port = options.port ?? 0;
      const body = { source: parseParty(options.from), destination: parseParty(options.to), protocol, port };
      const { api } = await connect(self, shell);
      const said = valueOf(await api.explain({ body }));
      const party = (value: typeof said.source): string =>
        `${value.text}  [${value.segments.join(', ') || 'no segment'}]  ${labelsText(value.labels)}`.trimEnd();
      const tone = said.action === 'ask' ? 'ask' : verdictTone(said.action);
      printValue(shell.terminal, outputFormatOf(self), said, () =>
        renderDescription(
          [
            { kind: 'field', name: 'Verdict', value: said.action, tone },
            { kind: 'field', name: 'From', value: party(said.source) },
            { kind: 'field', name: 'To', value: party(said.destination) },
            { kind: 'field', name: 'Service', value: serviceText(protocol, port) },
            { kind: 'field', name: "Sender's side", value: `${said.egress.action}  ${said.egress.reason}` },
            { kind: 'field', name: "Receiver's side", value: `${said.ingress.action}  ${said.ingress.reason}` },
            { kind: 'field', name: 'Revision', value: String(said.revision) },
            ...(said.lines.length === 0 ? [] : [{ kind: 'section' as const, title: 'Looked at', lines: said.lines }]),
          ],
          shell.terminal.paint,
        ),
      );
    });
  examples(command, [
    ['bulkhead explain --from web --to orders-db --port 5432', 'two workloads'],
    ['bulkhead explain --from app=intern --to payments --port 8443', 'labels that no workload has yet'],
    ['bulkhead explain --from 198.51.100.10 --to web --port 8080', 'an address outside'],
  ]);
};
