/**
 * A private Docker engine: its own network and mount namespace, data, runtime directories, containerd and cgroups, so that it neither
 * sees nor touches an engine that the machine already runs. Used by the demo and by the tests with real containers.
 *
 * The plugin directory and the engine's socket are bound from `directory`, so that processes outside the mount namespace reach both.
 * Everything is thrown away on `stop`: processes are killed, the namespaces vanish with them, and with these every mount.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { request } from 'node:http';
import { access, mkdir, open, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { run } from './command.ts';
import { processIdentity, processesOf, reapCgroups, stopProcesses } from './processes.ts';

export interface EngineOptions {
  /** Names the network namespace, the cgroup and the directory: lower-case letters, digits and dashes, at most 20. */
  readonly name: string;
  /** Where everything of the engine lives; it is deleted on `stop`. */
  readonly directory?: string;
  /** Containers go on while dockerd is away. */
  readonly liveRestore?: boolean;
  readonly flags?: readonly string[];
  /** Extra OCI runtimes: name → path of the executable. */
  readonly runtimes?: Readonly<Record<string, string>>;
}

export interface Engine extends AsyncDisposable {
  readonly name: string;
  readonly directory: string;
  /** The engine's API, a Unix socket that any namespace reaches. */
  readonly socket: string;
  /** Name of the network namespace (`ip netns`), in which the agent must run too. */
  readonly netns: string;
  /** Bound to /run/docker/plugins of the engine: a socket placed here is a plugin. */
  readonly pluginDirectory: string;
  readonly logFile: string;
  readonly dockerdPid: () => number | null;
  /** Runs the docker command line against this engine and returns its standard output, trimmed. */
  docker(...args: readonly string[]): Promise<string>;
  /** Command and arguments that run `args` inside the engine's network namespace. */
  inNetns(...args: readonly string[]): readonly [string, ...string[]];
  /** Waits until it answers, for as long as `readyMs` says. */
  startDockerd(options?: { readonly readyMs?: number }): Promise<void>;
  /** SIGTERM, or SIGKILL with `hard`; returns when the process is gone. */
  stopDockerd(options?: { readonly hard?: boolean }): Promise<void>;
  stop(): Promise<void>;
}

const readyMsDefault = 30_000;
const pollMs = 25;
/** How long a killed dockerd's containerd may take to end. */
const containerdEndMs = 10_000;
const pingMs = 2_000;
const namePattern = /^[a-z0-9-]{1,20}$/;

export async function startEngine(options: EngineOptions): Promise<Engine> {
  if (!namePattern.test(options.name))
    throw new Error(`engine name ${JSON.stringify(options.name)}: expected ${namePattern.source}`);
  const paths = enginePaths(options);
  await reapEngine(paths);
  await prepare(paths, options);
  const holder = await startHolder(paths);
  const engine = new PrivateEngine(paths, options, holder);
  try {
    await engine.startDockerd();
    return engine;
  } catch (error) {
    await engine.stop();
    throw error;
  }
}

interface EnginePaths {
  readonly name: string;
  readonly directory: string;
  readonly netns: string;
  readonly socket: string;
  readonly holderFile: string;
  readonly logFile: string;
  readonly pluginDirectory: string;
  readonly configDirectory: string;
  readonly cgroup: string;
}

function enginePaths(options: EngineOptions): EnginePaths {
  const directory = options.directory ?? `/var/tmp/bulkhead-engine-${options.name}`;
  return {
    name: options.name,
    directory,
    netns: `bh-${options.name}`,
    socket: join(directory, 'docker.sock'),
    holderFile: join(directory, 'holder'),
    logFile: join(directory, 'dockerd.log'),
    pluginDirectory: join(directory, 'run', 'plugins'),
    configDirectory: join(directory, 'etc'),
    cgroup: `bulkhead-engine-${options.name}`,
  };
}

