/**
 * The engine's plugin protocol: JSON over HTTP on a Unix socket. An error is a status 500 with its text in `Err`, which the engine
 * shows to whoever ran `docker run`. Requests are answered one after the other per name (network or endpoint), never all in one queue.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { chmod, mkdir, unlink } from 'node:fs/promises';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import type { Logger } from 'pino';
import { z } from 'zod';

/** A method: its argument is unchecked JSON. What it throws becomes `Err`. */
export type PluginMethod = (argument: unknown) => object | Promise<object>;
export type PluginMethods = ReadonlyMap<string, PluginMethod>;

/** What a method refuses, in words for whoever ran the engine's command. */
export class PluginError extends Error {
  override readonly name = 'PluginError';
}

const bodyBytesMax = 1024 * 1024;
const connectionsMax = 512;
const requestMs = 30_000;
const contentType = 'application/vnd.docker.plugins.v1.2+json';

export interface PluginServer extends AsyncDisposable {
  readonly socket: string;
}

/** Serves until disposed. Refuses to start where another process answers on the socket; a dead socket is replaced. */
export async function servePlugin(socket: string, methods: PluginMethods, log: Logger): Promise<PluginServer> {
  await mkdir(dirname(socket), { recursive: true });
  await removeDeadSocket(socket);
  const server = createServer((request, response) => void answer(request, response, methods, log));
  server.maxConnections = connectionsMax;
  server.requestTimeout = requestMs;
  await listen(server, socket);
  // Whoever may speak to a plugin may take networks down.
  await chmod(socket, 0o600);
  return {
    socket,
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** Wraps a schema and a function into a method; the error names the place in the request. */
export function method<Request>(
  schema: z.ZodType<Request>,
  run: (request: Request) => object | Promise<object>,
): PluginMethod {
  return (argument) => {
    const parsed = schema.safeParse(argument);
    if (parsed.success) return run(parsed.data);
    const issue = parsed.error.issues[0];
    throw new PluginError(`request: ${issue?.path.join('.') || '(whole)'}: ${issue?.message ?? 'not understood'}`);
  };
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  methods: PluginMethods,
  log: Logger,
): Promise<void> {
  const name = (request.url ?? '').split('?')[0] ?? '';
  const started = performance.now();
  let status = 200;
  let body: object;
  try {
    if (request.method !== 'POST') throw new PluginError('expected POST');
    const run = methods.get(name);
    if (run === undefined) status = 404;
    const text = await readBody(request);
    body = run === undefined ? { Err: `${name.slice(0, 100)} is not implemented` } : await run(parseBody(text));
  } catch (error) {
    status = 500;
    body = { Err: error instanceof Error ? error.message : String(error) };
    log.warn({ method: name, error: body }, 'refused a plugin request');
  }
  const ms = Math.round((performance.now() - started) * 10) / 10;
  log.debug({ method: name, status, ms }, 'answered a plugin request');
  response.writeHead(status, { 'content-type': contentType }).end(JSON.stringify(body));
}

function parseBody(text: string): unknown {
  if (text.trim() === '') return {};
  try {
    return JSON.parse(text) ?? {};
  } catch (cause) {
    throw new PluginError('request: not JSON', { cause });
  }
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > bodyBytesMax) throw new PluginError(`request: more than ${bodyBytesMax} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function listen(server: Server, socket: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(socket, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** A socket file that nobody answers on is the trace of a process that was killed. */
async function removeDeadSocket(socket: string): Promise<void> {
  const alive = await new Promise<boolean>((resolve) => {
    const probe = connect(socket);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', () => resolve(false));
  });
  if (alive) throw new Error(`${socket}: another process answers on it`);
  await unlink(socket).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
  });
}
