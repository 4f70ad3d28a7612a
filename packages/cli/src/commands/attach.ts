import { Option, type Command } from 'commander';
import { CommandFailure } from '../exit.ts';
import { runAgentCommand } from '../local/agent-control.ts';
import { localPaths } from '../local/paths.ts';
import { printValue, yamlText } from '../output/format.ts';
import { examples, type Registration } from '../shell.ts';
import { countOption, outputFormatOf, pairOption } from './options.ts';

interface AttachOptions {
  readonly netns?: string;
  readonly tap?: string;
  readonly mac?: string;
  readonly interface?: string;
  readonly label?: Readonly<Record<string, string>>;
  readonly ip?: string;
  readonly ip6?: string;
  readonly mtu?: number;
  readonly class?: string;
  readonly agentSocket: string;
}

const mtuMax = 65_535;
const socketOption = (): Option =>
  new Option('--agent-socket <path>', "the agent's control socket").default(localPaths().agentSocket);

/** Network namespaces and taps made by hand, or by whoever starts virtual machines, as workloads of this host. */
export const registerAttach: Registration = (program, shell) => {
  const attach = program
    .command('attach')
    .description('Make a network namespace or a tap of this host a workload (root, on the host)')
    .argument('<name>', 'what the workload is called')
    .addOption(
      new Option('--netns <path>', 'path of a network namespace, e.g. /run/netns/lab').conflicts(['tap', 'mac']),
    )
    .option('--tap <interface>', 'a tap, as a virtual machine has it')
    .option('--mac <address>', "the machine's MAC address; with --tap")
    .option('--interface <name>', 'what the interface in the namespace is called (eth0)')
    .option('-l, --label <label>', 'KEY=VALUE; may be repeated', pairOption('--label'))
    .option('--ip <address>', 'its IPv4 address; one from the pool without it')
    .option('--ip6 <address>', 'its IPv6 address')
    .option('--mtu <bytes>', 'largest packet', countOption('--mtu', mtuMax))
    .option('--class <class>', 'its isolation class: shared, sandbox, microvm')
    .addOption(socketOption())
    .action(async (name: string, options: AttachOptions, self: Command) => {
      const record = await runAgentCommand(options.agentSocket, 'attach', attachArgument(name, options));
      printValue(shell.terminal, outputFormatOf(self), record, () => yamlText(record).split('\n'));
    });
  examples(attach, [
    [
      'ip netns add lab && sudo bulkhead attach lab --netns /run/netns/lab -l app=lab',
      'a namespace, with an address from the pool',
    ],
    ['sudo bulkhead attach vm7 --tap tap7 --mac 52:54:00:00:00:07 --ip 10.224.0.7 -l app=vm', 'a virtual machine'],
  ]);
  program
    .command('detach')
    .description('Undo an attach')
    .argument('<name>')
    .addOption(socketOption())
    .action(async (name: string, options: { readonly agentSocket: string }) => {
      const { detached } = (await runAgentCommand(options.agentSocket, 'detach', { name })) as {
        readonly detached?: boolean;
      };
      if (detached !== true) throw new CommandFailure('notFound', `nothing called ${name} is attached`);
      shell.terminal.err(`${name} is detached`);
    });
};

function attachArgument(name: string, options: AttachOptions): unknown {
  const { netns, tap, mac, label, ip, ip6, mtu } = options;
  const optional = Object.entries({ ipv4: ip, ipv6: ip6, mtu, isolationClass: options.class, labels: label });
  const common = { name, ...Object.fromEntries(optional.filter(([, value]) => value !== undefined)) };
  if (netns !== undefined)
    return {
      ...common,
      kind: 'netns',
      path: netns,
      ...(options.interface === undefined ? {} : { interface: options.interface }),
    };
  if (tap !== undefined && mac !== undefined) return { ...common, kind: 'tap', tap, mac };
  throw new CommandFailure('usage', 'say what to attach', {
    remedy: '--netns PATH, or --tap INTERFACE with --mac ADDRESS',
  });
}
