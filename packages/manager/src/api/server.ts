/**
 * The REST API over TLS, on loopback TCP and on a socket file (which reaches across network namespaces). Every route comes from the
 * table; what is not in it does not exist, but for /healthz, /metrics and the table's own description.
 */
import { once } from 'node:events';
import { chmodSync, rmSync } from 'node:fs';
import { createServer } from 'node:https';
import { fastify } from 'fastify';
import { z } from 'zod';
import { apiRoutes, openApiDocument, pathText, statusOfCode } from '@bulkhead/protocol';
import { AnalysisError } from '../analysis/analysis.ts';
import { FlowStoreError } from '../flows/flow-store.ts';
import { BusyError } from '../store/committer.ts';
import { AccessControl } from './access.ts';
import { failure } from './handler.ts';
import { handlers } from './handlers.ts';
import { ReaderGoneError, sendLines, sendSource } from './line-stream.ts';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Server as HttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Route, RouteName } from '@bulkhead/protocol';
import type { TlsMaterial } from '../link/server.ts';
import type { Failure, HandlerRequest, LineSource, LineStream } from './handler.ts';
import type { ApiServices } from './services.ts';

/** Largest body, bytes: of what takes documents, and of everything else. */
const documentsBodyMax = 24 * 1024 * 1024;
const bodyMax = 256 * 1024;
const connectionsMax = 2000;
const requestTimeoutMs = 120_000;

export interface ApiOptions {
  readonly services: ApiServices;
  readonly tls: TlsMaterial;
  readonly address: string;
  readonly port: number;
  /** Path of the socket file, null for none. */
  readonly socketPath: string | null;
  readonly metrics: () => Promise<{ readonly contentType: string; readonly text: string }>;
}

export class ApiServer implements AsyncDisposable {
  readonly #app: FastifyInstance;
  readonly #servers: HttpsServer[] = [];
  readonly #options: ApiOptions;

  private constructor(options: ApiOptions) {
    this.#options = options;
    this.#app = buildApp(options, (handler) => this.#newServer(handler) as unknown as Server);
  }

  static async listen(options: ApiOptions): Promise<ApiServer> {
    const api = new ApiServer(options);
    await api.#app.listen({ port: options.port, host: options.address });
    if (options.socketPath !== null) {
      // The directory's lock keeps other managers out, so a file that is there is left over.
      rmSync(options.socketPath, { force: true });
      const server = api.#newServer((request, response) => api.#app.routing(request, response));
      server.listen(options.socketPath);
      await once(server, 'listening');
      chmodSync(options.socketPath, 0o600);
    }
    return api;
  }

