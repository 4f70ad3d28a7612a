/** One request and its whole answer, to a process that listens on a file or a port. */
import type { ClientRequest, IncomingMessage } from 'node:http';

type OnResponse = (response: IncomingMessage) => void;

export function headersOf(body: unknown, more: Readonly<Record<string, string>> = {}): Record<string, string> {
  return body === undefined ? { ...more } : { ...more, 'content-type': 'application/json' };
}

/** The answer's JSON; rejects unless the status is 2xx. */
export function call(begin: (onResponse: OnResponse) => ClientRequest, body: unknown): Promise<unknown> {
  const { promise, resolve, reject } = Promise.withResolvers<unknown>();
  const request = begin((response) => {
    let text = '';
    response.setEncoding('utf8');
    response.on('data', (part: string) => (text += part));
    response.on('end', () => {
      const isGood = (response.statusCode ?? 0) >= 200 && (response.statusCode ?? 0) < 300;
      const isJson = response.headers['content-type']?.startsWith('application/json') === true;
      if (isGood) resolve(isJson ? JSON.parse(text) : text);
      else reject(new Error(`${response.statusCode}: ${text}`));
    });
  });
  request.on('error', reject);
  request.end(body === undefined ? undefined : JSON.stringify(body));
  return promise;
}
