/**
 * Docker sets the policy of the FORWARD chain to drop, for both of its families. What our own chain lets through has to pass Docker's
 * chains too, and Docker leaves DOCKER-USER to others for that. Only interfaces of ours are accepted there: what may go to or from them
 * is decided by the programs and by our own table.
 */
import { execFile } from 'node:child_process';
import type { Logger } from 'pino';
import { endpointPrefix } from './ruleset.ts';

const chainName = 'DOCKER-USER';
const timeoutMs = 10_000;
/** Seconds to wait for the lock that iptables shares with the engine. */
const lockSeconds = '5';

/** Idempotent. Does nothing where Docker has made no chain (yet): it calls for none then. */
export async function acceptInDockerUser(log: Logger): Promise<void> {
  for (const tool of ['iptables', 'ip6tables']) {
    if ((await exitCode(tool, ['-n', '-L', chainName])) !== 0) continue;
    for (const direction of ['-i', '-o']) {
      const rule = [
        chainName,
        direction,
        `${endpointPrefix}+`,
        '-m',
        'comment',
        '--comment',
        'bulkhead',
        '-j',
        'ACCEPT',
      ];
      if ((await exitCode(tool, ['-C', ...rule])) === 0) continue;
      const inserted = await exitCode(tool, ['-I', ...rule]);
      if (inserted === 0) log.info({ tool, direction }, 'let endpoints pass Docker’s forward chain');
      else
        log.error(
          { tool, direction, inserted },
          'could not let endpoints pass Docker’s forward chain: what is forwarded to them is dropped',
        );
    }
  }
}

function exitCode(tool: string, args: readonly string[]): Promise<number> {
  return new Promise((resolve) => {
    execFile(tool, ['-w', lockSeconds, ...args], { timeout: timeoutMs }, (error) => {
      if (error === null) return resolve(0);
      resolve(typeof error.code === 'number' ? error.code : -1);
    });
  });
}
