/** Units for machines where systemd runs: printed, so that whoever runs the machine decides. */
import type { Machine } from './machine.ts';
import type { Service } from './service.ts';

const quoted = (word: string): string => (/^[\w@%+=:,./-]+$/.test(word) ? word : `"${word.replaceAll('"', '\\"')}"`);

export function systemdUnits(machine: Machine): readonly string[] {
  const { host, paths } = machine.options;
  return [
    '# Each part goes into the file that its first line names. Then: systemctl daemon-reload, and the manager first. Once, so that the',
    `# agent can join: install -d ${paths.runDirectory}; (umask 077; bulkhead enroll ${host} > ${paths.enrolmentFile})`,
    '',
    ...unit(machine.manager, 'Bulkhead manager', ['After=network.target'], []),
    '',
    // Docker's plugin sockets are there before dockerd asks for them, so that its containers find their network.
    ...unit(
      machine.agent,
      'Bulkhead agent',
      ['After=network.target bulkhead-manager.service', 'Before=docker.service'],
      ['OOMScoreAdjust=-900'],
    ),
  ];
}

function unit(
  service: Service,
  description: string,
  order: readonly string[],
  extra: readonly string[],
): readonly string[] {
  return [
    `# /etc/systemd/system/bulkhead-${service.name}.service`,
    '[Unit]',
    `Description=${description}`,
    ...order,
    '',
    '[Service]',
    `ExecStart=${service.command.map(quoted).join(' ')}`,
    'Restart=always',
    'RestartSec=1',
    // What the agent has put into the kernel stays when it is stopped.
    'KillMode=mixed',
    ...extra,
    '',
    '[Install]',
    'WantedBy=multi-user.target',
  ];
}