async function prepare(paths: EnginePaths, options: EngineOptions): Promise<void> {
  for (const part of ['run/plugins', 'etc', 'data', 'exec', 'containerd'])
    await mkdir(join(paths.directory, part), { recursive: true });
  const runtimes = Object.fromEntries(Object.entries(options.runtimes ?? {}).map(([name, path]) => [name, { path }]));
  const config = { runtimes, 'live-restore': options.liveRestore ?? false, 'shutdown-timeout': 2 };
  await writeFile(join(paths.configDirectory, 'daemon.json'), `${JSON.stringify(config, null, 2)}\n`);
  await run('ip', ['netns', 'add', paths.netns]);
  await run('ip', ['-n', paths.netns, 'link', 'set', 'lo', 'up']);
  await run('ip', [
    'netns',
    'exec',
    paths.netns,
    'sysctl',
    '-qw',
    'net.ipv4.ip_forward=1',
    'net.ipv6.conf.all.forwarding=1',
  ]);
}

/** The namespaces must outlive dockerd, so that it can be restarted in them: a sleeping process holds them. */
async function startHolder(paths: EnginePaths): Promise<number> {
  const script = `
set -e
d=$1
mkdir -p /run/docker /run/containerd /etc/docker
mount --bind "$d/run" /run/docker
mount --bind "$d/containerd" /run/containerd
mount --bind "$d/etc" /etc/docker
echo ready
exec sleep infinity`;
  const child = spawn(
    'nsenter',
    [
      `--net=/run/netns/${paths.netns}`,
      'unshare',
      '--mount',
      '--propagation',
      'private',
      'sh',
      '-c',
      script,
      'sh',
      paths.directory,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'], detached: true },
  );
  await new Promise<void>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) =>
      reject(new Error(`engine ${paths.name}: its namespaces could not be prepared (exit ${code})`)),
    );
    child.stdout.once('data', () => resolve());
  });
  child.stdout.destroy();
  child.removeAllListeners('exit');
  child.unref();
  const pid = child.pid!;
  await writeFile(paths.holderFile, `${pid} ${await processIdentity(pid)}\n`);
  return pid;
}

class PrivateEngine implements Engine {
  readonly name: string;
  readonly directory: string;
  readonly socket: string;
  readonly netns: string;
  readonly pluginDirectory: string;
  readonly logFile: string;
  readonly #paths: EnginePaths;
  readonly #holder: number;
  readonly #flags: readonly string[];
  #pid: number | null = null;
  #child: ChildProcess | null = null;
  #exited: Promise<void> = Promise.resolve();

  constructor(paths: EnginePaths, options: EngineOptions, holder: number) {
    this.name = paths.name;
    this.directory = paths.directory;
    this.socket = paths.socket;
    this.netns = paths.netns;
    this.pluginDirectory = paths.pluginDirectory;
    this.logFile = paths.logFile;
    this.#paths = paths;
    this.#holder = holder;
    this.#flags = options.flags ?? [];
  }

  dockerdPid = (): number | null => this.#pid;

  docker(...args: readonly string[]): Promise<string> {
    return run('docker', ['-H', `unix://${this.socket}`, ...args], {
      environment: { DOCKER_BUILDKIT: '0', DOCKER_CONFIG: join(this.directory, 'client') },
    });
  }

  inNetns(...args: readonly string[]): readonly [string, ...string[]] {
    // Not `ip netns exec`: that one remounts /sys and hides bpffs.
    return ['nsenter', `--net=/run/netns/${this.netns}`, ...args];
  }

