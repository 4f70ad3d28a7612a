/** Trades a one-time token for a certificate. The token carries the hash of the authority to trust, so nothing is trusted on first use. */
import { createHash, X509Certificate } from 'node:crypto';
import { request } from 'node:https';
import { type EnrolmentToken, managerServerName } from '@bulkhead/protocol';
import { z } from 'zod';
import { newRequest } from './certificate-request.ts';
import { CredentialsError, writeCredentials, type Credentials } from './credentials.ts';

const timeoutMs = 10_000;
const responseBytesMax = 256 * 1024;

const authorityResponse = z.looseObject({ certificate: z.string() });
const enrolResponse = z.looseObject({
  certificate: z.string(),
  authorities: z.string(),
  linkPort: z.int().min(1).max(65_535),
});
const errorResponse = z.looseObject({ message: z.string() });

export interface EnrolOptions {
  readonly directory: string;
  /** Of the manager's API. */
  readonly managerHost: string;
  readonly managerPort: number;
  readonly token: EnrolmentToken;
  readonly host: string;
}

/** Throws CredentialsError with what to do about it. */
export async function enrol(options: EnrolOptions): Promise<Credentials> {
  const { token, host, directory, managerHost } = options;
  const shown = authorityResponse.parse(await call(options, 'GET', '/v1/authority', null, null));
  const authority = new X509Certificate(shown.certificate);
  const hash = createHash('sha256').update(new Uint8Array(authority.raw)).digest('hex');
  if (hash !== token.authority) {
    throw new CredentialsError(
      `${managerHost}:${options.managerPort} is not the manager that made the token: its authority is ${hash}`,
    );
  }
  const { keyPem, requestPem } = newRequest(host);
  const body = { host, token: { id: token.id, secret: token.secret }, request: requestPem };
  const issued = enrolResponse.parse(await call(options, 'POST', '/v1/enrol', body, shown.certificate));
  const credentials: Credentials = {
    host,
    keyPem,
    certificatePem: issued.certificate,
    authorityPem: issued.authorities,
    linkHost: managerHost,
    linkPort: issued.linkPort,
  };
  writeCredentials(directory, credentials);
  return credentials;
}

/** Without an authority the answer is only looked at, not believed. */
async function call(
  { managerHost, managerPort }: EnrolOptions,
  method: 'GET' | 'POST',
  path: string,
  body: unknown,
  authorityPem: string | null,
): Promise<unknown> {
  const text = body === null ? null : JSON.stringify(body);
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; text: string }>();
  const call = request(
    {
      host: managerHost,
      port: managerPort,
      method,
      path,
      timeout: timeoutMs,
      servername: managerServerName,
      minVersion: 'TLSv1.3',
      headers: text === null ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) },
      ...(authorityPem === null ? { rejectUnauthorized: false } : { ca: authorityPem }),
    },
    (response) => {
      let received = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        received += chunk;
        if (received.length > responseBytesMax) call.destroy(new Error('the answer is too long'));
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text: received }));
      response.on('error', reject);
    },
  );
  call.on('timeout', () => call.destroy(new Error(`no answer within ${timeoutMs} ms`)));
  call.on('error', reject);
  call.end(text ?? undefined);
  const where = `${method} https://${managerHost}:${managerPort}${path}`;
  const answer = await promise.catch((cause: unknown) => {
    throw new CredentialsError(`${where}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  });
  if (answer.status !== 200 && answer.status !== 201) {
    const message = errorText(answer.text);
    throw new CredentialsError(`${where}: refused (${answer.status}): ${message}`);
  }
  return JSON.parse(answer.text);
}

function errorText(text: string): string {
  try {
    const parsed: unknown = JSON.parse(text);
    const direct = errorResponse.safeParse(parsed);
    if (direct.success) return direct.data.message;
    const nested = z.looseObject({ error: errorResponse }).safeParse(parsed);
    return nested.success ? nested.data.error.message : text.slice(0, 500);
  } catch {
    return text.slice(0, 500);
  }
}
