/**
 * What a manager holds in memory: its real process with its usual options; hosts that are simulated here, each with a link of its own over
 * mutual TLS, report 10,000 workloads; documents are applied, and every host has told a receipt when the memory is read. No flows.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import process from 'node:process';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { enrollingLink, Journal, type ManagerLink, systemClock } from '@bulkhead/agent';
import type { WorkloadReport } from '@bulkhead/protocol';
import { pino } from 'pino';
import { managerCalls, type Call } from '../host/requests.ts';

const hosts = 10;
const workloadsPerHost = 1_000;
const applications = 200;
const rulesPerPolicy = 10;
const deadlineMs = 60_000;
const pollMs = 50;
/** After the last receipt, for what is still on its way to rest. */
const settleMs = 8_000;
const main = fileURLToPath(new URL('../../packages/manager/src/main.ts', import.meta.url));

export interface ManagerMemory {
  readonly megabytes: number;
  readonly about: string;
}

const appOf = (workload: number): string => `app-${workload % applications}`;

function report(host: string, place: number): WorkloadReport {
  const workload = `${host}/docker/${place.toString(16).padStart(64, '0')}`;
  return {
    workload,
    name: `${appOf(place)}-${place}`,
    engine: 'docker',
    labels: { app: appOf(place), team: `team-${place % 20}`, instance: `${host}-${place}`, fleet: 'bench' },
    image: `registry.example/${appOf(place)}:1.${place % 7}`,
    imageDigest: `sha256:${(place % applications).toString(16).padStart(64, 'a')}`,
    isolationClass: 'runc',
    boundary: 'none',
    generation: 1,
    endpoints: [
      {
        endpoint: place.toString(16).padStart(64, 'e'),
        network: 'app',
        mac: '02:42:0a:00:00:02',
        addresses: [`10.${hosts + (place >> 8)}.${Number(host.slice(1))}.${place % 256}`],
      },
    ],
    governance: 'governed',
    ungovernedBecause: null,
    startedMs: 1_700_000_000_000,
  };
}

function documents(): readonly unknown[] {
  const apiVersion = 'bulkhead.dev/v1';
  const all = Array.from({ length: applications }, (_, application) => application);
  const rule = (application: number, place: number): unknown => ({
    name: `rule-${place}`,
    action: 'allow',
    from: { segment: appOf(application) },
    to: { segment: appOf(application + place + 1) },
    ports: [{ protocol: 'tcp', port: 1000 + place }],
  });
  const policies = all.map((application) => ({
    apiVersion,
    kind: 'Policy',
    metadata: { name: `from-${appOf(application)}` },
    spec: {
      tier: 'application',
      rules: Array.from({ length: rulesPerPolicy }, (_, place) => rule(application, place)),
    },
  }));
  const segments = all.map((application) => ({
    apiVersion,
    kind: 'Segment',
    metadata: { name: appOf(application) },
    spec: { selector: { matchLabels: { app: appOf(application) } } },
  }));
  return [...segments, ...policies];
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { readonly port: number };
  server.close();
  await once(server, 'close');
  return port;
}

async function until(what: string, check: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + deadlineMs;
  let last: unknown = 'it did not come';
  while (Date.now() < deadline) {
    try {
      if (await check()) return;
    } catch (error) {
      last = error;
    }
    await delay(pollMs);
  }
  throw new Error(`not within ${deadlineMs} ms: ${what}: ${String(last)}`, { cause: last });
}

/** A host without a kernel: reports its workloads and says of every revision that it is enforced. */
function simulateHost(directory: string, host: string, apiPort: number, token: string): ManagerLink & Disposable {
  mkdirSync(directory, { recursive: true });
  const journal = new Journal(':memory:');
  let revision = 0;
  const set = Array.from({ length: workloadsPerHost }, (_, place) => report(host, place));
  const factory = enrollingLink({
    ...{ host, directory, managerHost: '127.0.0.1', managerPort: apiPort, linkAddress: null },
    ...{ token, tokenFile: null, random: Math.random, kernel: 'simulated', software: 'bench' },
  });
  const link: ManagerLink = factory({
    ...{ journal, clock: systemClock, log: pino({ level: 'silent' }) },
    revision: () => revision,
    handlers: {
      onReady: () => void link.send({ type: 'workloads', body: { full: true, set, removed: [] } }),
      onDown: () => undefined,
      onMessage: (message) => {
        if (message.type !== 'desired' || message.body.more) return;
        revision = message.body.revision;
        const counts = { endpoints: workloadsPerHost, rows: workloadsPerHost };
        const times = { enforcedMs: 1, atMs: Date.now() };
        link.send({ type: 'receipt', body: { revision, ...times, ...counts, failed: [], auditHead: null } });
      },
    },
  });
  return link;
}

async function applied(api: Call): Promise<void> {
  const body = { documents: documents().map((value) => ({ value })) };
  const { revision } = (await api('POST', '/v1/documents', body)) as { readonly revision: number };
  await until('every host enforces the documents', async () => {
    const answer = (await api('GET', `/v1/revisions/${revision}/receipts?waitMs=1000`)) as {
      readonly complete: boolean;
      readonly hosts: readonly unknown[];
    };
    return answer.complete && answer.hosts.length === hosts;
  });
}

function residentMegabytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return (Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)![1]) * 1024) / 1e6;
}

/** Ends the process; its directory can be removed then. */
async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGTERM');
  await gone;
}

export async function measureManagerMemory(): Promise<ManagerMemory> {
  await using started = new AsyncDisposableStack();
  const directory = mkdtempSync(path.join(tmpdir(), 'bhbench-manager-'));
  started.defer(() => rmSync(directory, { recursive: true, force: true }));
  const [apiPort, linkPort] = [await freePort(), await freePort()];
  const data = path.join(directory, 'data');
  const socket = path.join(directory, 'api.sock');
  const listening = ['--api', `127.0.0.1:${apiPort}`, '--link', `127.0.0.1:${linkPort}`, '--socket', socket];
  const log = openSync(path.join(directory, 'manager.log'), 'a');
  const child = spawn(process.execPath, [main, '--data', data, ...listening, '--log', 'warn'], {
    stdio: ['ignore', log, log],
  });
  started.defer(() => end(child));
  let api: Call = () => Promise.reject(new Error('the manager has not begun'));
  await until('the manager', async () => {
    const read = (name: string): Buffer => readFileSync(path.join(data, name));
    api = managerCalls(socket, read('ca.pem'), read('admin.token').toString().trim());
    return (await api('GET', '/v1/status')) !== null;
  });
  for (let place = 0; place < hosts; place++) {
    const host = `h${place}`;
    const wish = { host, labelsAllowed: null, forSeconds: 600 };
    const { token } = (await api('POST', '/v1/enrolment-tokens', wish)) as { readonly token: string };
    started.use(simulateHost(path.join(directory, host), host, apiPort, token));
  }
  const workloads = async (): Promise<number> =>
    ((await api('GET', '/v1/status')) as { readonly workloads: number }).workloads;
  await until('the inventory', async () => (await workloads()) === hosts * workloadsPerHost);
  await applied(api);
  await delay(settleMs);
  const about = `${await workloads()} workloads of ${hosts} hosts, ${applications} segments, ${applications * rulesPerPolicy} rules`;
  return { megabytes: residentMegabytes(child.pid!), about };
}
