/**
 * The agents' side of the manager: WebSockets over mutual TLS 1.3 on a port of their own. The certificate says which host speaks; the
 * ledger says whether it still may, at every connect and while connected.
 */
import { createServer } from 'node:https';
import { once } from 'node:events';
import { WebSocketServer } from 'ws';
import { encodeManagerMessage, frameBytesMax, hostOfSpiffeId } from '@bulkhead/protocol';
import { Connection } from './connection.ts';
import { desiredMessages } from './desired.ts';
import type { Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import type { AuditHead } from '@bulkhead/protocol';
import type { DesiredFrames } from './connection.ts';
import type { LinkServices } from './services.ts';
import type { State } from '../store/state.ts';
import type { Unsubscribe } from '../services.ts';

/** Most connections at once, of whatever state. */
export const connectionsMax = 20_000;
/** Most connections of one host: its present one, and those that it left behind without a word. The oldest goes. */
export const connectionsPerHostMax = 4;
/** How long a TLS handshake may take, and the request that makes a WebSocket of it. */
const handshakeTimeoutMs = 20_000;
const upgradeTimeoutMs = 10_000;
/** How long connections may take to say goodbye when the manager ends. */
const closeTimeoutMs = 2000;

export interface TlsMaterial {
  readonly certificatePem: string;
  readonly keyPem: string;
  readonly authorityPem: string;
}

export interface LinkOptions {
  readonly services: LinkServices;
  readonly tls: TlsMaterial;
  readonly address: string;
  readonly port: number;
  readonly auditHead: () => AuditHead | null;
}

export type Admission =
  | { readonly kind: 'admitted'; readonly host: string; readonly notAfterMs: number }
  | { readonly kind: 'refused'; readonly why: string; readonly host: string | null };

export class LinkServer implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new WebSocketServer({ noServer: true, maxPayload: frameBytesMax, perMessageDeflate: false });
  readonly #options: LinkOptions;
  /** By host: the connections whose hello was accepted. */
  readonly #ready = new Map<string, Connection>();
  readonly #all = new Set<Connection>();
  readonly #frames = new Map<number, DesiredFrames>();
  readonly #unsubscribe: Unsubscribe[] = [];
  #deliveryScheduled = false;

  private constructor(options: LinkOptions) {
    this.#options = options;
    this.#server = createServer({
      ...secureContext(options.tls),
      requestCert: true,
      rejectUnauthorized: true,
      minVersion: 'TLSv1.3',
      handshakeTimeout: handshakeTimeoutMs,
      headersTimeout: upgradeTimeoutMs,
      requestTimeout: upgradeTimeoutMs,
      connectionsCheckingInterval: upgradeTimeoutMs / 2,
    });
    this.#server.maxConnections = connectionsMax;
    this.#server.on('upgrade', (request, socket, head) => this.#onUpgrade(request, socket, head));
    this.#server.on('request', (_request, response) => response.writeHead(426, { connection: 'close' }).end());
    this.#server.on('tlsClientError', (error) => {
      options.services.logger.info({ error: error.message }, 'link handshake refused');
    });
  }

  static async listen(options: LinkOptions): Promise<LinkServer> {
    const link = new LinkServer(options);
    link.#server.listen(options.port, options.address);
    await once(link.#server, 'listening');
    const { committer, questions } = options.services;
    link.#unsubscribe.push(
      committer.onCommit((_sequence, batch) => link.#onCommit(batch.commands)),
      questions.onDecision((host, decisions) => link.#ready.get(host)?.decide(decisions)),
    );
    return link;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get connected(): number {
    return this.#ready.size;
  }

  /** New connections get the new certificate; the present ones stay. */
  setTls(tls: TlsMaterial): void {
    this.#server.setSecureContext(secureContext(tls));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const connection of this.#all) connection.goodbye('the manager ends', 'again');
    const timer = setTimeout(() => this.#cutAll(), closeTimeoutMs);
    await closed;
    clearTimeout(timer);
  }

  #cutAll(): void {
    for (const connection of this.#all) connection.cut();
    this.#server.closeAllConnections();
  }

  #onUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const { committer, nowMs } = this.#options.services;
    const admission = admit(request.socket as TLSSocket, committer.state, nowMs());
    if (admission.kind === 'refused') {
      this.#options.services.logger.warn({ why: admission.why }, 'link refused');
      const { audit, auditLimit } = this.#options.services;
      if (auditLimit.count(`link ${admission.host ?? ''}`).tell) {
        void audit.record({
          actor: admission.host === null ? 'nobody' : `host/${admission.host}`,
          action: 'link.refused',
          subject: admission.host ?? '',
          details: { why: admission.why },
        });
      }
      socket.end(
        `HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-length: ${admission.why.length}\r\n\r\n${admission.why}`,
      );
      return;
    }
    this.#sockets.handleUpgrade(request, socket, head, (webSocket) => {
      const connection = new Connection({
        host: admission.host,
        notAfterMs: admission.notAfterMs,
        socket: webSocket,
        services: this.#options.services,
        desired: (from) => this.#desired(from),
        onReady: (ready) => this.#onReady(ready),
        onClose: (closed) => this.#onClose(closed),
      });
      this.#all.add(connection);
      // In the order in which they came. The one that is ready stays: a stranger to it must not end it by knocking.
      const unready = [...this.#all].filter((other) => other.host === connection.host && !other.ready);
      for (const other of unready.slice(0, 1 - connectionsPerHostMax)) other.cut();
    });
  }

  #onReady(connection: Connection): void {
    const before = this.#ready.get(connection.host);
    this.#ready.set(connection.host, connection);
    before?.goodbye('the host has connected again', 'again');
  }

  #onClose(connection: Connection): void {
    this.#all.delete(connection);
    if (this.#ready.get(connection.host) !== connection) return;
    this.#ready.delete(connection.host);
    this.#options.services.presence.disconnected(connection.host);
  }

  #onCommit(commands: Parameters<Parameters<LinkServices['committer']['onCommit']>[0]>[1]['commands']): void {
    for (const command of commands) {
      if (command.kind === 'host-revoked' || command.kind === 'host-enrolled') {
        // Its certificates from before do not count any more.
        for (const connection of this.#all) if (connection.host === command.host) connection.cut();
      } else if (command.kind === 'enforcement') {
        for (const connection of this.#ready.values())
          connection.send({ type: 'enforcement', body: { on: command.on } });
      } else if (command.kind === 'adoption') {
        const { workload, mode } = command;
        const host = workload.slice(0, workload.indexOf('/'));
        this.#ready.get(host)?.send({ type: 'adopt', body: { workload, mode } });
      }
    }
    if (this.#deliveryScheduled) return;
    this.#deliveryScheduled = true;
    // Batches that commit together go out together.
    setImmediate(() => {
      this.#deliveryScheduled = false;
      for (const connection of this.#ready.values()) connection.deliver();
    });
  }

  #desired(from: number): DesiredFrames {
    const { state } = this.#options.services.committer;
    const known = this.#frames.get(from);
    if (known !== undefined && known.revision === state.desiredRevision) return known;
    // Another revision: what was encoded for the one before is of no use any more.
    if (this.#frames.values().next().value?.revision !== state.desiredRevision) this.#frames.clear();
    const messages = desiredMessages(state, from, this.#options.auditHead());
    const frames = messages.map((body) => encodeManagerMessage({ type: 'desired', body }));
    const result = { revision: state.desiredRevision, frames };
    this.#frames.set(from, result);
    return result;
  }
}

/** Whether the peer's certificate, valid for TLS, is one that its host holds now. */
function admit(socket: TLSSocket, state: State, nowMs: number): Admission {
  const certificate = socket.getPeerX509Certificate();
  if (!socket.authorized || certificate === undefined) return { kind: 'refused', why: 'no certificate', host: null };
  const names = (certificate.subjectAltName ?? '').split(', ');
  const [name] = names;
  const host = names.length === 1 && name?.startsWith('URI:') ? hostOfSpiffeId(name.slice('URI:'.length)) : null;
  if (host === null) return { kind: 'refused', why: 'the certificate names no host', host: null };
  const entry = state.hosts.hosts.get(host);
  if (entry === undefined) return { kind: 'refused', why: 'the host is not enrolled', host };
  if (entry.revoked !== null) return { kind: 'refused', why: 'the host is revoked', host };
  const serial = certificate.serialNumber.toLowerCase();
  const held = entry.certificates.find((other) => other.serial === serial);
  if (held === undefined) return { kind: 'refused', why: 'the certificate was replaced or revoked', host };
  // TLS has checked it at the handshake; a resumed session has not.
  if (held.notAfterMs <= nowMs) return { kind: 'refused', why: 'the certificate has ended', host };
  return { kind: 'admitted', host, notAfterMs: held.notAfterMs };
}

function secureContext(tls: TlsMaterial) {
  return { cert: tls.certificatePem, key: tls.keyPem, ca: tls.authorityPem, minVersion: 'TLSv1.3' as const };
}
