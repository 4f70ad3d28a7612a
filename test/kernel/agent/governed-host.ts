/**
 * A host of its own in a network namespace: manager and agent as processes, workloads as namespaces that are attached by command. The
 * sockets of both are files, so the test reaches them from outside the namespace.
 */
import { execFile, execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { AgentStatus } from '@bulkhead/agent';
import type { FlowRecord, QuestionRecord } from '@bulkhead/protocol';
import type { EndpointView } from './endpoint-view.ts';
import { call, headersOf } from './http-call.ts';
import { connectLan, lanAddress } from './lan.ts';

const deadlineMs = 30_000;
const pollMs = 20;
const managerMain = fileURLToPath(new URL('../../../packages/manager/src/main.ts', import.meta.url));
const agentMain = fileURLToPath(new URL('../../../packages/agent/src/main.ts', import.meta.url));

export type Attempt = 'connected' | 'refused' | 'timeout' | 'unreachable';

export interface GovernedHostOptions {
  /** Begins the names of all namespaces and directories. */
  readonly prefix: string;
  /** A network namespace that is there already (an engine's), where the host is to be; null: one of its own. */
  readonly namespace: string | null;
  /** The host's name at the manager. */
  readonly host: string;
  /** Gives the host an uplink into a namespace `lan` (see lan.ts). */
  readonly uplink: boolean;
  readonly managerOptions: readonly string[];
  readonly agentOptions: readonly string[];
}

const usual: GovernedHostOptions = {
  ...{ prefix: 'bhF', namespace: null, host: 'h1', uplink: false },
  ...{ managerOptions: [], agentOptions: ['--docker', 'none'] },
};

let made = 0;

export class GovernedHost implements AsyncDisposable {
  readonly name: string;
  readonly directory: string;
  readonly #namespaces: string[] = [];
  readonly #children = new Set<ChildProcess>();
  #manager: ChildProcess | null = null;
  #agent: ChildProcess | null = null;
  readonly #options: GovernedHostOptions;
  #addresses = new Map<string, string>();

  private constructor(options: GovernedHostOptions) {
    made += 1;
    this.#options = options;
    this.name = options.namespace ?? `${options.prefix}-${process.pid}-${made}`;
    this.directory = mkdtempSync(join(tmpdir(), `${options.prefix}-`));
  }

  static async start(options: Partial<GovernedHostOptions> = {}): Promise<GovernedHost> {
    const host = new GovernedHost({ ...usual, ...options });
    try {
      if (host.#options.namespace === null) host.#addNamespace(host.name);
      if (host.#options.uplink) {
        host.addNamespace('lan');
        connectLan(host.name, `${host.name}-lan`);
        host.#addresses.set('lan', lanAddress);
      }
      await host.startManager();
      await host.startAgent();
      await host.until('the first receipt', async () => (await host.status()).link.isReady);
      return host;
    } catch (error) {
      await host[Symbol.asyncDispose]();
      throw error;
    }
  }

  async startManager(): Promise<void> {
    const { directory } = this;
    const socket = join(directory, 'api.sock');
    this.#manager = this.#spawn(
      'manager',
      [process.execPath, managerMain],
      [...['--data', join(directory, 'manager'), '--socket', socket], ...this.#options.managerOptions],
    );
    await this.until('the manager', () => this.api('GET', '/v1/status').then(() => true));
  }

  /** `wrap`: a command that runs the agent's. */
  async startAgent(wrap: readonly string[] = []): Promise<void> {
    const { directory, name } = this;
    const token = existsSync(join(directory, 'agent', 'credentials.json')) ? null : await this.#token();
    const command = [...wrap, process.execPath, agentMain];
    this.#agent = this.#spawn('agent', command, [
      ...['--host', this.#options.host, '--state', join(directory, 'agent'), '--socket', join(directory, 'agent.sock')],
      ...['--bpffs', `/sys/fs/bpf/${name}`, '--punt', 'bhFpunt', '--log', 'warn'],
      ...(token === null ? [] : ['--token', token]),
      ...this.#options.agentOptions,
    ]);
    await this.until('the agent', () => this.status().then(() => true));
  }

  /** The process that runs now. */
  pidOf(which: 'manager' | 'agent'): number {
    return (which === 'manager' ? this.#manager : this.#agent)!.pid!;
  }

  /** kill -9, and returns when the process is gone. */
  async kill(which: 'manager' | 'agent'): Promise<void> {
    const child = which === 'manager' ? this.#manager : this.#agent;
    if (child === null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
    this.#children.delete(child);
  }

  /** A namespace, attached as a workload with labels; returns its address. `more`: other fields of the command. */
  async attach(
    name: string,
    labels: Readonly<Record<string, string>>,
    more: Readonly<Record<string, unknown>> = {},
  ): Promise<string> {
    const path = this.pathOf(name);
    if (!existsSync(path)) this.addNamespace(name);
    const request = { kind: 'netns', name, path, labels, ...more };
    const record = (await this.command('attach', request)) as { readonly ipv4: string };
    this.#addresses.set(name, record.ipv4);
    return record.ipv4;
  }

  /** A namespace that no agent knows yet; it goes with the host. */
  addNamespace(name: string): void {
    this.#addNamespace(`${this.name}-${name}`);
  }

  /** Where the network namespace of a workload is; without a name the host's own. */
  pathOf(name?: string): string {
    return `/run/netns/${this.name}${name === undefined ? '' : `-${name}`}`;
  }

  /** Runs a command to its end in a workload's namespace, or the host's (null); gives its standard output. */
  run(name: string | null, ...command: readonly string[]): string {
    const words = [`--net=${this.pathOf(name ?? undefined)}`, ...command];
    return execFileSync('nsenter', words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  }

  /** Starts something in a workload's namespace, or the host's (null), that ends with the host, or before. */
  spawn(name: string | null, ...command: readonly string[]): ChildProcess {
    const child = spawn('nsenter', [`--net=${this.pathOf(name ?? undefined)}`, ...command], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#children.add(child);
    return child;
  }

  addressOf(name: string): string {
    return this.#addresses.get(name)!;
  }

  /** Accepts and closes connections on these ports in a workload; returns when it listens. */
  async listen(name: string, ...ports: readonly number[]): Promise<void> {
    const script = `
      const { createServer } = require('node:net');
      const ports = ${JSON.stringify(ports)};
      let open = 0;
      for (const port of ports) createServer((socket) => socket.on('error', () => undefined).pipe(socket)).listen(port, () => ++open === ports.length && console.log('open'));
      setInterval(() => undefined, 1000);`;
    const child = this.spawn(name, process.execPath, '-e', script);
    await once(child.stdout!, 'data');
  }

  /** One TCP connect from a workload. */
  connect(from: string, to: string, port: number, timeoutMs = 700): Promise<Attempt> {
    const script = `
      const socket = require('node:net').connect(${port}, ${JSON.stringify(this.#addresses.get(to) ?? to)});
      const end = (text) => { process.stdout.write(text); process.exit(0); };
      socket.on('connect', () => end('connected'));
      socket.on('error', (error) => end({ ECONNREFUSED: 'refused', ETIMEDOUT: 'timeout' }[error.code] ?? 'unreachable'));
      setTimeout(() => end('timeout'), ${timeoutMs});`;
    const { promise, resolve, reject } = Promise.withResolvers<Attempt>();
    const words = [`--net=/run/netns/${this.name}-${from}`, process.execPath, '-e', script];
    execFile('nsenter', words, (error, stdout) => (error === null ? resolve(stdout as Attempt) : reject(error)));
    return promise;
  }

  async apply(...documents: readonly unknown[]): Promise<void> {
    await this.api('POST', '/v1/documents', { documents: documents.map((value) => ({ value })) });
    const { revision } = (await this.api('GET', '/v1/status')) as { readonly revision: number };
    await this.until(
      `revision ${revision} in force`,
      async () => ((await this.status()).receipt?.revision ?? 0) >= revision,
    );
  }

  async status(): Promise<AgentStatus> {
    return (await this.#control('GET', '/v1/status')) as AgentStatus;
  }

  /** What the agent says of its endpoints: `GET /v1/top`. */
  async endpoints(): Promise<readonly EndpointView[]> {
    return (await this.#control('GET', '/v1/top')) as readonly EndpointView[];
  }

  /** How often the programs counted this, from the agent's metrics. */
  async counter(reason: string): Promise<number> {
    const text = String(await this.#control('GET', '/metrics'));
    const value = new RegExp(`^bulkhead_packets_total\\{reason="${reason}"\\} (\\d+)$`, 'm').exec(text)?.[1];
    if (value === undefined) throw new Error(`no counter ${reason}`);
    return Number(value);
  }

  /** What the agent shows on its control socket. */
  view(name: string): Promise<unknown> {
    return this.#control('GET', `/v1/${name}`);
  }

  async command(name: string, argument: unknown): Promise<unknown> {
    const body = (await this.#control('POST', `/v1/commands/${name}`, { argument })) as { readonly result: unknown };
    return body.result;
  }

  async flows(query = ''): Promise<readonly FlowRecord[]> {
    return ((await this.api('GET', `/v1/flows?limit=1000${query}`)) as { readonly items: readonly FlowRecord[] }).items;
  }

  async questions(): Promise<readonly QuestionRecord[]> {
    return ((await this.api('GET', '/v1/questions?limit=1000')) as { readonly items: readonly QuestionRecord[] }).items;
  }

  api(method: string, path: string, body?: unknown): Promise<unknown> {
    const authorization = `Bearer ${readFileSync(join(this.directory, 'manager', 'admin.token'), 'utf8').trim()}`;
    const ca = readFileSync(join(this.directory, 'manager', 'ca.pem'));
    const options = { socketPath: join(this.directory, 'api.sock'), ca, servername: 'manager.bulkhead' };
    return call(
      (onResponse) =>
        httpsRequest({ ...options, method, path, headers: headersOf(body, { authorization }) }, onResponse),
      body,
    );
  }

  async until(what: string, check: () => Promise<unknown>): Promise<void> {
    const deadline = Date.now() + deadlineMs;
    let last: unknown = 'it did not come';
    while (Date.now() < deadline) {
      try {
        if ((await check()) === true) return;
      } catch (error) {
        last = error;
      }
      await delay(pollMs);
    }
    const log = readFileSync(join(this.directory, 'agent.log'), { encoding: 'utf8', flag: 'a+' }).slice(-2000);
    throw new Error(`not within ${deadlineMs} ms: ${what} (${String(last)})\n${log}`, { cause: last });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#children) {
      child.kill('SIGKILL');
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    }
    for (const namespace of this.#namespaces.toReversed()) execFileSync('ip', ['netns', 'delete', namespace]);
    rmSync(`/sys/fs/bpf/${this.name}`, { recursive: true, force: true });
    rmSync(this.directory, { recursive: true, force: true });
  }

  #addNamespace(namespace: string): void {
    execFileSync('ip', ['netns', 'add', namespace]);
    this.#namespaces.push(namespace);
    execFileSync('nsenter', [`--net=/run/netns/${namespace}`, 'ip', 'link', 'set', 'lo', 'up']);
  }

  async #token(): Promise<string> {
    const body = { host: this.#options.host, labelsAllowed: null, forSeconds: 600 };
    return ((await this.api('POST', '/v1/enrolment-tokens', body)) as { readonly token: string }).token;
  }

  #spawn(what: string, command: readonly string[], args: readonly string[]): ChildProcess {
    const log = openSync(join(this.directory, `${what}.log`), 'a');
    const child = spawn('nsenter', [`--net=${this.pathOf()}`, ...command, ...args], { stdio: ['ignore', log, log] });
    closeSync(log);
    this.#children.add(child);
    return child;
  }

  #control(method: string, path: string, body?: unknown): Promise<unknown> {
    const socketPath = join(this.directory, 'agent.sock');
    return call((onResponse) => httpRequest({ socketPath, method, path, headers: headersOf(body) }, onResponse), body);
  }
}
