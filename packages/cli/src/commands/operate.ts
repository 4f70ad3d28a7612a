import { Option, type Command } from 'commander';
import { roles, type ApiClient } from '@bulkhead/protocol';
import { connect } from '../client/connection.ts';
import { valueOf } from '../client/failure.ts';
import { CommandFailure } from '../exit.ts';
import { printValue } from '../output/format.ts';
import { clock } from '../output/units.ts';
import { examples, type Registration, type Shell } from '../shell.ts';
import { durationOption, outputFormatOf } from './options.ts';

export const registerOperate: Registration = (program, shell) => {
  registerAdopt(program, shell);
  registerEnforcement(program, shell);
  registerEnroll(program, shell);
  registerRevoke(program, shell);
  registerToken(program, shell);
};

type AdoptMode = 'observe' | 'enforce' | 'release';

function registerAdopt(program: Command, shell: Shell): void {
  const command = program
    .command('adopt')
    .description('Take over the live interface of a container that Bulkhead does not govern yet')
    .argument('<workload>')
    .addOption(
      new Option('--observe', 'judge and record, let everything through (default)').conflicts(['enforce', 'release']),
    )
    .addOption(new Option('--enforce', 'enforce policy').conflicts(['observe', 'release']))
    .addOption(new Option('--release', 'give it back').conflicts(['observe', 'enforce']))
    .action(async (workload: string, options: Readonly<Record<string, boolean>>, self: Command) => {
      const mode: AdoptMode =
        options['enforce'] === true ? 'enforce' : options['release'] === true ? 'release' : 'observe';
      const { api } = await connect(self, shell);
      const adopted = valueOf(await api.adoptWorkload({ params: { workload }, body: { mode } }));
      printValue(shell.terminal, outputFormatOf(self), adopted, () => [
        `${adopted.workload}: ${adopted.mode}, revision ${adopted.revision}`,
      ]);
    });
  examples(command, [
    ['bulkhead get workloads --governance ungoverned', 'who is not governed, and why'],
    ['bulkhead adopt legacy --observe', 'see what policy would do, break nothing'],
    ['bulkhead flows --workload legacy --verdict deny', 'what would break'],
    ['bulkhead adopt legacy --enforce', 'then mean it'],
  ]);
}

function registerEnforcement(program: Command, shell: Shell): void {
  const set = async (self: Command, on: boolean, because: string): Promise<void> => {
    const { api } = await connect(self, shell);
    const state = valueOf(await api.setEnforcement({ body: { on, because } }));
    printValue(shell.terminal, outputFormatOf(self), state, () => [
      state.on
        ? shell.terminal.paint('good', 'enforcement is on')
        : shell.terminal.paint('bad', 'enforcement is OFF: every connection is let through, on every host'),
      `  since ${clock(state.atMs, shell.nowMs())}, by ${state.by}: ${state.because}`,
    ]);
  };
  const off = program
    .command('off')
    .description('EMERGENCY: let every connection through, on every host, until `on`')
    .requiredOption('--because <reason>', 'why; it is in the audit log')
    .option('--yes', 'do not ask')
    .action(async (options: { readonly because: string; readonly yes?: boolean }, self: Command) => {
      if (options.yes !== true)
        throw new CommandFailure('usage', 'off lets every connection through, on every host', {
          remedy:
            'If that is meant, say so with --yes. Everybody sees it in status, and the audit log keeps who and why.',
        });
      await set(self, false, options.because);
    });
  examples(off, [
    ['bulkhead off --because "incident 4711" --yes', 'explicit, audited, and shown until it is on again'],
  ]);
  const on = program
    .command('on')
    .description('Enforce again')
    .option('--because <reason>', 'why; it is in the audit log', 'the emergency is over')
    .action((options: { readonly because: string }, self: Command) => set(self, true, options.because));
  examples(on, [['bulkhead on', 'after an emergency']]);
}

interface EnrollOptions {
  readonly for: number;
  readonly label?: Readonly<Record<string, readonly string[]>>;
  readonly network?: readonly string[];
}

const gatherLabel = (
  text: string,
  before: Readonly<Record<string, readonly string[]>> | undefined,
): Readonly<Record<string, readonly string[]>> => {
  const at = text.indexOf('=');
  const key = at < 0 ? text : text.slice(0, at);
  const value = at < 0 ? undefined : text.slice(at + 1);
  if (key === '') throw new CommandFailure('usage', `--label ${text}: KEY or KEY=VALUE is wanted`);
  return { ...before, [key]: [...(before?.[key] ?? []), value ?? '*'] };
};

