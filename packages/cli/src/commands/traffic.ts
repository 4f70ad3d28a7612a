import { Option, type Command } from 'commander';
import type { ApiClient, FlowFilter, QuestionFilter, QuestionRecord, StoredFlow } from '@bulkhead/protocol';
import { connect } from '../client/connection.ts';
import { valueOf } from '../client/failure.ts';
import { collect } from '../client/pages.ts';
import { CommandFailure } from '../exit.ts';
import { printListing, printValue } from '../output/format.ts';
import { renderDescription } from '../output/table.ts';
import { examples, type Registration, type Shell } from '../shell.ts';
import { flowColumns, stagedColumns } from '../views/flow-view.ts';
import { describeQuestion, questionColumns } from '../views/question-view.ts';
import { divergenceColumns } from '../views/record-view.ts';
import { follow } from './follow.ts';
import { countOption, durationOption, outputFormatOf } from './options.ts';

const limitDefault = 50;
const limitMax = 100_000;

interface FlowOptions {
  readonly follow?: boolean;
  readonly workload?: string;
  readonly from?: string;
  readonly to?: string;
  readonly segment?: string;
  readonly address?: string;
  readonly host?: string;
  readonly verdict?: 'allow' | 'deny' | 'reject';
  readonly protocol?: string;
  readonly port?: number;
  readonly reason?: string;
  readonly dropped?: string;
  readonly staged?: boolean;
  readonly since?: number;
  readonly sort?: 'newest' | 'oldest' | 'bytes';
  readonly limit: number;
}

export const registerTraffic: Registration = (program, shell) => {
  registerFlows(program, shell);
  registerQuestions(program, shell);
  registerAnswers(program, shell);
  registerDivergence(program, shell);
};

function registerFlows(program: Command, shell: Shell): void {
  const command = program
    .command('flows')
    .description('Connections and attempts as the wire showed them, each with why it was allowed or denied')
    .option('-f, --follow', 'go on with new ones until Ctrl-C')
    .option('--workload <workload>', 'at either end')
    .option('--from <workload>', 'started by')
    .option('--to <workload>', 'started towards')
    .option('--segment <segment>', 'at either end')
    .option('--address <address>', 'at either end')
    .option('--host <host>', 'seen on this host')
    .addOption(new Option('--verdict <verdict>', 'only these').choices(['allow', 'deny', 'reject']))
    .addOption(new Option('--protocol <protocol>', 'only these').choices(['tcp', 'udp', 'icmp', 'icmpv6', 'sctp']))
    .option('--port <port>', 'destination port', countOption('--port', 65_535))
    .option('--reason <text>', 'part of the rule, posture or built-in that decided')
    .option('--dropped <counter>', 'dropped for something other than policy, e.g. spoofed')
    .option('--staged', 'of which staged policies would have made something else, and what')
    .option('--since <duration>', 'not older than', durationOption('--since'))
    .addOption(new Option('--sort <order>', 'order').choices(['newest', 'oldest', 'bytes']))
    .option('--limit <rows>', 'at most so many', countOption('--limit', limitMax), limitDefault)
    .action(async (options: FlowOptions, self: Command) => {
      const filter = flowFilterOf(options, shell.nowMs());
      const columns = options.staged === true ? stagedColumns(shell.nowMs()) : flowColumns(shell.nowMs());
      const list = async (api: ApiClient): Promise<readonly StoredFlow[]> => {
        const query = { ...filter, sort: options.sort ?? 'newest' };
        return (await collect(options.limit, (page) => api.listFlows({ query: { ...query, ...page } }))).items;
      };
      if (options.follow === true)
        return follow(self, shell, columns, { list, watch: (api) => api.watchFlows({ query: filter }) });
      const rows = await list((await connect(self, shell)).api);
      printListing(shell.terminal, outputFormatOf(self), {
        rows,
        columns,
        name: (flow) => flow.id,
        empty: 'no such flows',
      });
    });
  examples(command, [
    ['bulkhead flows -f', 'watch connections as they happen'],
    ['bulkhead flows --verdict deny --since 10m', 'what was refused lately, and why'],
    ['bulkhead flows --to orders-db --port 5432 -o wide', 'who wants what from the database'],
    ['bulkhead flows --dropped spoofed', 'forged packets'],
    ['bulkhead flows --staged --since 1d', 'what staged policies would have changed, before they are enforced'],
  ]);
}

const protocolNumbers: Readonly<Record<string, number>> = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58, sctp: 132 };

function flowFilterOf(options: FlowOptions, nowMs: number): FlowFilter {
  const entries = Object.entries({
    workload: options.workload,
    source: options.from,
    destination: options.to,
    segment: options.segment,
    address: options.address,
    host: options.host,
    verdict: options.verdict,
    protocol: options.protocol === undefined ? undefined : protocolNumbers[options.protocol],
    port: options.port,
    reason: options.reason,
    dropReason: options.dropped,
    staged: options.staged,
    sinceMs: options.since === undefined ? undefined : nowMs - options.since,
  });
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined)) as FlowFilter;
}

interface QuestionOptions {
  readonly follow?: boolean;
  readonly state?: 'waiting' | 'answered' | 'expired' | 'unreachable';
  readonly workload?: string;
  readonly segment?: string;
  readonly host?: string;
  readonly since?: number;
  readonly limit: number;
}

