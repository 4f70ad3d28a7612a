/**
 * The agent's own socket, for root on this host: HTTP over a Unix socket with mode 0600. Status, top, doctor, metrics, and the commands
 * of what attaches workloads.
 */
import { once } from 'node:events';
import { chmodSync, mkdirSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import type { Logger } from 'pino';
import { z } from 'zod';

const bodyBytesMax = 1024 * 1024;
const connectionsMax = 64;

export interface ControlOptions {
  readonly path: string;
  readonly log: Logger;
  /** Answers of `GET /v1/NAME`. */
  readonly views: Readonly<Record<string, () => unknown>>;
  readonly metrics: () => Promise<string>;
  /** `POST /v1/commands/NAME` with `{"argument": …}`. */
  readonly commands: () => ReadonlyMap<string, (argument: unknown) => Promise<unknown>>;
}

type Answer = { readonly status: number; readonly body: unknown };

const commandBody = z.strictObject({ argument: z.unknown().optional() });

export class ControlServer implements AsyncDisposable {
  readonly #options: ControlOptions;
  readonly #server: Server;

  private constructor(options: ControlOptions) {
    this.#options = options;
    this.#server = createServer((request, response) => void this.#serve(request, response));
    this.#server.maxConnections = connectionsMax;
  }

  /** Takes over a socket that nobody listens on; refuses one of a living agent. */
  static async listen(options: ControlOptions): Promise<ControlServer> {
    const { path } = options;
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    if (await isAnswered(path))
      throw new Error(`another agent listens on ${path}; stop it, or give this one another socket`);
    rmSync(path, { force: true });
    const control = new ControlServer(options);
    const before = process.umask(0o177);
    try {
      control.#server.listen(path);
      await once(control.#server, 'listening');
    } finally {
      process.umask(before);
    }
    chmodSync(path, 0o600);
    return control;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const [pathname = '/'] = (request.url ?? '/').split('?');
    try {
      if (request.method === 'GET' && pathname === '/metrics') {
        response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4' }).end(await this.#options.metrics());
        return;
      }
      const answer = await this.#answer(request, pathname);
      response.writeHead(answer.status, { 'content-type': 'application/json' }).end(`${JSON.stringify(answer.body)}\n`);
    } catch (error) {
      this.#options.log.warn({ error, pathname }, 'a request on the control socket failed');
      const message = error instanceof Error ? error.message : String(error);
      if (!response.headersSent) response.writeHead(500, { 'content-type': 'application/json' });
      response.end(`${JSON.stringify({ error: { message } })}\n`);
    }
  }

  async #answer(request: IncomingMessage, pathname: string): Promise<Answer> {
    const { views, commands } = this.#options;
    const name = pathname.startsWith('/v1/') ? pathname.slice('/v1/'.length) : '';
    if (request.method === 'GET' && Object.hasOwn(views, name)) return { status: 200, body: views[name]!() };
    const commandName = name.startsWith('commands/') ? name.slice('commands/'.length) : '';
    const command = request.method === 'POST' ? commands().get(commandName) : undefined;
    if (command === undefined) {
      const known = [
        ...Object.keys(views).map((view) => `GET /v1/${view}`),
        ...[...commands().keys()].map((each) => `POST /v1/commands/${each}`),
      ];
      return { status: 404, body: { error: { message: `there is no ${request.method} ${pathname}`, allowed: known } } };
    }
    const body = await readBody(request);
    if (body.kind === 'refused') return { status: 400, body: { error: { message: body.why } } };
    try {
      return { status: 200, body: { result: (await command(body.argument)) ?? null } };
    } catch (error) {
      // Wrong input or a conflict: what the command says of it is the answer.
      return { status: 422, body: { error: { message: messageOf(error) } } };
    }
  }
}

type Body = { readonly kind: 'read'; readonly argument: unknown } | { readonly kind: 'refused'; readonly why: string };

async function readBody(request: IncomingMessage): Promise<Body> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > bodyBytesMax) return { kind: 'refused', why: `the body has more than ${bodyBytesMax} bytes` };
    chunks.push(chunk);
  }
  const text = Buffer.concat(chunks).toString('utf8');
  try {
    const parsed = commandBody.safeParse(text === '' ? {} : JSON.parse(text));
    if (parsed.success) return { kind: 'read', argument: parsed.data.argument };
    return { kind: 'refused', why: z.prettifyError(parsed.error) };
  } catch (error) {
    return { kind: 'refused', why: `the body is no JSON: ${messageOf(error)}` };
  }
}

function messageOf(error: unknown): string {
  if (error instanceof z.ZodError) return z.prettifyError(error);
  return error instanceof Error ? error.message : String(error);
}

async function isAnswered(path: string): Promise<boolean> {
  const socket = connect(path);
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
