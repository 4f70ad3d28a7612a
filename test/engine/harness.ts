/**
 * What the tests with real containers stand on: a private engine, an attach host (see attach-host.ts) in its network namespace, and a
 * machine outside that is reached over the engine's uplink.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { mkdir, rm } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { importBusybox, startEngine, type Engine, type EngineOptions } from '@bulkhead/cli';
import type { LocalEndpoint, LocalWorkload } from '@bulkhead/agent';
import type { DivergenceRecord } from '@bulkhead/protocol';
import type { AttachHostRequest, AttachHostSettings } from './attach-host.ts';

export interface Snapshot {
  readonly endpoints: readonly LocalEndpoint[];
  readonly workloads: readonly LocalWorkload[];
  readonly kernel: readonly { readonly slot: number; readonly state: string }[];
  readonly counters: readonly (readonly [string, number])[];
  readonly divergences: readonly DivergenceRecord[];
}

type RequestBody = AttachHostRequest extends infer R ? (R extends unknown ? Omit<R, 'id'> : never) : never;

export const outsideAddress = '198.51.100.2';
export const uplinkAddress = '198.51.100.1';
const deadlineMs = 15_000;
const pollMs = 20;

/** Runs a command to its end; rejects with its standard error unless it exits with 0. */
export function run(command: string, args: readonly string[], input = ''): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile(command, args, { encoding: 'utf8', timeout: 60_000 }, (error, stdout, stderr) => {
      if (error === null) return resolve(stdout.trim());
      reject(
        new Error(`${command} ${args.join(' ')}: ${stderr.trim() || stdout.trim() || error.message}`, { cause: error }),
      );
    });
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(input);
  });
}

/** Waits until `check` gives something; errors count as "not yet". */
export async function until<T>(
  what: string,
  check: () => Promise<T | undefined | false>,
  withinMs = deadlineMs,
): Promise<T> {
  const deadline = Date.now() + withinMs;
  let last: unknown;
  while (Date.now() < deadline) {
    try {
      const value = await check();
      if (value !== undefined && value !== false) return value;
    } catch (error) {
      last = error;
    }
    await delay(pollMs);
  }
  throw new Error(`not within ${withinMs} ms: ${what}${last === undefined ? '' : ` (${String(last)})`}`, {
    cause: last,
  });
}

export class AttachHost {
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;
  readonly #waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  #id = 0;

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.#exited = new Promise((resolve) => child.once('exit', () => resolve()));
    child.on('message', (message: { id?: number; value?: unknown; error?: string }) => {
      const waiting = message.id === undefined ? undefined : this.#waiting.get(message.id);
      if (waiting === undefined || message.id === undefined) return;
      this.#waiting.delete(message.id);
      if (message.error === undefined) waiting.resolve(message.value);
      else waiting.reject(new Error(message.error));
    });
    child.once('exit', () => {
      for (const waiting of this.#waiting.values()) waiting.reject(new Error('the attach host ended'));
    });
  }

  static async start(engine: Engine, settings: AttachHostSettings): Promise<AttachHost> {
    const file = fileURLToPath(new URL('attach-host.ts', import.meta.url));
    const [command, ...args] = engine.inNetns(process.execPath, file, JSON.stringify(settings));
    const child = spawn(command, args, {
      stdio: ['ignore', 'inherit', process.env['BULKHEAD_TEST_LOG'] === undefined ? 'ignore' : 'inherit', 'ipc'],
    });
    const host = new AttachHost(child);
    await new Promise<void>((resolve, reject) => {
      child.once('message', () => resolve());
      child.once('exit', (code) =>
        reject(new Error(`the attach host ended with ${code}; BULKHEAD_TEST_LOG=info shows why`)),
      );
    });
    return host;
  }

  request<T>(request: RequestBody): Promise<T> {
    const id = ++this.#id;
    return new Promise<unknown>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#child.send({ ...request, id });
    }) as Promise<T>;
  }

  snapshot(): Promise<Snapshot> {
    return this.request<Snapshot>({ kind: 'snapshot' });
  }

  async stop(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    this.#child.kill(signal);
    await this.#exited;
  }
}

export class Harness implements AsyncDisposable {
  readonly engine: Engine;
  readonly settings: AttachHostSettings;
  host: AttachHost | null = null;
  readonly #outside: string;

  private constructor(engine: Engine) {
    this.engine = engine;
    this.#outside = `${engine.netns}-out`;
    this.settings = {
      host: 'test-host',
      stateDirectory: `${engine.directory}/agent`,
      pinRoot: `/sys/fs/bpf/${engine.netns}`,
      puntName: 'punt0',
      engineSocket: engine.socket,
      pluginSocket: `${engine.pluginDirectory}/bulkhead.sock`,
      resolvConf: `${engine.directory}/resolv.conf`,
      quarantineMs: 60_000,
    };
  }

  /** An engine with an uplink to a machine outside, the busybox image, and no attach host yet. */
  static async start(name: string, options: Partial<EngineOptions> = {}): Promise<Harness> {
    const engine = await startEngine({ name, ...options });
    const harness = new Harness(engine);
    try {
      await rm(harness.settings.pinRoot, { recursive: true, force: true });
      await harness.#makeOutside();
      await importBusybox(engine);
      return harness;
    } catch (error) {
      await harness[Symbol.asyncDispose]();
      throw error;
    }
  }

  async startHost(): Promise<AttachHost> {
    this.host = await AttachHost.start(this.engine, this.settings);
    return this.host;
  }

  docker(...args: readonly string[]): Promise<string> {
    return this.engine.docker(...args);
  }

  /** Runs on the machine outside. */
  outside(...args: readonly string[]): Promise<string> {
    return run('nsenter', [`--net=/run/netns/${this.#outside}`, ...args]);
  }

  /** Starts something on the machine outside that runs until the returned function is called. */
  outsideService(...args: readonly string[]): () => void {
    const child = spawn('nsenter', [`--net=/run/netns/${this.#outside}`, ...args], { stdio: 'ignore' });
    return () => void child.kill('SIGKILL');
  }

  /** Runs on the host: in the engine's network namespace. */
  onHost(...args: readonly string[]): Promise<string> {
    const [command, ...rest] = this.engine.inNetns(...args);
    return run(command, rest);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.host?.stop('SIGKILL');
    await this.engine.stop();
    await run('ip', ['netns', 'delete', this.#outside]).catch(() => undefined);
    await rm(this.settings.pinRoot, { recursive: true, force: true });
  }

  async #makeOutside(): Promise<void> {
    await mkdir(this.settings.stateDirectory, { recursive: true });
    await run('ip', ['netns', 'delete', this.#outside]).catch(() => undefined);
    await run('ip', ['netns', 'add', this.#outside]);
    const { netns } = this.engine;
    const batch = [
      `-n ${netns} link add uplink0 type veth peer name eth0 netns ${this.#outside}`,
      `-n ${netns} address add ${uplinkAddress}/24 dev uplink0`,
      `-n ${netns} link set uplink0 up`,
      `-n ${netns} route add default via ${outsideAddress}`,
      `-n ${this.#outside} link set lo up`,
      `-n ${this.#outside} address add ${outsideAddress}/24 dev eth0`,
      `-n ${this.#outside} link set eth0 up`,
    ];
    for (const line of batch) await run('ip', line.split(' '));
  }
}
