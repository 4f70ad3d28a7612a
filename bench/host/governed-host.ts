/**
 * A host of its own in a network namespace: manager and agent as separate processes over mutual TLS, on the real datapath; workloads as
 * namespaces that are attached by command. Names have the prefix `bhbench-`; everything is removed at the end.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import process from 'node:process';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { AgentStatus } from '@bulkhead/agent';
import { controlCalls, managerCalls, RequestError, type Call } from './requests.ts';

const run = promisify(execFile);
const deadlineMs = 60_000;
const pollMs = 20;
/** How long a process may take to end by itself, and to write its profile. */
const endMs = 20_000;
/** USER_HZ: what /proc counts in, on every Linux. */
const clockTicksPerSecond = 100;
const receiptWaitMs = 30_000;
const mains = {
  manager: fileURLToPath(new URL('../../packages/manager/src/main.ts', import.meta.url)),
  agent: fileURLToPath(new URL('../../packages/agent/src/main.ts', import.meta.url)),
} as const;

const profiler = fileURLToPath(new URL('profiler.ts', import.meta.url));

export type Part = keyof typeof mains;

export interface HostOptions {
  /** Where both processes write CPU profiles when they end; null: nowhere. */
  readonly profile: string | null;
}

export const hostName = 'bench';

export async function mountBpf(): Promise<void> {
  await run('mountpoint', ['-q', '/sys/fs/bpf']).catch(() => run('mount', ['-t', 'bpf', 'bpf', '/sys/fs/bpf']));
}

export class GovernedHost implements AsyncDisposable {
  readonly name: string;
  readonly directory: string;
  readonly control: Call;
  readonly #options: HostOptions;
  readonly #namespaces: string[] = [];
  readonly #children = new Set<ChildProcess>();
  readonly #pids = new Map<Part, number>();
  #api: Call | null = null;

  private constructor(name: string, options: HostOptions) {
    this.name = `bhbench-${name}`;
    this.#options = options;
    this.directory = mkdtempSync(path.join(tmpdir(), `${this.name}-`));
    this.control = controlCalls(path.join(this.directory, 'agent.sock'));
  }

  static async start(name: string, options: HostOptions): Promise<GovernedHost> {
    const host = new GovernedHost(name, options);
    try {
      await host.addNamespaces([host.name]);
      await run('ip', ['-n', host.name, 'link', 'set', 'lo', 'up']);
      await host.#startManager();
      await host.#startAgent();
      return host;
    } catch (error) {
      await host[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The manager's API. */
  api(method: string, url: string, body?: unknown): Promise<unknown> {
    this.#api ??= managerCalls(
      path.join(this.directory, 'api.sock'),
      readFileSync(path.join(this.directory, 'manager', 'ca.pem')),
      readFileSync(path.join(this.directory, 'manager', 'admin.token'), 'utf8').trim(),
    );
    return this.#api(method, url, body);
  }

  /** Makes namespaces with everything in one process; they go with the host. */
  async addNamespaces(names: readonly string[]): Promise<void> {
    this.#namespaces.push(...names);
    await ipBatch(names.map((name) => `netns add ${name}`));
  }

  namespaceOf(workload: string): string {
    return `${this.name}-${workload}`;
  }

  /** Attaches a namespace that exists; its address. */
  async attach(workload: string, labels: Readonly<Record<string, string>>): Promise<string> {
    const request = { kind: 'netns', name: workload, path: `/run/netns/${this.namespaceOf(workload)}`, labels };
    const answer = (await this.control('POST', '/v1/commands/attach', { argument: request })) as {
      readonly result: { readonly ipv4: string };
    };
    return answer.result.ipv4;
  }

  /** Applies documents; resolves when the manager has the host's receipt. */
  async apply(documents: readonly unknown[]): Promise<void> {
    const body = { documents: documents.map((value) => ({ value })) };
    const { revision } = (await this.api('POST', '/v1/documents', body)) as { readonly revision: number };
    const receipts = (await this.api('GET', `/v1/revisions/${revision}/receipts?waitMs=${receiptWaitMs}`)) as {
      readonly complete: boolean;
      readonly hosts: readonly { readonly failed: readonly unknown[] }[];
    };
    const failed = receipts.hosts.flatMap((host) => host.failed);
    if (!receipts.complete || failed.length > 0)
      throw new Error(`revision ${revision} is not in force: ${JSON.stringify(failed.slice(0, 3))}`);
  }

  async status(): Promise<AgentStatus> {
    return (await this.control('GET', '/v1/status')) as AgentStatus;
  }

  /** What the programs counted, by reason. */
  async counters(): Promise<ReadonlyMap<string, number>> {
    const text = String(await this.control('GET', '/metrics'));
    const lines = text.matchAll(/^bulkhead_packets_total\{reason="(\w+)"\} (\d+)$/gm);
    return new Map([...lines].map(([, reason, count]) => [reason!, Number(count)]));
  }

  /** Resident memory, MB (10⁶ bytes). */
  residentMb(part: Part): number {
    const status = readFileSync(`/proc/${this.#pids.get(part)}/status`, 'utf8');
    return (Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)![1]) * 1024) / 1e6;
  }

