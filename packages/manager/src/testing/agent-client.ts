/** A real client of the link, for tests and measurements: makes its key and request, connects over mutual TLS, keeps what arrives. */
import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import { WebSocket } from 'ws';
import * as x509 from '@peculiar/x509';
import { decodeManagerMessage, encodeAgentMessage, managerServerName } from '@bulkhead/protocol';
import type { ConnectionOptions } from 'node:tls';
import type { ClientOptions } from 'ws';
import type { AgentMessage, ManagerMessage } from '@bulkhead/protocol';

const keyAlgorithm = { name: 'ECDSA', namedCurve: 'P-256' } as const;

export interface AgentKeys {
  readonly keyPem: string;
  /** PKCS#10, PEM. */
  readonly request: string;
}

export async function makeAgentKeys(name: string): Promise<AgentKeys> {
  x509.cryptoProvider.set(webcrypto as Crypto);
  const keys = (await webcrypto.subtle.generateKey(keyAlgorithm, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair;
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    name: `CN=${name}`,
    keys,
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
  });
  const keyPem = x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey), 'PRIVATE KEY');
  return { keyPem, request: request.toString('pem') };
}

export interface AgentCredentials {
  readonly certificatePem?: string;
  readonly keyPem?: string;
  readonly authorityPem: string;
}

type Body<Type extends ManagerMessage['type']> = Extract<ManagerMessage, { type: Type }>['body'];

/** How long a test waits for a message, milliseconds. */
const deadlineMs = 10_000;

export class AgentClient implements AsyncDisposable {
  readonly received: ManagerMessage[] = [];
  readonly #socket: WebSocket;
  readonly #waiting = new Set<() => void>();
  closed: { readonly code: number; readonly reason: string } | null = null;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.on('message', (data) => {
      const decoded = decodeManagerMessage(data as Buffer);
      if (decoded.kind === 'malformed') throw new Error(`${decoded.path}: ${decoded.reason}`);
      this.received.push(decoded.message);
      this.#wake();
    });
    socket.on('close', (code, reason) => {
      this.closed = { code, reason: reason.toString() };
      this.#wake();
    });
    socket.on('error', () => undefined);
  }

  /** Rejects when TLS or the manager refuses. */
  static connect(port: number, credentials: AgentCredentials): Promise<AgentClient> {
    const options: ClientOptions & ConnectionOptions = {
      ca: credentials.authorityPem,
      cert: credentials.certificatePem,
      key: credentials.keyPem,
      servername: managerServerName,
      perMessageDeflate: false,
    };
    const socket = new WebSocket(`wss://127.0.0.1:${port}/`, options);
    const client = new AgentClient(socket);
    const { promise, resolve, reject } = Promise.withResolvers<AgentClient>();
    socket.once('open', () => resolve(client));
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('closed before it was open')));
    socket.once('unexpected-response', (_request, response) => {
      let body = '';
      response.on('data', (chunk) => (body += String(chunk)));
      response.on('end', () => reject(new Error(`refused with ${response.statusCode}: ${body}`)));
    });
    return promise;
  }

  send(message: AgentMessage): void {
    this.sendBytes(encodeAgentMessage(message));
  }

  sendBytes(bytes: Uint8Array): void {
    this.#socket.send(bytes, { binary: true });
  }

  /** Stops reading, as a stuck agent would. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  hello(host: string, options: { readonly revision?: number; readonly boot?: string } = {}): void {
    const { revision = 0, boot = 'boot-1' } = options;
    this.send({ type: 'hello', body: { version: 1, host, boot, revision, kernel: 'test', software: 'test' } });
  }

  all<Type extends ManagerMessage['type']>(type: Type): Body<Type>[] {
    return this.received.flatMap((message) => (message.type === type ? [message.body as Body<Type>] : []));
  }

  /** The first message of the type, now or later, that `accept` takes. */
  async next<Type extends ManagerMessage['type']>(
    type: Type,
    accept: (body: Body<Type>) => boolean = () => true,
  ): Promise<Body<Type>> {
    let found: Body<Type> | undefined;
    await this.until(`a message ${type}`, () => (found = this.all(type).find(accept)) !== undefined);
    return found!;
  }

  async until(what: string, holds: () => boolean): Promise<void> {
    const deadline = Date.now() + deadlineMs;
    while (!holds()) {
      const leftMs = deadline - Date.now();
      if (leftMs <= 0) throw new Error(`waited ${deadlineMs} ms for ${what}; closed: ${JSON.stringify(this.closed)}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(done, leftMs);
        const waiting = this.#waiting;
        function done(): void {
          clearTimeout(timer);
          waiting.delete(done);
          resolve();
        }
        waiting.add(done);
      });
    }
  }

  untilClosed(): Promise<void> {
    return this.until('the end of the connection', () => this.closed !== null);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.closed !== null) return;
    this.#socket.close();
    await this.untilClosed();
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake();
  }
}