function registerEnroll(program: Command, shell: Shell): void {
  const command = program
    .command('enroll')
    .description('Make the one-time token with which a host joins')
    .argument('[host]', 'only this host may use it')
    .option('--for <duration>', 'how long it can be used', durationOption('--for'), 3_600_000)
    .option(
      '--label <label>',
      'a label that its workloads may claim: KEY=VALUE, or KEY for any value; without it, any label',
      gatherLabel,
    )
    .option(
      '--network <network>',
      'a network in which its workloads may have addresses, e.g. 10.1.0.0/16; without it, any',
      (value: string, before: readonly string[] = []) => [...before, value],
    )
    .action(async (host: string | undefined, options: EnrollOptions, self: Command) => {
      const { api } = await connect(self, shell);
      const labelsAllowed =
        options.label === undefined
          ? null
          : Object.fromEntries(Object.entries(options.label).map(([key, values]) => [key, [...values]]));
      const addressesAllowed = options.network === undefined ? null : [...options.network];
      const forSeconds = Math.round(options.for / 1000);
      const body = { host: host ?? null, labelsAllowed, addressesAllowed, forSeconds };
      const made = valueOf(await api.createEnrolmentToken({ body }));
      printValue(shell.terminal, outputFormatOf(self), made, () => [made.token]);
      shell.terminal.err(`shown once, until ${clock(made.expiresMs, shell.nowMs())}. On the host:`);
      const as = made.host === null ? '' : ` --host ${made.host}`;
      shell.terminal.err(`  bulkhead agent${as} --enrol MANAGER:PORT --token-file FILE`);
    });
  examples(command, [
    ['bulkhead enroll h2 > h2.token', 'a token for host h2'],
    ['bulkhead enroll h2 --label app=web --label tier', 'whose workloads may claim only app=web and any tier'],
    ['bulkhead enroll h2 --network 10.1.0.0/16', 'whose workloads have addresses there and nowhere else'],
  ]);
}

function registerRevoke(program: Command, shell: Shell): void {
  const command = program
    .command('revoke')
    .description("End a host's certificates and cut its connection")
    .argument('<host>')
    .requiredOption('--because <reason>', 'why; it is in the audit log')
    .action(async (host: string, options: { readonly because: string }, self: Command) => {
      const { api } = await connect(self, shell);
      const revoked = valueOf(await api.revokeHost({ params: { host }, body: { because: options.because } }));
      printValue(shell.terminal, outputFormatOf(self), revoked, () => [
        `${revoked.host} is revoked, revision ${revoked.revision}`,
      ]);
    });
  examples(command, [['bulkhead revoke h2 --because "decommissioned"', 'it comes back only with a new token']]);
}

interface TokenOptions {
  readonly role: (typeof roles)[number];
  readonly segment?: readonly string[];
  readonly for?: number;
}

function registerToken(program: Command, shell: Shell): void {
  const token = program.command('token').description("People's tokens: create, end (list: bulkhead get tokens)");
  const create = token
    .command('create')
    .description('Make a token for a person; its text is shown once')
    .argument('<name>')
    .addOption(new Option('--role <role>', 'what they may do').choices(roles).default('viewer'))
    .option(
      '--segment <segment>',
      'only within this segment; may be repeated',
      (value: string, before: readonly string[] = []) => [...before, value],
    )
    .option('--for <duration>', 'ends after', durationOption('--for'))
    .action(async (name: string, options: TokenOptions, self: Command) => {
      const { api } = await connect(self, shell);
      const made = valueOf(await api.createToken({ body: tokenBody(name, options) }));
      printValue(shell.terminal, outputFormatOf(self), made, () => [made.token]);
      const where = made.scope === null ? 'everything' : made.scope.join(', ');
      shell.terminal.err(`${made.name}: ${made.role} of ${where}. It is shown once; id ${made.id} ends it.`);
    });
  examples(create, [
    ['bulkhead token create alice --role approver > alice.token', 'somebody who answers questions'],
    [
      'bulkhead token create bob --role author --segment orders-db --for 30d',
      'only documents of one segment, for a month',
    ],
  ]);
  token
    .command('end')
    .description('End a token')
    .argument('<id>')
    .action(async (id: string, _options: unknown, self: Command) => {
      const { api } = await connect(self, shell);
      const ended = valueOf(await api.revokeToken({ params: { id } }));
      printValue(shell.terminal, outputFormatOf(self), ended, () => [`token ${ended.id} is ended`]);
    });
}

function tokenBody(name: string, options: TokenOptions): Parameters<ApiClient['createToken']>[0]['body'] {
  return {
    name,
    role: options.role,
    scope: options.segment === undefined ? null : [...options.segment],
    forSeconds: options.for === undefined ? null : Math.round(options.for / 1000),
  };
}
