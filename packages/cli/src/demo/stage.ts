/** Everything the steps of the demo act on: an engine with the trading floor in it, a machine on the LAN, manager and agent. */
import { copyFile, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ApiClient } from '@bulkhead/protocol';
import { openContext } from '../client/connection.ts';
import { valueOf } from '../client/failure.ts';
import { readDocuments } from '../documents/read-documents.ts';
import { Machine } from '../local/machine.ts';
import { localPaths } from '../local/paths.ts';
import { run } from './command.ts';
import { startEngine, type Engine } from './engine.ts';
import { buildImages, createNetworks, documentsDirectory, readFloor, startContainers, type Report } from './floor.ts';
import { createOutside, type Outside } from './outside.ts';
import { until } from './witness.ts';

export interface Stage extends AsyncDisposable {
  readonly engine: Engine;
  readonly outside: Outside;
  readonly machine: Machine;
  /** The administrator's calls. */
  readonly api: ApiClient;
  /** Somebody else's, who may answer questions and nothing more. */
  readonly approver: ApiClient;
  readonly subnet: string;
  /** The probe, as an executable of this machine. */
  readonly probe: string;
  addressOf(container: string): string;
  /** Asks the person in front, or answers yes where nobody is. */
  ask(question: string): Promise<boolean>;
  killAgent(): Promise<void>;
  startAgent(): Promise<void>;
  /** Something that a later step needs of an earlier one. */
  remember(name: string, value: number): void;
  recall(name: string): number;
}

export interface StageOptions {
  readonly name: string;
  readonly ask: (question: string) => Promise<boolean>;
  /** Shows one long piece of the set-up while it goes on. */
  readonly during: <Value>(title: string, work: (report: Report) => Promise<Value>) => Promise<Value>;
}

const linkPort = 7443;
const apiPort = 7444;
const settledMs = 30_000;

