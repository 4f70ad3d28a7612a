/**
 * A host of its own in a network namespace: manager and agent as processes, workloads as namespaces that are attached by command. The
 * sockets of both are files, so the test reaches them from outside the namespace.
 */
import { execFile, execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { request as httpRequest, type ClientRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { AgentStatus } from '@bulkhead/agent';
import type { FlowRecord, QuestionRecord } from '@bulkhead/protocol';

const deadlineMs = 30_000;
const pollMs = 20;
const managerMain = fileURLToPath(new URL('../../../packages/manager/src/main.ts', import.meta.url));
const agentMain = fileURLToPath(new URL('../../../packages/agent/src/main.ts', import.meta.url));

export type Attempt = 'connected' | 'refused' | 'timeout' | 'unreachable';

let made = 0;

export class GovernedHost implements AsyncDisposable {
  readonly name: string;
  readonly directory: string;
  readonly #namespaces: string[] = [];
  readonly #children = new Set<ChildProcess>();
  #manager: ChildProcess | null = null;
  #agent: ChildProcess | null = null;
  #addresses = new Map<string, string>();

  private constructor() {
    made += 1;
    this.name = `bhF-${process.pid}-${made}`;
    this.directory = mkdtempSync(join(tmpdir(), 'bhF-'));
  }

  static async start(): Promise<GovernedHost> {
    const host = new GovernedHost();
    try {
      host.#addNamespace(host.name);
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
    this.#manager = this.#spawn('manager', managerMain, ['--data', join(directory, 'manager'), '--socket', socket]);
    await this.until('the manager', () => this.api('GET', '/v1/status').then(() => true));
  }

  async startAgent(): Promise<void> {
    const { directory, name } = this;
    const token = (await this.status().catch(() => null)) === null ? await this.#token() : null;
    this.#agent = this.#spawn('agent', agentMain, [
      ...['--host', 'h1', '--state', join(directory, 'agent'), '--socket', join(directory, 'agent.sock')],
      ...['--bpffs', `/sys/fs/bpf/${name}`, '--punt', 'bhFpunt', '--docker', 'none', '--log', 'warn'],
      ...(token === null ? [] : ['--token', token]),
    ]);
    await this.until('the agent', () => this.status().then(() => true));
  }

  /** kill -9, and returns when the process is gone. */
  async kill(which: 'manager' | 'agent'): Promise<void> {
    const child = which === 'manager' ? this.#manager : this.#agent;
    if (child === null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
    this.#children.delete(child);
  }

  /** A namespace, attached as a workload with labels; returns its address. */
  async attach(name: string, labels: Readonly<Record<string, string>>): Promise<string> {
    const namespace = `${this.name}-${name}`;
    this.#addNamespace(namespace);
    const path = `/run/netns/${namespace}`;
    const record = (await this.command('attach', { kind: 'netns', name, path, labels })) as { readonly ipv4: string };
    this.#addresses.set(name, record.ipv4);
    return record.ipv4;
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
      for (const port of ports) createServer((socket) => socket.pipe(socket)).listen(port, () => ++open === ports.length && console.log('open'));
      setInterval(() => undefined, 1000);`;
    const child = this.#inside(name, [process.execPath, '-e', script]);
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
    const body = { host: 'h1', labelsAllowed: null, forSeconds: 600 };
    return ((await this.api('POST', '/v1/enrolment-tokens', body)) as { readonly token: string }).token;
  }

  #spawn(what: string, script: string, args: readonly string[]): ChildProcess {
    const log = openSync(join(this.directory, `${what}.log`), 'a');
    const words = [`--net=/run/netns/${this.name}`, process.execPath, script, ...args];
    const child = spawn('nsenter', words, { stdio: ['ignore', log, log] });
    closeSync(log);
    this.#children.add(child);
    return child;
  }

  #inside(name: string, command: readonly string[]): ChildProcess {
    const child = spawn('nsenter', [`--net=/run/netns/${this.name}-${name}`, ...command], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.#children.add(child);
    return child;
  }

  #control(method: string, path: string, body?: unknown): Promise<unknown> {
    const socketPath = join(this.directory, 'agent.sock');
    return call((onResponse) => httpRequest({ socketPath, method, path, headers: headersOf(body) }, onResponse), body);
  }
}

type OnResponse = (response: IncomingMessage) => void;

function headersOf(body: unknown, more: Readonly<Record<string, string>> = {}): Record<string, string> {
  return body === undefined ? { ...more } : { ...more, 'content-type': 'application/json' };
}

/** The answer's JSON; rejects unless the status is 2xx. */
function call(begin: (onResponse: OnResponse) => ClientRequest, body: unknown): Promise<unknown> {
  const { promise, resolve, reject } = Promise.withResolvers<unknown>();
  const request = begin((response) => {
    let text = '';
    response.setEncoding('utf8');
    response.on('data', (part: string) => (text += part));
    response.on('end', () => {
      const isGood = (response.statusCode ?? 0) >= 200 && (response.statusCode ?? 0) < 300;
      if (isGood) resolve(JSON.parse(text));
      else reject(new Error(`${response.statusCode}: ${text}`));
    });
  });
  request.on('error', reject);
  request.end(body === undefined ? undefined : JSON.stringify(body));
  return promise;
}