  async startDockerd(options: { readonly readyMs?: number } = {}): Promise<void> {
    if (this.#pid !== null) throw new Error(`engine ${this.name}: dockerd runs already`);
    const at = (part: string) => join(this.directory, part);
    const log = await open(this.logFile, 'a');
    try {
      const flags = [
        '--data-root',
        at('data'),
        '--exec-root',
        at('exec'),
        '--pidfile',
        at('dockerd.pid'),
        '-H',
        `unix://${this.socket}`,
      ];
      const isolation = [
        '--cgroup-parent',
        `/${this.#paths.cgroup}`,
        '--exec-opt',
        'native.cgroupdriver=cgroupfs',
        '--storage-driver',
        'overlay2',
      ];
      const child = spawn(
        'nsenter',
        ['-t', String(this.#holder), '-m', '-n', '--', 'dockerd', ...flags, ...isolation, ...this.#flags],
        {
          stdio: ['ignore', log.fd, log.fd],
          detached: true,
        },
      );
      this.#exited = new Promise((resolve) => {
        const gone = () => {
          this.#pid = null;
          resolve();
        };
        child.once('exit', gone);
        child.once('error', gone);
      });
      this.#pid = child.pid ?? null;
      this.#child = child;
      // Its owner's process may end, or wait for something else, while the engine runs.
      child.unref();
    } finally {
      await log.close();
    }
    await this.#waitReady(options.readyMs ?? readyMsDefault);
  }

  async #waitReady(readyMs: number): Promise<void> {
    const deadline = Date.now() + readyMs;
    while (Date.now() < deadline) {
      if (this.#pid === null) throw new Error(`engine ${this.name}: dockerd ended.\n${await this.#logTail()}`);
      if (await answers(this.socket)) return;
      await delay(pollMs);
    }
    throw new Error(`engine ${this.name}: dockerd did not answer within ${readyMs} ms.\n${await this.#logTail()}`);
  }

  async stopDockerd(options: { readonly hard?: boolean } = {}): Promise<void> {
    if (this.#pid === null) return;
    process.kill(this.#pid, options.hard === true ? 'SIGKILL' : 'SIGTERM');
    this.#child?.ref();
    await this.#exited;
    if (options.hard === true) await this.#forgetContainerd();
  }

  /**
   * Its containerd dies with a killed dockerd, a moment later. Who is started meanwhile, or finds the number in its file in use (also by
   * a process that nobody has buried yet), waits 15 s for it in vain.
   */
  async #forgetContainerd(): Promise<void> {
    const file = join(this.directory, 'exec', 'containerd', 'containerd.pid');
    const pid = Number(await readFile(file, 'utf8').catch(() => '0'));
    const deadline = Date.now() + containerdEndMs;
    while (pid > 0 && Date.now() < deadline && (await isRunning(pid))) await delay(pollMs);
    await rm(file, { force: true });
  }

  async stop(): Promise<void> {
    await reapEngine(this.#paths);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #logTail(): Promise<string> {
    const text = await readFile(this.logFile, 'utf8').catch(() => '');
    return text.split('\n').slice(-20).join('\n');
  }
}

/** False also for a process that has ended and whose parent has not asked for it yet. */
async function isRunning(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  return stat !== '' && !/\) [ZX] /.test(stat);
}

function answers(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const ping = request({ socketPath: socket, path: '/_ping', timeout: pingMs }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    ping.on('timeout', () => ping.destroy());
    ping.on('error', () => resolve(false));
    ping.end();
  });
}

/**
 * Removes whatever an engine of this name left behind, also one whose owner was killed. Nothing is asked to stop: all of it is thrown
 * away, and a container with a restart policy would come back.
 */
async function reapEngine(paths: EnginePaths): Promise<void> {
  const held = (await readFile(paths.holderFile, 'utf8').catch(() => '')).trim().split(' ');
  const holder = Number(held[0]);
  if (held.length === 2 && (await processIdentity(holder)) === held[1]) {
    // dockerd, containerd and its shims share the holder's mount namespace; the containers are found by their cgroup.
    await stopProcesses(async () => (await processesOf(holder)).filter((pid) => pid !== holder));
    await reapCgroups(paths.cgroup);
    await stopProcesses(async () => ((await processIdentity(holder)) === held[1] ? [holder] : []));
  } else await reapCgroups(paths.cgroup);
  await access(`/run/netns/${paths.netns}`).then(
    () => run('ip', ['netns', 'delete', paths.netns]),
    () => undefined,
  );
  await rm(paths.directory, { recursive: true, force: true, maxRetries: 5 });
}
