import type { Command } from 'commander';
import { connect } from '../client/connection.ts';
import { valueOf } from '../client/failure.ts';
import { clockFinding, findingLines, runCheck, type Check, type Finding } from '../doctor/finding.ts';
import { machineChecks } from '../doctor/machine.ts';
import { CommandFailure } from '../exit.ts';
import { localPaths } from '../local/paths.ts';
import { printValue } from '../output/format.ts';
import { age, plural } from '../output/units.ts';
import { examples, type Registration, type Shell } from '../shell.ts';
import { outputFormatOf } from './options.ts';

export const registerDoctor: Registration = (program, shell) => {
  const command = program
    .command('doctor')
    .description(
      'Check this machine: kernel, bpf file system, engine, plugin, pins, forward chain, clock, certificates',
    )
    .action(async (_options: unknown, self: Command) => {
      const checks = [
        ...machineChecks({ ...machineFacts, agentState: localPaths().agentState, nowMs: shell.nowMs }),
        ...managerChecks(self, shell),
      ];
      const findings: Finding[] = [];
      const progress = shell.terminal.progress('checks', checks.length);
      for (const [name, check] of checks) {
        progress.update({ done: findings.length, note: name });
        findings.push(await runCheck(name, check));
      }
      progress.end();
      printValue(shell.terminal, outputFormatOf(self), { items: findings }, () =>
        findingLines(findings, shell.terminal.paint),
      );
      const bad = findings.filter((finding) => finding.state === 'bad').length;
      if (bad > 0) throw new CommandFailure('failed', `${plural(bad, 'check')} found something that does not work`);
    });
  examples(command, [
    ['sudo bulkhead doctor', 'everything, with what to do about it'],
    ['bulkhead doctor -o json', 'for a script; exits with 1 when something does not work'],
  ]);
};

export const machineFacts = {
  bpffs: '/sys/fs/bpf',
  pins: '/sys/fs/bpf/bulkhead',
  dockerSocket: '/run/docker.sock',
  pluginSocket: '/run/docker/plugins/bulkhead.sock',
  table: 'bulkhead',
} as const;

function managerChecks(command: Command, shell: Shell): readonly (readonly [string, Check])[] {
  const status = once(async () => {
    const { api } = await connect(command, shell);
    return valueOf(await api.getStatus());
  });
  return [
    [
      'manager',
      async () => {
        const value = await status();
        return {
          name: 'manager',
          state: 'good',
          found: `${value.software}, up ${age(value.startedMs, shell.nowMs())}`,
        };
      },
    ],
    [
      'enforcement',
      () => afterManager('enforcement', status, async () => enforcementFinding((await status()).enforcement)),
    ],
    ['clock', () => afterManager('clock', status, () => clockCheck(command, shell))],
  ];
}

/** What cannot be asked because the manager does not answer is no second fault. */
async function afterManager(name: string, status: () => Promise<unknown>, check: Check): Promise<Finding> {
  const reached = await status().then(
    () => true,
    () => false,
  );
  return reached ? check() : { name, state: 'skipped', found: 'the manager cannot be asked' };
}

function enforcementFinding(enforcement: { readonly on: boolean; readonly because: string }): Finding {
  if (enforcement.on) return { name: 'enforcement', state: 'good', found: 'on' };
  return { name: 'enforcement', state: 'bad', found: `OFF: ${enforcement.because}`, remedy: 'bulkhead on' };
}

async function clockCheck(command: Command, shell: Shell): Promise<Finding> {
  const { clockMs } = await connect(command, shell);
  const managerMs = await clockMs();
  if (managerMs === null) return { name: 'clock', state: 'skipped', found: 'the manager does not tell its time' };
  return clockFinding(managerMs, shell.nowMs());
}

function once<Value>(make: () => Promise<Value>): () => Promise<Value> {
  let made: Promise<Value> | undefined;
  return () => (made ??= make());
}