function registerQuestions(program: Command, shell: Shell): void {
  const command = program
    .command('questions')
    .description('What the rules asked, and how it was answered; first of all what waits for a person')
    .option('-f, --follow', 'go on with new ones until Ctrl-C')
    .addOption(new Option('--state <state>', 'only these').choices(['waiting', 'answered', 'expired', 'unreachable']))
    .option('--workload <workload>', 'at either end')
    .option('--segment <segment>', 'at either end')
    .option('--host <host>', 'asked by this host')
    .option('--since <duration>', 'not older than', durationOption('--since'))
    .option('--limit <rows>', 'at most so many', countOption('--limit', limitMax), limitDefault)
    .action(async (options: QuestionOptions, self: Command) => {
      const filter = questionFilterOf(options, shell.nowMs());
      const columns = questionColumns(shell.nowMs());
      const list = async (api: ApiClient): Promise<readonly QuestionRecord[]> =>
        (await collect(options.limit, (page) => api.listQuestions({ query: { ...filter, ...page } }))).items;
      if (options.follow === true)
        return follow(self, shell, columns, { list, watch: (api) => api.watchQuestions({ query: filter }) });
      printListing(shell.terminal, outputFormatOf(self), {
        rows: await list((await connect(self, shell)).api),
        columns,
        name: (question) => question.id,
        empty: 'no such questions',
      });
    });
  examples(command, [
    ['bulkhead questions --state waiting', 'what waits for a person'],
    ['bulkhead questions -f', 'as they are asked and answered'],
    ['bulkhead approve ID', 'let the held connection through'],
  ]);
}

function questionFilterOf(options: QuestionOptions, nowMs: number): QuestionFilter {
  const { state, workload, segment, host, since } = options;
  const entries = Object.entries({
    state,
    workload,
    segment,
    host,
    sinceMs: since === undefined ? undefined : nowMs - since,
  });
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined)) as QuestionFilter;
}

function registerAnswers(program: Command, shell: Shell): void {
  const approve = program
    .command('approve')
    .description('Let a held connection through')
    .argument('<question>', 'its id; `only` when exactly one waits')
    .option(
      '--for <duration>',
      'remember the answer so long, at most as long as the rule allows',
      durationOption('--for'),
    )
    .action(async (id: string, options: { readonly for?: number }, self: Command) => {
      const { api } = await connect(self, shell);
      const params = { id: await waitingId(api, id) };
      const body = options.for === undefined ? {} : { forSeconds: Math.ceil(options.for / 1000) };
      told(shell, self, valueOf(await api.approveQuestion({ params, body })));
    });
  examples(approve, [
    ['bulkhead approve h1:b1:42', 'let this one through'],
    ['bulkhead approve only', 'when just one waits'],
  ]);
  const refuse = program
    .command('refuse')
    .description('Refuse a held connection')
    .argument('<question>', 'its id; `only` when exactly one waits')
    .action(async (id: string, _options: unknown, self: Command) => {
      const { api } = await connect(self, shell);
      told(shell, self, valueOf(await api.refuseQuestion({ params: { id: await waitingId(api, id) } })));
    });
  examples(refuse, [['bulkhead refuse h1:b1:42', 'and its connect() fails']]);
}

async function waitingId(api: ApiClient, id: string): Promise<string> {
  if (id !== 'only') return id;
  const { items } = valueOf(await api.listQuestions({ query: { state: 'waiting', limit: 2 } }));
  const [question] = items;
  if (question !== undefined && items.length === 1) return question.id;
  throw new CommandFailure('conflict', items.length === 0 ? 'no question waits' : 'more than one question waits', {
    remedy: 'bulkhead questions --state waiting',
  });
}

function told(shell: Shell, command: Command, question: QuestionRecord): void {
  printValue(shell.terminal, outputFormatOf(command), question, () =>
    renderDescription(describeQuestion(question, shell.nowMs()), shell.terminal.paint),
  );
}

function registerDivergence(program: Command, shell: Shell): void {
  const command = program
    .command('divergence')
    .description('Differences between what engines believe and what the wire shows')
    .option('--host <host>', 'on this host')
    .option('--workload <workload>', 'about this workload')
    .option('--all', 'also those that are over')
    .option('--limit <rows>', 'at most so many', countOption('--limit', limitMax), limitDefault)
    .action(
      async (
        options: { readonly host?: string; readonly workload?: string; readonly all?: boolean; readonly limit: number },
        self: Command,
      ) => {
        const { api } = await connect(self, shell);
        const { host, workload, all, limit } = options;
        const { items } = await collect(limit, (page) =>
          api.listDivergences({
            query: {
              ...page,
              ...(host === undefined ? {} : { host }),
              ...(workload === undefined ? {} : { workload }),
              ...(all === true ? { resolved: true } : {}),
            },
          }),
        );
        printListing(shell.terminal, outputFormatOf(self), {
          rows: items,
          columns: divergenceColumns(shell.nowMs()),
          name: (row) => row.id,
          empty: host === undefined && workload === undefined ? 'none: engine and wire agree' : 'no such differences',
        });
      },
    );
  examples(command, [
    ['bulkhead divergence', 'what an engine says and the wire does not show, or the other way round'],
    ['bulkhead divergence -o wide', 'with the evidence'],
  ]);
}
