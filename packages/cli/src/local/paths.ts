/** Where manager, agent and command line of one machine meet. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export interface LocalPaths {
  readonly runDirectory: string;
  readonly logDirectory: string;
  readonly managerData: string;
  readonly managerSocket: string;
  readonly adminTokenFile: string;
  readonly authorityFile: string;
  readonly agentState: string;
  readonly agentSocket: string;
  readonly enrolmentFile: string;
}

/** `root` comes before every path: empty on a real machine, a directory of its own for the demo. */
export function localPaths(root = ''): LocalPaths {
  const runDirectory = `${root}/run/bulkhead`;
  const managerData = `${root}/var/lib/bulkhead/manager`;
  return {
    runDirectory,
    logDirectory: `${root}/var/log/bulkhead`,
    managerData,
    managerSocket: join(managerData, 'api.sock'),
    adminTokenFile: join(managerData, 'admin.token'),
    authorityFile: join(managerData, 'ca.pem'),
    agentState: `${root}/var/lib/bulkhead/agent`,
    agentSocket: join(runDirectory, 'agent.sock'),
    enrolmentFile: join(runDirectory, 'enrolment.token'),
  };
}

/**
 * The executables of the other packages. They are processes of their own with privileges of their own, so they are started, never
 * imported.
 */
export const managerMain = fileURLToPath(new URL('../../../manager/src/main.ts', import.meta.url));
export const agentMain = fileURLToPath(new URL('../../../agent/src/main.ts', import.meta.url));
