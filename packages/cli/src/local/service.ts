/**
 * Processes of ours in the background, for machines without systemd: started once, found again by process id *and* start time (ids
 * are reused), stopped with a deadline. Nothing is ever found by name.
 */
import { spawn } from 'node:child_process';
import { mkdir, open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { processIdentity } from '../demo/processes.ts';
import { CommandFailure } from '../exit.ts';

export interface Service {
  readonly name: string;
  readonly command: readonly [string, ...string[]];
  readonly environment?: Readonly<Record<string, string>>;
  readonly pidFile: string;
  readonly logFile: string;
}

export type ServiceState = { readonly kind: 'running'; readonly pid: number } | { readonly kind: 'stopped' };

const pollMs = 50;
const stopMs = 10_000;
const logTailLines = 15;

/** Whether the process that was started as this service lives. */
export async function serviceState(service: Pick<Service, 'pidFile'>): Promise<ServiceState> {
  const written = (await readFile(service.pidFile, 'utf8').catch(() => '')).trim().split(' ');
  const pid = Number(written[0]);
  const alive = written.length === 2 && (await processIdentity(pid)) === written[1];
  return alive ? { kind: 'running', pid } : { kind: 'stopped' };
}

/** Starts the process unless it runs, and returns when `ready` says so. A process that ends before that is a failure with its log. */
export async function startService(
  service: Service,
  options: { readonly ready: () => Promise<boolean>; readonly readyMs: number },
): Promise<{ readonly pid: number; readonly started: boolean }> {
  const before = await serviceState(service);
  const pid = before.kind === 'running' ? before.pid : await launch(service);
  const deadline = Date.now() + options.readyMs;
  while (!(await options.ready())) {
    if ((await serviceState(service)).kind === 'stopped') {
      throw new CommandFailure('failed', `${service.name} ended while it started`, {
        faults: (await logTail(service)).map((line) => ({ what: line })),
        remedy: `Its log: ${service.logFile}`,
      });
    }
    if (Date.now() > deadline) {
      throw new CommandFailure('timedOut', `${service.name} runs and is not ready after ${options.readyMs / 1000} s`, {
        faults: (await logTail(service)).map((line) => ({ what: line })),
        remedy: `Its log: ${service.logFile}`,
      });
    }
    await delay(pollMs);
  }
  return { pid, started: before.kind === 'stopped' };
}

async function launch(service: Service): Promise<number> {
  await mkdir(dirname(service.pidFile), { recursive: true, mode: 0o755 });
  await mkdir(dirname(service.logFile), { recursive: true, mode: 0o750 });
  const log = await open(service.logFile, 'a', 0o640);
  try {
    const [executable, ...rest] = service.command;
    const child = spawn(executable, rest, {
      detached: true,
      stdio: ['ignore', log.fd, log.fd],
      cwd: '/',
      env: { ...process.env, ...service.environment },
    });
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', (cause) =>
        reject(new CommandFailure('failed', `${service.name} cannot be started: ${cause.message}`, { cause })),
      );
    });
    child.unref();
    const pid = child.pid!;
    const identity = await processIdentity(pid);
    // Written beside and renamed, so that a reader never sees half a line.
    await writeFile(`${service.pidFile}.new`, `${pid} ${identity ?? '0'}\n`, { mode: 0o644 });
    await rename(`${service.pidFile}.new`, service.pidFile);
    return pid;
  } finally {
    await log.close();
  }
}

/** SIGTERM, and SIGKILL when the deadline has passed. `null`: it did not run. */
export async function stopService(service: Pick<Service, 'name' | 'pidFile'>): Promise<'stopped' | 'killed' | null> {
  const state = await serviceState(service);
  if (state.kind === 'stopped') {
    await rm(service.pidFile, { force: true });
    return null;
  }
  signal(state.pid, 'SIGTERM');
  let how: 'stopped' | 'killed' = 'stopped';
  const deadline = Date.now() + stopMs;
  while ((await serviceState(service)).kind === 'running') {
    if (Date.now() > deadline && how === 'stopped') {
      signal(state.pid, 'SIGKILL');
      how = 'killed';
    }
    await delay(pollMs);
  }
  await rm(service.pidFile, { force: true });
  return how;
}

/** `kill -9`, for showing what stays in force without the process. */
export async function killService(service: Pick<Service, 'name' | 'pidFile'>): Promise<void> {
  const state = await serviceState(service);
  if (state.kind === 'stopped') return;
  signal(state.pid, 'SIGKILL');
  while ((await serviceState(service)).kind === 'running') await delay(pollMs);
}

export async function logTail(service: Pick<Service, 'logFile'>): Promise<readonly string[]> {
  const text = await readFile(service.logFile, 'utf8').catch(() => '');
  return text.trimEnd().split('\n').slice(-logTailLines);
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
