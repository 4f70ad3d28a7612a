import type { Command } from 'commander';
import type { ApiClient, RouteOutput } from '@bulkhead/protocol';
import { connect } from '../client/connection.ts';
import { valueOf } from '../client/failure.ts';
import { collect } from '../client/pages.ts';
import { printListing, printValue, stableJson } from '../output/format.ts';
import { renderDescription, type Column, type DescribeItem } from '../output/table.ts';
import { age, bytes, clock } from '../output/units.ts';
import { examples, type Registration, type Shell } from '../shell.ts';
import { partyText } from '../views/flow-view.ts';
import { durationOption, outputFormatOf } from './options.ts';
import { repeat } from './watch.ts';

type Status = RouteOutput<'getStatus'>;

export const registerStatus: Registration = (program, shell) => {
  const status = program
    .command('status')
    .description('The manager and what it looks after, in numbers')
    .option('-w, --watch', 'show again whenever it changes, until Ctrl-C')
    .action(async (options: { readonly watch?: boolean }, self: Command) => {
      const { api, context } = await connect(self, shell);
      await repeat(shell, options.watch === true, async () => {
        const found = valueOf(await api.getStatus());
        const print = (): void =>
          printValue(shell.terminal, outputFormatOf(self), found, () =>
            renderDescription(statusItems(found, context.server, shell.nowMs()), shell.terminal.paint),
          );
        return { key: stableJson(found, 0), print };
      });
    });
  examples(status, [
    ['bulkhead status', 'is everything enforced, does anybody wait?'],
    ['bulkhead status -o json', 'for a script'],
  ]);
  registerTop(program, shell);
};

function statusItems(status: Status, server: string, nowMs: number): readonly DescribeItem[] {
  const { hosts, flows, enforcement, audit } = status;
  const waiting = status.questionsWaiting;
  return [
    { kind: 'field', name: 'Manager', value: `${server}, ${status.software}, up ${age(status.startedMs, nowMs)}` },
    enforcement.on
      ? { kind: 'field', name: 'Enforcement', value: 'on', tone: 'good' }
      : {
          kind: 'field',
          name: 'Enforcement',
          value: `OFF since ${clock(enforcement.atMs, nowMs)}, by ${enforcement.by}: ${enforcement.because}`,
          tone: 'bad',
        },
    { kind: 'field', name: 'Revision', value: String(status.revision) },
    ...(hosts === null
      ? []
      : [
          {
            kind: 'field' as const,
            name: 'Hosts',
            value: `${hosts.enrolled} enrolled, ${hosts.connected} connected, ${hosts.current} current`,
            tone: hosts.current < hosts.enrolled ? ('warn' as const) : undefined,
          },
        ]),
    { kind: 'field', name: 'Workloads', value: `${status.workloads}, of ${status.identities} identities` },
    { kind: 'field', name: 'Documents', value: String(status.documents) },
    {
      kind: 'field',
      name: 'Questions',
      value: waiting === 0 ? 'none waits' : `${waiting} waiting: bulkhead questions --state waiting`,
      tone: waiting === 0 ? undefined : 'ask',
    },
    {
      kind: 'field',
      name: 'Divergences',
      value: status.divergences === 0 ? 'none' : `${status.divergences}: bulkhead divergence`,
      tone: status.divergences === 0 ? undefined : 'warn',
    },
    ...(flows === null
      ? []
      : [
          {
            kind: 'field' as const,
            name: 'Flows',
            value: `${flows.stored.toLocaleString('en')} stored, ${flows.lost.toLocaleString('en')} lost`,
            tone: flows.lost > 0 ? ('bad' as const) : undefined,
          },
        ]),
    ...(audit === null
      ? []
      : [
          {
            kind: 'field' as const,
            name: 'Audit log',
            value: `${audit.sequence} lines, head ${audit.hash.slice(0, 16)}`,
          },
        ]),
    { kind: 'field', name: 'Certificate', value: `ends in ${age(nowMs, status.certificateEndsMs)}` },
  ];
}

interface Talk {
  readonly from: string;
  readonly to: string;
  readonly flows: number;
  readonly denied: number;
  readonly packets: number;
  readonly bytes: number;
}

const talkColumns: readonly Column<Talk>[] = [
  { title: 'FROM', value: (row) => row.from, shrinkTo: 12 },
  { title: 'TO', value: (row) => row.to, shrinkTo: 12 },
  { title: 'FLOWS', value: (row) => String(row.flows), align: 'right' },
  {
    title: 'DENIED',
    value: (row) => String(row.denied),
    align: 'right',
    tone: (row) => (row.denied > 0 ? 'bad' : undefined),
  },
  { title: 'PACKETS', value: (row) => row.packets.toLocaleString('en'), align: 'right' },
  { title: 'BYTES', value: (row) => bytes(row.bytes), align: 'right' },
];

/** Flows that `top` adds up; more would not change who is on top, and would take long. */
const topFlowsMax = 20_000;
const topRowsDefault = 30;

function registerTop(program: Command, shell: Shell): void {
  const top = program
    .command('top')
    .description('Who talks to whom most')
    .option('--since <duration>', 'not older than', durationOption('--since'), 60_000)
    .option('-w, --watch', 'show again whenever it changes, until Ctrl-C')
    .action(async (options: { readonly since: number; readonly watch?: boolean }, self: Command) => {
      const { api } = await connect(self, shell);
      await repeat(shell, options.watch === true, async () => {
        const talks = (await talksSince(api, shell.nowMs() - options.since)).slice(0, rows(shell));
        const print = (): void =>
          printListing(shell.terminal, outputFormatOf(self), {
            rows: talks,
            columns: talkColumns,
            name: (row) => `${row.from} ${row.to}`,
            empty: 'nobody talked to anybody in that time',
          });
        return { key: stableJson(talks, 0), print };
      });
    });
  examples(top, [
    ['bulkhead top', 'the last minute, by bytes'],
    ['bulkhead top --since 1h --watch', 'the last hour, live'],
  ]);
}

const rows = (shell: Shell): number => Math.max(5, (shell.terminal.height ?? topRowsDefault + 2) - 2);

async function talksSince(api: ApiClient, sinceMs: number): Promise<readonly Talk[]> {
  const { items } = await collect(topFlowsMax, (page) => api.listFlows({ query: { sinceMs, sort: 'bytes', ...page } }));
  const talks = new Map<string, Talk>();
  for (const flow of items) {
    const [from, to] = [partyText(flow.source), partyText(flow.destination)];
    const key = `${from}\n${to}`;
    const before = talks.get(key) ?? { from, to, flows: 0, denied: 0, packets: 0, bytes: 0 };
    talks.set(key, {
      ...before,
      flows: before.flows + 1,
      denied: before.denied + (flow.verdict === 'allow' ? 0 : 1),
      packets: before.packets + flow.packets[0] + flow.packets[1],
      bytes: before.bytes + flow.bytes[0] + flow.bytes[1],
    });
  }
  return [...talks.values()].toSorted((a, b) => b.bytes - a.bytes || b.flows - a.flows);
}
