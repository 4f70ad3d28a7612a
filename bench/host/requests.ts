/** JSON over the manager's API (TLS over its socket file) and the agent's control socket, with connections that are kept. */
import { Agent as HttpAgent, request as httpRequest, type ClientRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';

const connectionsMax = 8;
const managerServerName = 'manager.bulkhead';

export type Call = (method: string, path: string, body?: unknown) => Promise<unknown>;

/** What was asked was refused; the text of the answer says why. */
export class RequestError extends Error {
  override readonly name = 'RequestError';
  readonly status: number;

  constructor(what: string, status: number, text: string) {
    super(`${what}: ${status}: ${text.slice(0, 1000)}`);
    this.status = status;
  }
}

export function controlCalls(socketPath: string): Call {
  const agent = new HttpAgent({ keepAlive: true, maxSockets: connectionsMax });
  return (method, path, body) =>
    call((onResponse) => httpRequest({ agent, socketPath, method, path, headers: headersOf(body) }, onResponse), {
      what: `${method} ${path}`,
      body,
    });
}

export function managerCalls(socketPath: string, ca: Buffer, token: string): Call {
  const agent = new HttpsAgent({ keepAlive: true, maxSockets: connectionsMax, ca, servername: managerServerName });
  return (method, path, body) => {
    const headers = { ...headersOf(body), authorization: `Bearer ${token}` };
    return call((onResponse) => httpsRequest({ agent, socketPath, method, path, headers }, onResponse), {
      what: `${method} ${path}`,
      body,
    });
  };
}

function headersOf(body: unknown): Record<string, string> {
  return body === undefined ? {} : { 'content-type': 'application/json' };
}

type OnResponse = (response: IncomingMessage) => void;

/** The answer's JSON, or its text where it is none; rejects with RequestError unless the status is 2xx. */
function call(
  begin: (onResponse: OnResponse) => ClientRequest,
  { what, body }: { readonly what: string; readonly body: unknown },
): Promise<unknown> {
  const { promise, resolve, reject } = Promise.withResolvers<unknown>();
  const request = begin((response) => {
    let text = '';
    response.setEncoding('utf8');
    response.on('data', (part: string) => (text += part));
    response.on('error', reject);
    response.on('end', () => {
      const status = response.statusCode ?? 0;
      const isJson = response.headers['content-type']?.startsWith('application/json') === true;
      if (status >= 200 && status < 300) resolve(isJson ? JSON.parse(text) : text);
      else reject(new RequestError(what, status, text));
    });
  });
  request.on('error', (error: NodeJS.ErrnoException) => {
    // The server ended a kept connection as it was taken again: nothing was asked yet.
    if (request.reusedSocket && error.code === 'ECONNRESET') resolve(call(begin, { what, body }));
    else reject(error);
  });
  request.end(body === undefined ? undefined : JSON.stringify(body));
  return promise;
}
