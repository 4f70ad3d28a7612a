/** The one owner of the flow tables: takes requests in order, stores what has gathered in one commit, searches beside it. */
import { statSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { FlowDatabase } from './database.ts';
import { buffersOf } from './group.ts';
import { retentionPart, transactionFlowsMax } from './limits.ts';
import type {
  AppendRequest,
  GroupRequest,
  QueryRequest,
  RequestMessage,
  WorkerMessage,
  WorkerOptions,
} from './messages.ts';

const port = parentPort;
if (port === null) throw new Error('worker.ts runs as a worker');
const options = workerData as WorkerOptions;
const database = await FlowDatabase.open(options.path);

interface Waiting<Request> {
  readonly call: number;
  readonly request: Request;
}

const appends: Waiting<AppendRequest>[] = [];
let writing: Promise<void> = Promise.resolve();
let searching: Promise<void> = Promise.resolve();
let grouping: Promise<void> = Promise.resolve();

function send(message: WorkerMessage, transfer: readonly ArrayBuffer[] = []): void {
  port?.postMessage(message, [...transfer]);
}

function fail(call: number, error: unknown): void {
  send({ kind: 'failed', call, reason: error instanceof Error ? error.message : String(error) });
}

async function storeGathered(): Promise<void> {
  const taken: Waiting<AppendRequest>[] = [];
  let flows = 0;
  while (appends[0] !== undefined && (taken.length === 0 || flows + appends[0].request.rows <= transactionFlowsMax)) {
    flows += appends[0].request.rows;
    taken.push(appends.shift()!);
  }
  if (taken.length === 0) return;
  if (await store(taken)) return;
  // One of them cannot be stored: alone, the others can.
  for (const one of taken) await store([one], true);
}

/** False if it failed and may be tried in smaller parts. */
async function store(taken: readonly Waiting<AppendRequest>[], last = taken.length === 1): Promise<boolean> {
  try {
    const repeated = await database.append(taken.map(({ request }) => request));
    taken.forEach(({ call }, place) =>
      send({ kind: 'stored', call, repeated: repeated[place] === true, totals: database.totals }),
    );
    return true;
  } catch (error) {
    if (last) for (const { call } of taken) fail(call, error);
    return last;
  }
}

async function search({ call, request }: Waiting<QueryRequest>): Promise<void> {
  try {
    send({ kind: 'page', call, ...(await database.query(request)) });
  } catch (error) {
    fail(call, error);
  }
}

async function group({ call, request }: Waiting<GroupRequest>): Promise<void> {
  try {
    const grouped = await database.group(request);
    if (grouped === null) return send({ kind: 'too-many', call });
    send({ kind: 'groups', call, ...grouped }, buffersOf(grouped.flows));
  } catch (error) {
    fail(call, error);
  }
}

/** By age, then by size: the file counts as it is, so that a limit of the disk is not passed. */
async function retain(call: number): Promise<void> {
  try {
    await database.expire({ endedBeforeMs: Date.now() - options.retention.ageMsMax });
    if (
      statSync(options.path).size > options.retention.bytesMax &&
      (await database.usedBytes()) > options.retention.bytesMax * 0.9
    ) {
      await database.expire({ oldestPart: retentionPart });
      await database.usedBytes();
    }
    send({ kind: 'done', call, totals: database.totals });
  } catch (error) {
    fail(call, error);
  }
}

async function close(call: number): Promise<void> {
  await searching;
  await grouping;
  try {
    await database.close();
    send({ kind: 'done', call, totals: database.totals });
  } catch (error) {
    fail(call, error);
  }
  port?.close();
}

port.on('message', ({ call, request }: RequestMessage) => {
  switch (request.kind) {
    case 'append':
      database.learn(request.ends, request.texts);
      appends.push({ call, request });
      writing = writing.then(storeGathered);
      break;
    case 'query':
      searching = searching.then(() => search({ call, request }));
      break;
    case 'group':
      grouping = grouping.then(() => group({ call, request }));
      break;
    case 'retain':
      writing = writing.then(() => retain(call));
      break;
    case 'close':
      writing = writing.then(() => close(call));
      break;
  }
});
send({ kind: 'ready', nextNumber: await database.nextNumber(), totals: database.totals });
