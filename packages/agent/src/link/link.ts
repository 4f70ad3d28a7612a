/**
 * The agent's end of the link: connected for as long as it can be, with bounds on what waits to be sent. Says hello, takes messages,
 * hands them on; what must arrive comes from the journal and stays there until it is acknowledged.
 */
import type { ConnectionOptions } from 'node:tls';
import {
  decodeManagerMessage,
  encodeAgentMessage,
  frameBytesMax,
  linkVersion,
  managerServerName,
} from '@bulkhead/protocol';
import type { AgentMessage, QuestionMessage } from '@bulkhead/protocol';
import { WebSocket } from 'ws';
import { backoffMs } from './backoff.ts';
import type { LinkContext, ManagerLink, ManagerLinkFactory } from './manager-link.ts';
import { newRequest } from './certificate-request.ts';
import { renewalMs, writeCredentials, type Credentials } from './credentials.ts';

/** Unsent bytes above which questions are not handed over, and batches of the journal wait. */
const unsentBytesMax = 16 * 1024 * 1024;
/** Batches of the journal on their way at one time. */
const batchesInFlightMax = 32;
const handshakeTimeoutMs = 10_000;
/** The manager pings every 15 s: a silence of three of them is the end of the connection. */
const silenceMs = 45_000;
const renewalRetryMs = 60_000;

export interface LinkOptions {
  readonly credentials: Credentials;
  /** Where renewed credentials are written. */
  readonly directory: string;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly kernel: string;
  readonly software: string;
  /** Opens the connection; left out: a WebSocket over TLS. A simulation has its own network. */
  readonly openSocket?: (url: string, options: WebSocket.ClientOptions & ConnectionOptions) => WebSocket;
}

/** A link over mutual TLS with these credentials. */
export function tlsLink(options: LinkOptions): ManagerLinkFactory {
  return (context) => new Link({ ...options, ...context });
}

class Link implements ManagerLink {
  readonly #options: LinkOptions & LinkContext;
  #credentials: Credentials;
  #socket: WebSocket | null = null;
  #isReady = false;
  #isClosed = false;
  #attempt = 0;
  #isFull = false;
  #cancelRetry: (() => void) | undefined;
  #cancelSilence: (() => void) | undefined;
  #cancelRenewal: (() => void) | undefined;
  #renewing: { readonly keyPem: string } | null = null;
  #sentBatch = 0;
  readonly #inFlight = new Set<number>();
  #lastError = '';