  get port(): number {
    return (this.#servers[0]!.address() as AddressInfo).port;
  }

  /** New connections get the new certificate. */
  setTls(tls: TlsMaterial): void {
    for (const server of this.#servers) server.setSecureContext(secureContext(tls));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = this.#servers.map((server) => (server.listening ? once(server, 'close') : null));
    for (const server of this.#servers) {
      server.close();
      server.closeAllConnections();
    }
    await Promise.all(closed);
    await this.#app.close();
    if (this.#options.socketPath !== null) rmSync(this.#options.socketPath, { force: true });
  }

  #newServer(handler: (request: IncomingMessage, response: ServerResponse) => void): HttpsServer {
    const server = createServer({ ...secureContext(this.#options.tls), requestTimeout: requestTimeoutMs }, handler);
    server.maxConnections = connectionsMax;
    this.#servers.push(server);
    return server;
  }
}

function secureContext(tls: TlsMaterial) {
  return { cert: tls.certificatePem + tls.authorityPem, key: tls.keyPem, minVersion: 'TLSv1.3' as const };
}

function buildApp(
  options: ApiOptions,
  serverFactory: (handler: (request: IncomingMessage, response: ServerResponse) => void) => Server,
): FastifyInstance {
  const { services } = options;
  const app = fastify({ serverFactory, bodyLimit: bodyMax, logger: false, routerOptions: { maxParamLength: 1000 } });
  const access = new AccessControl(services.people, services.audit, services.auditLimit);
  app.setNotFoundHandler((request, reply) => {
    const error = {
      why: `${request.method} ${request.url.slice(0, 200)} is not in the table of routes.`,
      do: 'See /v1/openapi.json.',
    };
    send(reply, failure('not-found', 'There is no such route.', error));
  });
  app.setErrorHandler((error, _request, reply) => send(reply, failureOf(error, services)));
  for (const [name, route] of Object.entries<Route>(apiRoutes)) {
    app.route({
      method: route.method,
      url: route.path,
      bodyLimit: takesDocuments(route) ? documentsBodyMax : bodyMax,
      // Before the body is read: nobody without a token makes the manager read one.
      onRequest: async (request, reply) => {
        const granted = await access.check(route, request.headers.authorization, remoteAddress(request));
        if (granted.kind === 'error') return send(reply, granted);
        grants.set(request, granted);
      },
      handler: (request, reply) => handle(services, name as RouteName, route, request, reply),
    });
  }
  const description = openApiDocument(services.software);
  app.get('/v1/openapi.json', () => description);
  app.get('/healthz', () => ({ ok: true }));
  app.get('/metrics', async (request, reply) => {
    const route = { method: 'GET', path: '/metrics', permission: 'read', reach: 'cluster' } as const;
    const granted = await access.check(route, request.headers.authorization, remoteAddress(request));
    if (granted.kind === 'error') return send(reply, granted);
    const { contentType, text } = await options.metrics();
    return reply.type(contentType).send(text);
  });
  return app;
}

function takesDocuments({ body }: Route): boolean {
  return body instanceof z.ZodObject && 'documents' in body.shape;
}

type AnyHandler = (
  services: ApiServices,
  request: HandlerRequest<RouteName>,
) => Promise<Failure | LineStream | LineSource | { readonly kind: 'ok'; readonly value: unknown }>;

type Granted = Exclude<Awaited<ReturnType<AccessControl['check']>>, Failure>;
const grants = new WeakMap<FastifyRequest, Granted>();

async function handle(
  services: ApiServices,
  name: RouteName,
  route: Route,
  request: FastifyRequest,
  reply: FastifyReply,
) {
  const granted = grants.get(request);
  if (granted === undefined) throw new Error(`${route.path} was reached without a check of access.`);
  const parts = parse(route, request);
  if (parts.kind === 'error') return send(reply, parts);
  const gone = new AbortController();
  reply.raw.once('close', () => gone.abort());
  // One call for all routes: the request was parsed by the schemas of the very route that the handler is of.
  const handler = handlers[name] as AnyHandler;
  const { actor, by, token } = granted;
  const result = await handler(services, {
    actor,
    by,
    token,
    signal: gone.signal,
    address: remoteAddress(request),
    ...parts.value,
  } as HandlerRequest<RouteName>);
  if (result.kind === 'error') return send(reply, result);
  const mayRead = () => token === null || services.people.isValid(token.id);
  if (result.kind === 'stream') return sendLines(reply, result, mayRead);
  if (result.kind === 'source') {
    return sendSource(reply, result, mayRead).catch((error: unknown) => {
      if (!(error instanceof ReaderGoneError)) services.logger.error({ error, route: route.path }, 'stream failed');
    });
  }
  return reply.send(result.value);
}

type Parts = { readonly kind: 'parts'; readonly value: Record<'params' | 'query' | 'body', unknown> };

function parse(route: Route, request: FastifyRequest): Parts | Failure {
  const value: Record<string, unknown> = {};
  for (const part of ['params', 'query', 'body'] as const) {
    const schema: z.ZodType | undefined = route[part];
    if (schema === undefined) continue;
    const parsed = schema.safeParse(request[part] ?? {});
    if (!parsed.success) {
      const issue = parsed.error.issues[0];
      return failure('malformed', 'The request is not as the route wants it.', {
        where: pathText(part, issue?.path ?? []),
        why: issue?.message ?? 'It does not match the schema.',
        do: 'See /v1/openapi.json.',
      });
    }
    value[part] = parsed.data;
  }
  return { kind: 'parts', value: value as Parts['value'] };
}

function send(reply: FastifyReply, { error }: Failure) {
  return reply.code(statusOfCode[error.code]).send({ error });
}

function failureOf(error: unknown, services: ApiServices): Failure {
  const { statusCode, message } = error as { readonly statusCode?: number; readonly message?: string };
  if (error instanceof BusyError || error instanceof FlowStoreError) {
    return failure('busy', 'The manager is busy.', { why: error.message, do: 'Try again in a moment.' });
  }
  if (error instanceof AnalysisError) return analysisFailure(error);
  if (statusCode === 413) {
    return failure('too-large', 'The body is too large.', {
      where: 'body',
      why: message ?? '',
      do: 'Send less at once.',
    });
  }
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500) {
    return failure('malformed', 'The request cannot be read.', {
      where: 'body',
      why: message ?? '',
      do: 'Send JSON, as application/json.',
    });
  }
  services.logger.error({ error }, 'request failed');
  return failure('internal', 'The manager could not do it.', {
    why: 'A fault that its log tells of.',
    do: 'Nothing is half done. Try again, and look at the log of the manager.',
  });
}

function analysisFailure({ kind, message }: AnalysisError): Failure {
  switch (kind) {
    case 'busy':
      return failure('busy', 'The manager is busy.', { why: message, do: 'Try again in a moment.' });
    case 'too-long':
    case 'too-large':
      return failure('too-large', 'This is too much for one analysis.', {
        why: message,
        do: 'Ask for less at once: fewer documents, a shorter time, one segment.',
      });
    case 'failed':
      return failure('internal', 'The analysis failed.', { why: message, do: 'Look at the log of the manager.' });
  }
}

function remoteAddress(request: FastifyRequest): string {
  return request.socket.remoteAddress ?? 'socket file';
}