export async function openStage(options: StageOptions): Promise<Stage> {
  const { during } = options;
  await using opened = new AsyncDisposableStack();
  const floor = await readFloor();
  const engine = opened.use(await during('a Docker engine of its own', () => startEngine({ name: options.name })));
  const outside = opened.use(await createOutside(engine));
  const directory = join('/var/tmp', `bulkhead-${options.name}`);
  const machine = createMachine(options.name, engine, directory);
  await forget(options.name, machine, directory);
  opened.defer(() => rm(directory, { recursive: true, force: true }));

  await during('images from busybox and PostgreSQL of this machine', (report) => buildImages(engine, report));
  const probe = await extractProbe(engine, directory);

  opened.defer(async () => void (await machine.stopManager()));
  await during('manager', () => machine.startManager());
  const api = await machine.api();
  opened.defer(() => removePins(options.name));
  opened.defer(async () => void (await machine.stopAgent()));
  await during('agent', () => machine.startAgent());
  const approver = await createApprover(machine, api, directory);

  await during('documents', () => applyDocuments(api));
  await during('containers', async (report) => {
    await createNetworks(engine, floor);
    await startContainers(engine, floor, report);
  });
  const names = Object.keys(floor.services);
  await during('every container governed, database ready', (report) => settle(engine, api, names, report));
  const addresses = await readAddresses(engine, names);
  const memory = new Map<string, number>();
  const owned = opened.move();
  return {
    ...{ engine, outside, machine, api, approver, probe },
    ask: options.ask,
    subnet: floor.networks['floor']!.ipam.config[0].subnet,
    addressOf: (container) => addresses.get(container)!,
    killAgent: () => machine.killAgent(),
    startAgent: async () => void (await machine.startAgent()),
    remember: (name, value) => void memory.set(name, value),
    recall: (name) => memory.get(name)!,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** What a demo of this name left behind that was killed: its processes first, then what they had. */
async function forget(name: string, machine: Machine, directory: string): Promise<void> {
  await machine.stopAgent();
  await machine.stopManager();
  await removePins(name);
  await rm(directory, { recursive: true, force: true });
}

function createMachine(name: string, engine: Engine, directory: string): Machine {
  const paths = localPaths(directory);
  return new Machine({
    paths,
    host: name,
    link: `127.0.0.1:${linkPort}`,
    api: `127.0.0.1:${apiPort}`,
    agentArguments: [
      ...['--bpffs', pinDirectory(name), '--docker', engine.socket],
      ...['--plugin', join(engine.pluginDirectory, 'bulkhead.sock')],
    ],
    // Both live in the engine's network namespace: its loopback is theirs, its links are the agent's.
    wrap: (command) => engine.inNetns(...command),
  });
}

const pinDirectory = (name: string): string => join('/sys/fs/bpf', `bulkhead-${name}`);

async function removePins(name: string): Promise<void> {
  await rm(pinDirectory(name), { recursive: true, force: true });
}

/** The visitor runs the probe too: the very file that the images have. */
async function extractProbe(engine: Engine, directory: string): Promise<string> {
  await mkdir(directory, { recursive: true, mode: 0o755 });
  const container = await engine.docker('create', 'trading-floor/base:1', 'true');
  await engine.docker('cp', `${container}:/usr/local/bin/probe`, join(directory, 'probe.copied'));
  await engine.docker('rm', container);
  const probe = join(directory, 'probe');
  await copyFile(join(directory, 'probe.copied'), probe);
  await run('chmod', ['755', probe]);
  return probe;
}

/** A second person, with a token of their own: whoever answers is not whoever wrote the rule. */
async function createApprover(machine: Machine, api: ApiClient, directory: string): Promise<ApiClient> {
  const made = valueOf(
    await api.createToken({ body: { name: 'alice', role: 'approver', scope: null, forSeconds: null } }),
  );
  const tokenFile = join(directory, 'approver.token');
  await writeFile(tokenFile, made.token, { mode: 0o600 });
  const { managerSocket, authorityFile } = machine.options.paths;
  const context = { name: 'approver', server: `unix://${managerSocket}`, tokenFile, caFile: authorityFile };
  return (await openContext(context, { environment: {}, signal: new AbortController().signal })).api;
}

async function applyDocuments(api: ApiClient): Promise<void> {
  const documents = await readDocuments([documentsDirectory]);
  const applied = valueOf(await api.applyDocuments({ body: { documents: [...documents] } }));
  const params = { revision: String(applied.revision) };
  const receipts = valueOf(await api.getReceipts({ params, query: { waitMs: settledMs } }));
  if (!receipts.complete) throw new Error(`revision ${applied.revision} is not enforced after ${settledMs} ms`);
}

/** The manager knows every container, the agent governs them, and PostgreSQL answers inside its own. */
async function settle(engine: Engine, api: ApiClient, names: readonly string[], report: Report): Promise<void> {
  const governed = await until(settledMs, async () => {
    const { items } = valueOf(await api.listWorkloads());
    const ready = names.filter((name) =>
      items.some((each) => each.name === name && each.governance === 'governed' && each.segments.length > 0),
    );
    report(`${ready.length} of ${names.length}`);
    return ready.length === names.length ? true : null;
  });
  if (governed === null) throw new Error(`not every container is governed after ${settledMs} ms`);
  const database = await until(settledMs, () =>
    engine.docker('exec', 'orders-db', 'test', '-e', '/tmp/ready').then(
      () => true,
      () => null,
    ),
  );
  if (database === null)
    throw new Error(`the database is not ready after ${settledMs} ms:\n${await engine.docker('logs', 'orders-db')}`);
}

async function readAddresses(engine: Engine, names: readonly string[]): Promise<ReadonlyMap<string, string>> {
  const format = '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}';
  const found = new Map<string, string>();
  for (const name of names) found.set(name, await engine.docker('inspect', '--format', format, name));
  return found;
}