  /** Processor time that the process has taken, user and system, all of its threads. */
  cpuSeconds(part: Part): number {
    const fields = readFileSync(`/proc/${this.#pids.get(part)}/stat`, 'utf8')
      .split(') ')[1]!
      .split(' ');
    return (Number(fields[11]) + Number(fields[12])) / clockTicksPerSecond;
  }

  /** Profiles begin here, if they are wanted. */
  beginProfiles(): void {
    if (this.#options.profile === null) return;
    mkdirSync(this.#options.profile, { recursive: true });
    for (const pid of this.#pids.values()) process.kill(pid, 'SIGUSR2');
  }

  /** Starts something in a workload's namespace; it ends with the host, or before. */
  spawn(workload: string, command: readonly string[]): ChildProcess {
    const child = spawn('nsenter', [`--net=/run/netns/${this.namespaceOf(workload)}`, ...command], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.#children.add(child);
    child.once('exit', () => this.#children.delete(child));
    return child;
  }

  async until(what: string, check: () => Promise<boolean>): Promise<void> {
    const deadline = Date.now() + deadlineMs;
    let last: unknown = 'it did not come';
    while (Date.now() < deadline) {
      try {
        if (await check()) return;
      } catch (error) {
        last = error;
        if (error instanceof RequestError && error.status !== 503) throw error;
      }
      await delay(pollMs);
    }
    throw new Error(`not within ${deadlineMs} ms: ${what}: ${String(last)}\n${this.#logs()}`, { cause: last });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#children].map(end));
    await ipBatch(this.#namespaces.toReversed().map((name) => `netns delete ${name}`)).catch(() => undefined);
    rmSync(`/sys/fs/bpf/${this.name}`, { recursive: true, force: true });
    rmSync(this.directory, { recursive: true, force: true });
  }

  async #startManager(): Promise<void> {
    const { directory } = this;
    const files = ['--data', path.join(directory, 'manager'), '--socket', path.join(directory, 'api.sock')];
    this.#start('manager', [...files, '--log', 'warn']);
    await this.until('the manager', async () => (await this.api('GET', '/v1/status')) !== null);
  }

  async #startAgent(): Promise<void> {
    const { directory, name } = this;
    const wish = { host: hostName, labelsAllowed: null, forSeconds: 600 };
    const { token } = (await this.api('POST', '/v1/enrolment-tokens', wish)) as { readonly token: string };
    this.#start('agent', [
      ...['--host', hostName, '--state', path.join(directory, 'agent'), '--socket', path.join(directory, 'agent.sock')],
      ...['--bpffs', `/sys/fs/bpf/${name}`, '--punt', 'punt0', '--docker', 'none', '--log', 'warn', '--token', token],
    ]);
    await this.until('the link', async () => (await this.status()).link.isReady);
  }

  #start(part: Part, args: readonly string[]): void {
    const log = openSync(path.join(this.directory, `${part}.log`), 'a');
    const { profile } = this.#options;
    const runtime = profile === null ? [] : ['--import', profiler];
    const words = [`--net=/run/netns/${this.name}`, process.execPath, ...runtime, mains[part]];
    const own = profile === null ? {} : { BULKHEAD_BENCH_PROFILE: path.resolve(profile, `${part}.cpuprofile`) };
    const child = spawn('nsenter', [...words, ...args], {
      stdio: ['ignore', log, log],
      env: { ...process.env, ...own },
    });
    closeSync(log);
    this.#children.add(child);
    this.#pids.set(part, child.pid!);
  }

  #logs(): string {
    return (['manager', 'agent'] as const)
      .map(
        (part) =>
          `${part}: ${readFileSync(path.join(this.directory, `${part}.log`), { encoding: 'utf8', flag: 'a+' }).slice(-1500)}`,
      )
      .join('\n');
  }
}

/** Asks to end, so that profiles are written; a process that does not is killed. */
async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGTERM');
  const forced = setTimeout(() => child.kill('SIGKILL'), endMs);
  await gone;
  clearTimeout(forced);
}

async function ipBatch(lines: readonly string[]): Promise<void> {
  const promise = run('ip', ['-batch', '-']);
  promise.child.stdin?.end(`${lines.join('\n')}\n`);
  await promise;
}
