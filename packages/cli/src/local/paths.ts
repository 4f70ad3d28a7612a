/** Where manager, agent and command line of one machine meet. A second set (another prefix) lives beside it: tests and demo do so. */
import { join } from 'node:path';

export interface LocalPaths {
  readonly runDirectory: string;
  readonly stateDirectory: string;
  readonly logDirectory: string;
  readonly managerSocket: string;
  readonly managerState: string;
  readonly adminTokenFile: string;
  readonly agentSocket: string;
  readonly agentState: string;
}

/** `prefix` comes before every path; empty on a real machine. */
export function localPaths(prefix = ''): LocalPaths {
  const runDirectory = `${prefix}/run/bulkhead`;
  const stateDirectory = `${prefix}/var/lib/bulkhead`;
  return {
    runDirectory,
    stateDirectory,
    logDirectory: `${prefix}/var/log/bulkhead`,
    managerSocket: join(runDirectory, 'manager.sock'),
    managerState: join(stateDirectory, 'manager'),
    adminTokenFile: join(stateDirectory, 'manager', 'admin.token'),
    agentSocket: join(runDirectory, 'agent.sock'),
    agentState: join(stateDirectory, 'agent'),
  };
}