  constructor(options: LinkOptions & LinkContext) {
    this.#options = options;
    this.#credentials = options.credentials;
    options.journal.onAppend(() => this.#pump());
    this.#scheduleRenewal();
    this.#connect();
  }

  get isReady(): boolean {
    return this.#isReady;
  }

  /** Why there is no connection, for people. */
  get lastError(): string {
    return this.#lastError;
  }

  /** False where there is no connection, or it is too slow to take more now. */
  send(message: AgentMessage): boolean {
    const socket = this.#socket;
    if (!this.#isReady || socket === null || socket.bufferedAmount > unsentBytesMax) return false;
    socket.send(encodeAgentMessage(message));
    return true;
  }

  ask(questions: readonly QuestionMessage[]): boolean {
    return this.send({ type: 'questions', body: { questions: [...questions] } });
  }

  /** Begins again with the whole desired state. */
  reconnectFull(): void {
    this.#isFull = true;
    this.#socket?.terminate();
  }

  [Symbol.dispose](): void {
    this.#isClosed = true;
    this.#cancelRetry?.();
    this.#cancelSilence?.();
    this.#cancelRenewal?.();
    this.#socket?.close(1001, 'the agent ends');
    this.#socket = null;
    this.#isReady = false;
  }

  #connect(): void {
    if (this.#isClosed) return;
    const { host, keyPem, certificatePem, authorityPem, linkHost, linkPort } = this.#credentials;
    const name = linkHost.includes(':') ? `[${linkHost}]` : linkHost;
    const options: WebSocket.ClientOptions & ConnectionOptions = {
      ca: authorityPem,
      cert: certificatePem,
      key: keyPem,
      servername: managerServerName,
      minVersion: 'TLSv1.3',
      handshakeTimeout: handshakeTimeoutMs,
      maxPayload: frameBytesMax,
      perMessageDeflate: false,
    };
    const { openSocket = (url, how) => new WebSocket(url, how) } = this.#options;
    const socket = openSocket(`wss://${name}:${linkPort}/`, options);
    this.#socket = socket;
    socket.on('open', () => {
      const { journal, kernel, software, revision } = this.#options;
      const from = this.#isFull ? 0 : revision();
      const hello = { version: linkVersion, host, boot: journal.id, revision: from, kernel, software } as const;
      socket.send(encodeAgentMessage({ type: 'hello', body: hello }));
      this.#watchSilence(socket);
    });
    socket.on('ping', () => this.#watchSilence(socket));
    socket.on('message', (data, isBinary) => this.#onFrame(socket, data as Buffer, isBinary));
    socket.on('error', (error) => (this.#lastError = error.message));
    socket.on('close', (code, reason) => this.#onClose(socket, code, String(reason)));
  }

  #onFrame(socket: WebSocket, data: Buffer, isBinary: boolean): void {
    if (socket !== this.#socket) return;
    const decoded = isBinary
      ? decodeManagerMessage(data)
      : ({ kind: 'malformed', path: 'frame', reason: 'text' } as const);
    if (decoded.kind === 'malformed') {
      this.#options.log.warn({ path: decoded.path, reason: decoded.reason }, 'the manager sent a malformed message');
      socket.close(1008, `${decoded.path}: ${decoded.reason}`.slice(0, 100));
      return;
    }
    const { message } = decoded;
    switch (message.type) {
      case 'welcome':
        return this.#onWelcome();
      case 'ack':
        return this.#onAcknowledged(message.body.batch);
      case 'certificate':
        return this.#onCertificate(message.body);
      case 'goodbye':
        this.#lastError = message.body.reason;
        this.#options.log.info({ reason: message.body.reason }, 'the manager ends the connection');
        return;
      case 'desired':
      case 'decisions':
      case 'enforcement':
      case 'adopt':
        return this.#options.handlers.onMessage(message);
    }
  }

  #onWelcome(): void {
    this.#isReady = true;
    this.#attempt = 0;
    this.#isFull = false;
    this.#lastError = '';
    this.#sentBatch = 0;
    this.#inFlight.clear();
    this.#options.log.info(
      { manager: `${this.#credentials.linkHost}:${this.#credentials.linkPort}` },
      'connected to the manager',
    );
    this.#options.handlers.onReady();
    this.#pump();
  }

  #onClose(socket: WebSocket, code: number, reason: string): void {
    if (socket !== this.#socket) return;
    const wasReady = this.#isReady;
    this.#socket = null;
    this.#isReady = false;
    this.#cancelSilence?.();
    if (wasReady) {
      this.#options.log.warn({ code, reason, error: this.#lastError }, 'the link to the manager is down');
      this.#options.handlers.onDown();
    }
    if (this.#isClosed) return;
    const { clock, random } = this.#options;
    this.#cancelRetry = clock.after(backoffMs(this.#attempt++, random()), () => this.#connect());
  }

  /** Sends what the journal has, in order, up to what may be unacknowledged. */
  #pump(): void {
    const { journal } = this.#options;
    const socket = this.#socket;
    if (!this.#isReady || socket === null) return;
    const room = batchesInFlightMax - this.#inFlight.size;
    if (room <= 0 || socket.bufferedAmount > unsentBytesMax) return;
    for (const { number, frame } of journal.after(this.#sentBatch, room)) {
      this.#sentBatch = number;
      this.#inFlight.add(number);
      socket.send(frame);
      if (socket.bufferedAmount > unsentBytesMax) return;
    }
  }

  #onAcknowledged(batch: number): void {
    this.#inFlight.delete(batch);
    this.#options.journal.acknowledge(batch);
    this.#pump();
  }

  #watchSilence(socket: WebSocket): void {
    this.#cancelSilence?.();
    this.#cancelSilence = this.#options.clock.after(silenceMs, () => socket.terminate());
  }

  #scheduleRenewal(): void {
    const { clock } = this.#options;
    const waitMs = Math.max(renewalMs(this.#credentials) - clock.nowMs(), 0);
    // Longer than a timer can be: looked at again.
    this.#cancelRenewal = clock.after(Math.min(waitMs, 2 ** 31 - 1), () => {
      if (renewalMs(this.#credentials) > clock.nowMs()) return this.#scheduleRenewal();
      this.#cancelRenewal = clock.after(renewalRetryMs, () => this.#scheduleRenewal());
      this.#renew();
    });
  }

  #renew(): void {
    const { keyPem, requestPem } = newRequest(this.#credentials.host);
    this.#renewing = { keyPem };
    this.send({ type: 'renew', body: { request: requestPem } });
  }

  #onCertificate({ certificate, authorities }: { readonly certificate: string; readonly authorities: string }): void {
    const { log, directory } = this.#options;
    if (this.#renewing === null) return;
    const renewed = {
      ...this.#credentials,
      keyPem: this.#renewing.keyPem,
      certificatePem: certificate,
      authorityPem: authorities,
    };
    this.#renewing = null;
    try {
      writeCredentials(directory, renewed);
    } catch (error) {
      log.error({ error }, 'the renewed certificate was not taken');
      return;
    }
    this.#credentials = renewed;
    this.#cancelRenewal?.();
    this.#scheduleRenewal();
    log.info('the certificate was renewed');
    this.#socket?.close(1000, 'again with the renewed certificate');
  }
}
