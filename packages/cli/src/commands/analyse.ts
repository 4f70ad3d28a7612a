/** What documents mean: for traffic that was recorded, and for invariants. */
import { type Command, Option } from 'commander';
import {
  argumentText,
  type InvariantResult,
  type Recommendation,
  recommendationText,
  simulationText,
  type SimulationResult,
} from '@bulkhead/policy';
import { connect } from '../client/connection.ts';
import { valueOf } from '../client/failure.ts';
import { readDocuments } from '../documents/read-documents.ts';
import { CommandFailure } from '../exit.ts';
import { printValue, stableJson, yamlText } from '../output/format.ts';
import { plural } from '../output/units.ts';
import { examples, type Registration, type Shell } from '../shell.ts';
import { fileFlag } from './file-option.ts';
import { durationOption, outputFormatOf, revisionOption } from './options.ts';

export const registerAnalyse: Registration = (program, shell) => {
  registerSimulate(program, shell);
  registerProve(program, shell);
  registerRecommend(program, shell);
};

const dayMs = 86_400_000;

function dayOption(flag: string): Option {
  return new Option(`${flag} <duration>`, 'flows not older than').argParser(durationOption(flag)).default(dayMs, '24h');
}

interface SimulateOptions {
  readonly file?: readonly string[];
  readonly since: number;
  readonly segment?: string;
}

function registerSimulate(program: Command, shell: Shell): void {
  const command = program
    .command('simulate')
    .description('What documents would have made of recorded flows: which would change, from what to what')
    .option(...fileFlag)
    .addOption(dayOption('--since'))
    .option('--segment <segment>', 'only flows with an end in it')
    .action(async (options: SimulateOptions, self: Command) => {
      const documents = options.file === undefined ? [] : await readDocuments(options.file);
      const { api } = await connect(self, shell);
      const body = {
        documents: [...documents],
        sinceMs: shell.nowMs() - options.since,
        ...(options.segment === undefined ? {} : { segment: options.segment }),
      };
      const result = valueOf(await api.simulate({ body }));
      printValue(shell.terminal, outputFormatOf(self), result, () =>
        simulationText(result as unknown as SimulationResult).split('\n'),
      );
      if (result.dropped > 0)
        shell.terminal.err(`${plural(result.dropped, 'flow')} stopped for something other than policy left out`);
    });
  examples(command, [
    ['bulkhead simulate -f policy/', 'what the last day would have been like under these documents'],
    ['bulkhead simulate -f orders.yaml --since 1h --segment orders-db', 'the last hour of one segment'],
    ['bulkhead simulate --since 7d', 'a week of traffic under the documents in force now'],
  ]);
}

interface ProveOptions {
  readonly file?: readonly string[];
  readonly revision?: number;
}

function registerProve(program: Command, shell: Shell): void {
  const command = program
    .command('prove')
    .description('The argument for each invariant, or the shortest way round it. Exits with 1 when one does not hold')
    .argument('[invariant]', 'only this one')
    .option(...fileFlag)
    .option('--revision <revision>', 'by the documents of that revision', revisionOption('--revision'))
    .action(async (name: string | undefined, options: ProveOptions, self: Command) => {
      const documents = options.file === undefined ? [] : await readDocuments(options.file);
      const { api } = await connect(self, shell);
      const body = {
        documents: [...documents],
        ...(name === undefined ? {} : { name }),
        ...(options.revision === undefined ? {} : { revision: options.revision }),
      };
      const found = valueOf(await api.prove({ body }));
      printValue(shell.terminal, outputFormatOf(self), found, () =>
        found.results.flatMap((result) => argumentText(result as unknown as InvariantResult).split('\n')),
      );
      if (found.results.length === 0)
        shell.terminal.err('there are no invariants: apply documents of the kind Invariant');
      const broken = found.results.filter(({ outcome }) => outcome.kind !== 'holds');
      if (broken.length > 0)
        throw new CommandFailure('failed', `${plural(broken.length, 'invariant')} not proven`, {
          faults: broken.map((result) => ({ where: result.name, what: result.outcome.kind })),
        });
    });
  examples(command, [
    ['bulkhead prove', 'every invariant in force, line by line'],
    ['bulkhead prove apart -f policy/', 'would it hold under these documents?'],
    ['bulkhead prove --revision 41', 'did they hold then?'],
  ]);
}

interface RecommendOptions {
  readonly segment?: string;
  readonly fromFlows: number;
  readonly name: string;
}

function registerRecommend(program: Command, shell: Shell): void {
  const command = program
    .command('recommend')
    .description('The least policy that allows what was seen and allowed, as documents to review')
    .option('--segment <segment>', 'only connections with an end in it, beside the documents in force')
    .addOption(dayOption('--from-flows'))
    .option('--name <name>', 'name of the policy', 'recommended')
    .action(async (options: RecommendOptions, self: Command) => {
      const { api } = await connect(self, shell);
      const { segment = null, name } = options;
      const sinceMs = shell.nowMs() - options.fromFlows;
      const found = valueOf(await api.recommend({ body: { segment, name, sinceMs } }));
      // Documents are what is asked for: a table would have to be typed in again.
      if (outputFormatOf(self) === 'json') shell.terminal.out(stableJson(found));
      else for (const document of found.documents) shell.terminal.out(`---\n${yamlText(document)}`);
      for (const line of recommendationText(found as unknown as Recommendation).split('\n')) shell.terminal.err(line);
    });
  examples(command, [
    ['bulkhead recommend --segment orders-db --from-flows 7d > orders.yaml', 'what one segment was used for'],
    ['bulkhead diff --semantic -f orders.yaml', 'then: what it would change'],
    ['bulkhead recommend -o json', 'with the flows behind each rule'],
  ]);
}
