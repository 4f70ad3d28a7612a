import { hostname } from 'node:os';
import { Option, type Command } from 'commander';
import { CommandFailure } from '../exit.ts';
import { systemdUnits } from '../local/systemd.ts';
import { Machine } from '../local/machine.ts';
import { localPaths } from '../local/paths.ts';
import { serviceState, type Service } from '../local/service.ts';
import { examples, type Registration, type Shell } from '../shell.ts';

interface UpOptions {
  readonly host: string;
  readonly link: string;
  readonly api: string;
  readonly units?: boolean;
}

const linkDefault = '127.0.0.1:7443';
const apiDefault = '127.0.0.1:7444';

/** A host's name as the manager takes it: lower case, without what a DNS name does not have. */
export const hostNameOf = (name: string): string =>
  name
    .toLowerCase()
    .replaceAll(/[^a-z0-9.-]/g, '-')
    .replaceAll(/^[-.]+|[-.]+$/g, '')
    .slice(0, 63) || 'localhost';

export const registerMachine: Registration = (program, shell) => {
  registerUp(program, shell);
  registerDown(program, shell);
  for (const name of ['manager', 'agent'] as const) {
    // `runProgram` starts these before the command line is parsed, since their options are their own; this is for the help.
    const command = program
      .command(name)
      .description(name === 'manager' ? 'Run a manager in the foreground' : 'Run an agent in the foreground (root)')
      .argument('[options...]', `the ${name}'s own: bulkhead ${name} --help`)
      .helpOption(false);
    examples(command, [
      name === 'manager'
        ? ['bulkhead manager --api 0.0.0.0:7444 --link 0.0.0.0:7443 --name manager.example', 'for hosts elsewhere']
        : ['bulkhead agent --help', 'its options'],
    ]);
  }
};

function registerUp(program: Command, shell: Shell): void {
  const command = program
    .command('up')
    .description('Start manager and agent on this machine, in the background (root); what runs already is left alone')
    .option('--host <name>', "this host's name at the manager", hostNameOf(hostname()))
    .addOption(new Option('--link <address>', 'where agents connect').default(linkDefault))
    .addOption(new Option('--api <address>', 'where people and tools connect').default(apiDefault))
    .option('--units', 'start nothing: print systemd units for both')
    .action(async (options: UpOptions) => {
      const machine = machineOf(options);
      if (options.units === true) {
        for (const line of systemdUnits(machine)) shell.terminal.out(line);
        return;
      }
      needRoot('up');
      await bringUp(shell, machine.manager, () => machine.startManager());
      await bringUp(shell, machine.agent, () => machine.startAgent());
      shell.terminal.err('');
      shell.terminal.err('Next:  bulkhead status            is everything enforced?');
      shell.terminal.err('       bulkhead get workloads     who is here, and who is not governed');
      shell.terminal.err('       docker network create --driver bulkhead --ipam-driver bulkhead NAME');
    });
  examples(command, [
    ['sudo bulkhead up', 'manager and agent on one machine'],
    ['bulkhead up --units', 'let systemd do it: what goes into which file'],
  ]);
}

function machineOf(options: Pick<UpOptions, 'host' | 'link' | 'api'>): Machine {
  return new Machine({
    paths: localPaths(),
    host: options.host,
    link: options.link,
    api: options.api,
    agentArguments: [],
  });
}

async function bringUp(
  shell: Shell,
  service: Service,
  start: () => Promise<{ readonly pid: number; readonly started: boolean }>,
): Promise<void> {
  const progress = shell.terminal.progress(service.name);
  try {
    const { pid, started } = await start();
    progress.end();
    const state = shell.terminal.errPaint('good', started ? 'started' : 'runs already');
    shell.terminal.err(`${service.name.padEnd(8)} ${state}, process ${pid}, log ${service.logFile}`);
  } finally {
    progress.end();
  }
}

function registerDown(program: Command, shell: Shell): void {
  const command = program
    .command('down')
    .description('Stop agent and manager of this machine; what is in the kernel goes on enforcing')
    .action(async () => {
      needRoot('down');
      const machine = machineOf({ host: hostNameOf(hostname()), link: linkDefault, api: apiDefault });
      for (const [service, stop] of [
        [machine.agent, () => machine.stopAgent()],
        [machine.manager, () => machine.stopManager()],
      ] as const) {
        const before = await serviceState(service);
        const how = await stop();
        const text =
          how === null ? 'did not run' : how === 'stopped' ? 'stopped' : 'killed, since it did not end by itself';
        shell.terminal.err(
          `${service.name.padEnd(8)} ${text}${before.kind === 'running' ? ` (process ${before.pid})` : ''}`,
        );
      }
    });
  examples(command, [
    ['sudo bulkhead down', 'what was allowed stays allowed, what was denied stays denied, questions are denied'],
  ]);
}

function needRoot(command: string): void {
  if (process.getuid?.() !== 0)
    throw new CommandFailure('forbidden', `${command} needs root`, { remedy: `sudo bulkhead ${command}` });
}
