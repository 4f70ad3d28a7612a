/** The API's client over real TLS, for tests and measurements. */
import { request as httpsRequest } from 'node:https';
import { createApiClient, managerServerName } from '@bulkhead/protocol';
import type { IncomingMessage } from 'node:http';
import type { ApiClient, ApiTransport, TransportRequest } from '@bulkhead/protocol';

export interface ApiAddress {
  readonly port?: number;
  readonly socketPath?: string;
  readonly authorityPem: string;
  /** Null: no token. */
  readonly token: string | null;
}

export function apiClient(address: ApiAddress): ApiClient {
  return createApiClient(apiTransport(address));
}

interface ClosableTransport extends ApiTransport {
  stream(
    request: TransportRequest,
  ): Promise<{ readonly status: number; readonly lines: AsyncIterable<string>; readonly close: () => void }>;
}

export function apiTransport(address: ApiAddress): ClosableTransport {
  return {
    async request(request) {
      const response = await open(address, request);
      let body = '';
      for await (const chunk of response.setEncoding('utf8')) body += chunk;
      return { status: response.statusCode ?? 0, body };
    },
    async stream(request) {
      const response = await open(address, request);
      response.on('error', () => undefined);
      return { status: response.statusCode ?? 0, lines: linesOf(response), close: () => response.destroy() };
    },
  };
}

/** Leaving the loop ends the request; a stream that is cut shows as the end of its lines. */
async function* linesOf(response: IncomingMessage): AsyncGenerator<string> {
  let rest = '';
  try {
    for await (const chunk of response.setEncoding('utf8')) {
      const lines = `${rest}${chunk}`.split('\n');
      rest = lines.pop()!;
      yield* lines;
    }
    if (rest !== '') yield rest;
  } catch (error) {
    if ((error as { code?: string }).code !== 'ECONNRESET') throw error;
  } finally {
    response.destroy();
  }
}

/** One request with any bytes as body. */
export async function rawRequest(
  address: ApiAddress,
  request: {
    readonly method: string;
    readonly path: string;
    readonly body: string | Uint8Array | null;
    readonly contentType?: string;
  },
): Promise<{ readonly status: number; readonly body: string }> {
  const response = await open(address, request);
  let body = '';
  for await (const chunk of response.setEncoding('utf8')) body += chunk;
  return { status: response.statusCode ?? 0, body };
}

function open(
  address: ApiAddress,
  request: Omit<TransportRequest, 'body'> & {
    readonly body: string | Uint8Array | null;
    readonly contentType?: string;
  },
): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const sent = httpsRequest(
    {
      ...(address.socketPath === undefined
        ? { host: '127.0.0.1', port: address.port }
        : { socketPath: address.socketPath }),
      agent: false,
      ca: address.authorityPem,
      servername: managerServerName,
      method: request.method,
      path: request.path,
      headers: {
        ...(address.token === null ? {} : { authorization: `Bearer ${address.token}` }),
        ...(request.body === null ? {} : { 'content-type': request.contentType ?? 'application/json' }),
      },
    },
    resolve,
  );
  sent.on('error', reject);
  if (request.body !== null) sent.write(request.body);
  sent.end();
  return promise;
}
