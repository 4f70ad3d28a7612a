/** Requests to a manager, always over TLS with its own authority: to an address, or through its Unix socket on the same machine. */
import type { ClientRequest, IncomingMessage } from 'node:http';
import { request as httpsRequest, type RequestOptions } from 'node:https';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { managerServerName, type ApiTransport, type TransportRequest } from '@bulkhead/protocol';
import { CommandFailure } from '../exit.ts';

export interface TransportOptions {
  /** `https://host:port` or `unix:///path`. */
  readonly server: string;
  readonly token: string | null;
  /** PEM of the manager's authority; null: the system's authorities, and the address' own name in the certificate. */
  readonly authority: string | null;
  /** Ends whatever is under way. */
  readonly signal?: AbortSignal;
}

/** Longest silence before an answer begins. Longer waits (receipts) have a limit of their own at the manager, below this. */
const silenceMs = 90_000;

export function createTransport(options: TransportOptions): ApiTransport {
  return {
    async request(request) {
      const response = await send(options, request);
      return { status: response.statusCode ?? 0, body: await read(options, () => text(response)) };
    },
    async stream(request) {
      const response = await send(options, request);
      return { status: response.statusCode ?? 0, lines: linesOf(options, response) };
    },
  };
}

/** The manager's clock, ms, to the second: from the date of an answer that needs no token. Null where the answer has none. */
export async function managerClock(options: TransportOptions): Promise<number | null> {
  const response = await send(options, { method: 'GET', path: '/healthz', body: null });
  response.resume();
  const { date } = response.headers;
  return date === undefined ? null : Date.parse(date);
}

async function* linesOf(options: TransportOptions, response: IncomingMessage): AsyncGenerator<string> {
  const lines = createInterface({ input: response, crlfDelay: Infinity })[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await lines.next().catch((error: unknown) => {
        throw ended(options, error);
      });
      if (next.done === true) break;
      yield next.value;
    }
    // readline ends quietly where the connection broke off.
    if (!response.complete && options.signal?.aborted !== true) throw ended(options, undefined);
  } finally {
    response.destroy();
  }
}

/** A stream that broke off: it began well, so what helps is something else than when there is no manager. */
function ended(options: TransportOptions, cause: unknown): unknown {
  if (options.signal?.aborted === true) return cause;
  return new CommandFailure('unreachable', `the manager at ${options.server} ended the stream`, {
    remedy: 'It was stopped, or this end was too slow for what came: begin again, and ask for less.',
    cause,
  });
}

async function read<Value>(options: TransportOptions, reading: () => Promise<Value>): Promise<Value> {
  try {
    return await reading();
  } catch (error) {
    throw unreachable(options, error);
  }
}

function send(options: TransportOptions, request: TransportRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const headers: Record<string, string> = { accept: 'application/json, application/x-ndjson' };
    if (options.token !== null) headers['authorization'] = `Bearer ${options.token}`;
    if (request.body !== null) {
      headers['content-type'] = 'application/json';
      headers['content-length'] = String(Buffer.byteLength(request.body));
    }
    const started = open(options, { method: request.method, path: request.path, headers, timeout: silenceMs });
    started.once('response', resolve);
    started.once('timeout', () => started.destroy(Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' })));
    started.on('error', (error) => reject(unreachable(options, error)));
    started.end(request.body ?? undefined);
  });
}

function open(options: TransportOptions, request: RequestOptions): ClientRequest {
  const { server, authority, signal } = options;
  // The manager's certificate carries a fixed name, since it is reached at many addresses; its own authority vouches for it.
  const trust = authority === null ? {} : { ca: authority, servername: managerServerName };
  const common: RequestOptions = {
    ...request,
    ...trust,
    minVersion: 'TLSv1.3',
    ...(signal === undefined ? {} : { signal }),
  };
  if (server.startsWith('unix://')) return httpsRequest({ ...common, socketPath: server.slice('unix://'.length) });
  const address = new URL(server);
  const port = address.port === '' ? 443 : Number(address.port);
  return httpsRequest({ ...common, host: address.hostname.replace(/^\[|\]$/g, ''), port });
}

const remedies: Readonly<Record<string, string>> = {
  ENOENT: 'No manager runs on this machine: start one with  bulkhead up, or name another with --context or --server.',
  ECONNREFUSED: 'Nothing listens there: start the manager with  bulkhead up, or check the address.',
  EACCES: "The manager's socket is for root: use sudo, or a token and https:// address of your own.",
  ENOTFOUND: 'The name of the manager is not known here: check the address.',
  ETIMEDOUT: 'It took too long: check address and firewall.',
  EPIPE:
    'It closed the connection before all was sent: it was stopped, or this is more than it takes at once. Send less.',
};

function unreachable(options: TransportOptions, error: unknown): Error {
  if (error instanceof CommandFailure) return error;
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'ABORT_ERR') return error as Error;
  const certificate = /CERT|SIGNATURE|ISSUER|ALTNAME/.test(code ?? '');
  const remedy = certificate
    ? "The certificate is not from the manager's authority: give that with --ca-file."
    : remedies[code ?? ''];
  return new CommandFailure('unreachable', `the manager at ${options.server} cannot be reached: ${message}`, {
    ...(remedy === undefined ? {} : { remedy }),
    cause: error,
  });
}
