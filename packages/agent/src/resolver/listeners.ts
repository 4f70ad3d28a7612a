/** Sockets of the resolver: UDP and TCP port 53 of every gateway address, opened and closed as networks come and go. */
import { createSocket, type RemoteInfo, type Socket as UdpSocket } from 'node:dgram';
import { createServer, isIPv6, type Server, type Socket } from 'node:net';
import type { Logger } from 'pino';
import { canonicalAddress } from '../attach/network-address.ts';
import { questionBytesMax } from './message.ts';
import type { Resolver } from './resolver.ts';
import { framed } from './upstream.ts';

const connectionsMax = 256;
const connectionsPerAddressMax = 16;
const idleMs = 10_000;
const questionsPerConnectionMax = 64;

interface Listening {
  readonly udp: UdpSocket;
  readonly tcp: Server;
}

export class ResolverListeners implements AsyncDisposable {
  readonly #resolver: Resolver;
  readonly #log: Logger;
  readonly #port: number;
  readonly #listening = new Map<string, Listening>();
  readonly #connections = new Map<string, number>();

  constructor(resolver: Resolver, log: Logger, port = 53) {
    this.#resolver = resolver;
    this.#log = log;
    this.#port = port;
  }

  addresses(): readonly string[] {
    return [...this.#listening.keys()].sort();
  }

  /** Listens on exactly these addresses. One that cannot be had (another resolver holds it) is logged and tried again next time. */
  async listenOn(addresses: readonly string[]): Promise<void> {
    for (const [address, listening] of this.#listening) {
      if (addresses.includes(address)) continue;
      this.#listening.delete(address);
      await close(listening);
    }
    for (const address of addresses) {
      if (this.#listening.has(address)) continue;
      try {
        this.#listening.set(address, await this.#listen(address));
      } catch (error) {
        this.#log.error(
          { address, error: String(error) },
          'the resolver cannot listen: names do not resolve on this network',
        );
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.listenOn([]);
  }

  async #listen(address: string): Promise<Listening> {
    const udp = createSocket({ type: isIPv6(address) ? 'udp6' : 'udp4', ipv6Only: isIPv6(address) });
    const tcp = createServer((socket) => this.#serve(socket));
    tcp.maxConnections = connectionsMax;
    try {
      await new Promise<void>((resolve, reject) => {
        udp.once('error', reject);
        udp.bind({ address, port: this.#port, exclusive: true }, resolve);
      });
      await new Promise<void>((resolve, reject) => {
        tcp.once('error', reject);
        tcp.listen({ host: address, port: this.#port, exclusive: true, ipv6Only: isIPv6(address) }, resolve);
      });
    } catch (error) {
      await close({ udp, tcp });
      throw error;
    }
    for (const socket of [udp, tcp]) {
      socket.removeAllListeners('error');
      socket.on('error', (error: Error) => this.#log.warn({ address, error: error.message }, 'resolver socket'));
    }
    udp.on('message', (message, remote) => void this.#answerDatagram(address, udp, message, remote));
    return { udp, tcp };
  }

  async #answerDatagram(address: string, udp: UdpSocket, message: Buffer, remote: RemoteInfo): Promise<void> {
    const answer = await this.#resolver.answer(message, canonicalAddress(remote.address) ?? '', 'udp');
    if (answer === null || this.#listening.get(address)?.udp !== udp) return;
    // An answer that cannot be sent is one that got lost: the client asks again.
    udp.send(answer, remote.port, remote.address, () => undefined);
  }

  #serve(socket: Socket): void {
    const source = canonicalAddress(socket.remoteAddress ?? '') ?? '';
    const open = this.#connections.get(source) ?? 0;
    socket.on('error', () => undefined);
    if (open >= connectionsPerAddressMax || !this.#resolver.knows(source)) return void socket.destroy();
    this.#connections.set(source, open + 1);
    socket.on('close', () => {
      const left = this.#connections.get(source)! - 1;
      if (left === 0) this.#connections.delete(source);
      else this.#connections.set(source, left);
    });
    socket.setTimeout(idleMs, () => socket.destroy());
    void this.#converse(socket, source);
  }

  /** One question after the other: a client that pipelines waits for itself. */
  async #converse(socket: Socket, source: string): Promise<void> {
    let received = Buffer.alloc(0);
    let questions = 0;
    try {
      for await (const chunk of socket as AsyncIterable<Buffer>) {
        received = Buffer.concat([received, chunk]);
        while (received.length >= 2) {
          const length = received.readUInt16BE(0);
          if (length > questionBytesMax || questions >= questionsPerConnectionMax) return void socket.destroy();
          if (received.length < length + 2) break;
          questions++;
          const answer = await this.#resolver.answer(received.subarray(2, length + 2), source, 'tcp');
          if (answer === null) return void socket.destroy();
          // One answer waits at most: a client that does not read must not fill our memory with what it asked for.
          if (!socket.write(framed(answer)) && !(await drained(socket))) return;
          received = received.subarray(length + 2);
        }
      }
    } catch {
      socket.destroy();
    }
  }
}

/** False where the connection ended first. */
function drained(socket: Socket): Promise<boolean> {
  return new Promise((resolve) => {
    socket.once('drain', () => resolve(true));
    socket.once('close', () => resolve(false));
  });
}

function close({ udp, tcp }: Listening): Promise<void> {
  return new Promise((resolve) => {
    try {
      udp.close();
    } catch {
      // Never bound.
    }
    tcp.close(() => resolve());
  });
}
