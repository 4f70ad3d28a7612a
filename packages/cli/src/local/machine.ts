/**
 * Manager and agent as processes of this machine: what `up` and `down` do, and the demo with directories and a network namespace of its
 * own. Starting is idempotent; what runs already is left alone.
 */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ApiClient } from '@bulkhead/protocol';
import { openContext } from '../client/connection.ts';
import { valueOf } from '../client/failure.ts';
import { agentMain, managerMain, type LocalPaths } from './paths.ts';
import { readAgentStatus } from './agent-control.ts';
import { killService, startService, stopService, type Service } from './service.ts';

export interface MachineOptions {
  readonly paths: LocalPaths;
  /** This host's name at the manager. */
  readonly host: string;
  readonly link: string;
  readonly api: string;
  /** Further arguments of the agent. */
  readonly agentArguments: readonly string[];
  /** Puts command and arguments into a namespace, where that is wanted. */
  readonly wrap?: (command: readonly [string, ...string[]]) => readonly [string, ...string[]];
}

/** First starts make keys and stores; on a busy machine that takes a while. */
const readyMs = 60_000;
/** How long an enrolment token is good for: as long as it takes to start the agent. */
const enrolSeconds = 300;

const never = new AbortController().signal;

export class Machine {
  readonly options: MachineOptions;
  readonly #manager: Service;
  readonly #agent: Service;

  constructor(options: MachineOptions) {
    const { paths, link, api, agentArguments, host } = options;
    const service = (name: string, script: string, args: readonly string[]): Service => {
      const command: readonly [string, ...string[]] = [process.execPath, script, ...args];
      return {
        name,
        command: options.wrap === undefined ? command : options.wrap(command),
        pidFile: join(paths.runDirectory, `${name}.pid`),
        logFile: join(paths.logDirectory, `${name}.log`),
      };
    };
    this.options = options;
    this.#manager = service('manager', managerMain, ['--data', paths.managerData, '--link', link, '--api', api]);
    const told = ['--host', host, '--enrol', api, '--token-file', paths.enrolmentFile];
    const kept = ['--state', paths.agentState, '--socket', paths.agentSocket];
    this.#agent = service('agent', agentMain, [...told, ...kept, ...agentArguments]);
  }

  get manager(): Service {
    return this.#manager;
  }
  get agent(): Service {
    return this.#agent;
  }

  /** The manager's API as its first administrator. */
  async api(): Promise<ApiClient> {
    const { managerSocket, adminTokenFile, authorityFile } = this.options.paths;
    const context = {
      name: 'local',
      server: `unix://${managerSocket}`,
      tokenFile: adminTokenFile,
      caFile: authorityFile,
    };
    return (await openContext(context, { environment: {}, signal: never })).api;
  }

  startManager(): Promise<{ readonly pid: number; readonly started: boolean }> {
    const ready = async (): Promise<boolean> => {
      const api = await this.api().catch(() => null);
      return (
        api !== null &&
        (await api.getStatus().then(
          (result) => result.kind === 'ok',
          () => false,
        ))
      );
    };
    return startService(this.#manager, { ready, readyMs });
  }

  /** Enrols the host first where that was not done. Ready: connected, and the present revision is enforced. */
  async startAgent(): Promise<{ readonly pid: number; readonly started: boolean }> {
    const { paths } = this.options;
    const api = await this.api();
    await this.#offerToken(api);
    const ready = async (): Promise<boolean> => {
      const status = await readAgentStatus(paths.agentSocket).catch(() => null);
      if (status === null || !status.link.isReady || status.receipt === null) return false;
      const wanted = await api.getStatus();
      return wanted.kind === 'ok' && status.receipt.revision >= wanted.value.desiredRevision;
    };
    const started = await startService(this.#agent, { ready, readyMs });
    await rm(paths.enrolmentFile, { force: true });
    return started;
  }

  stopAgent(): Promise<'stopped' | 'killed' | null> {
    return stopService(this.#agent);
  }
  stopManager(): Promise<'stopped' | 'killed' | null> {
    return stopService(this.#manager);
  }
  killAgent(): Promise<void> {
    return killService(this.#agent);
  }

  /** A one-time token in a file that only root reads, unless the host is known to the manager. */
  async #offerToken(api: ApiClient): Promise<void> {
    const { paths, host } = this.options;
    const known = await api.getHost({ params: { host } });
    if (known.kind === 'ok' && known.value.revoked === null) return;
    const made = valueOf(
      await api.createEnrolmentToken({ body: { host, labelsAllowed: null, forSeconds: enrolSeconds } }),
    );
    await mkdir(paths.runDirectory, { recursive: true, mode: 0o755 });
    await writeFile(paths.enrolmentFile, `${made.token}\n`, { mode: 0o600 });
  }
}
