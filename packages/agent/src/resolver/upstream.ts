/** Asks the host's own name servers, each question from a socket of its own, so that port and id must both be guessed to forge an answer. */
import { createSocket } from 'node:dgram';
import { randomInt } from 'node:crypto';
import { connect, isIPv6 } from 'node:net';
import { parseAddress, formatAddress } from '../attach/network-address.ts';
import { readUpstream, withId, type DnsQuestion } from './message.ts';

export interface UpstreamServer {
  readonly address: string;
  readonly port: number;
}

const serversMax = 3;
const attemptMs = 2_000;
const messageBytesMax = 65_535;

/** `nameserver` lines of resolv.conf(5), at most three as in libc. */
export function upstreamServers(resolvConf: string): readonly UpstreamServer[] {
  const servers: UpstreamServer[] = [];
  for (const line of resolvConf.split('\n')) {
    const text = /^\s*nameserver\s+(\S+)/.exec(line)?.[1];
    const address = parseAddress((text ?? '').split('%')[0]!);
    if (address !== null && servers.length < serversMax) servers.push({ address: formatAddress(address), port: 53 });
  }
  return servers;
}

export interface UpstreamAnswer {
  readonly message: Uint8Array;
  readonly ttlSeconds: number;
  readonly truncated: boolean;
}

/** The first answer of the servers in turn; null when none answered. The message keeps the client's id. */
export async function askUpstream(
  question: DnsQuestion,
  servers: readonly UpstreamServer[],
  transport: 'udp' | 'tcp',
): Promise<UpstreamAnswer | null> {
  for (const server of servers) {
    const id = randomInt(0x10000);
    const asked = withId(question.bytes, id);
    const ask = transport === 'udp' ? askUdp : askTcp;
    const answer = await ask(server, asked, (message) => {
      const facts = readUpstream(question, id, message);
      return facts === null ? null : { message: withId(message, question.id), ...facts };
    });
    if (answer !== null) return answer;
  }
  return null;
}

type Accept = (message: Uint8Array) => UpstreamAnswer | null;

function askUdp(server: UpstreamServer, message: Uint8Array, accept: Accept): Promise<UpstreamAnswer | null> {
  return new Promise((resolve) => {
    const socket = createSocket(isIPv6(server.address) ? 'udp6' : 'udp4');
    const timer = setTimeout(() => finish(null), attemptMs);
    let finished = false;
    const finish = (answer: UpstreamAnswer | null) => {
      if (finished) return;
      finished = true;
      clearTimeout(timer);
      socket.close();
      resolve(answer);
    };
    socket.on('error', () => finish(null));
    // What does not fit the question is not an answer to it: go on listening.
    socket.on('message', (received) => {
      const answer = accept(received);
      if (answer !== null) finish(answer);
    });
    // A connected socket takes datagrams from the server only, and hears of a port that nobody listens on.
    socket.connect(server.port, server.address, () => {
      if (!finished) socket.send(message, (error) => error !== null && finish(null));
    });
  });
}

function askTcp(server: UpstreamServer, message: Uint8Array, accept: Accept): Promise<UpstreamAnswer | null> {
  return new Promise((resolve) => {
    const socket = connect({ host: server.address, port: server.port });
    const timer = setTimeout(() => finish(null), attemptMs);
    let received = Buffer.alloc(0);
    const finish = (answer: UpstreamAnswer | null) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    socket.on('error', () => finish(null));
    socket.on('close', () => finish(null));
    socket.on('connect', () => socket.write(framed(message)));
    socket.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      if (received.length < 2) return;
      const length = received.readUInt16BE(0);
      if (received.length >= length + 2) finish(accept(received.subarray(2, length + 2)));
      else if (received.length > messageBytesMax + 2) finish(null);
    });
  });
}

/** DNS over TCP puts two bytes of length before each message. */
export function framed(message: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(message.length + 2);
  new DataView(bytes.buffer).setUint16(0, message.length);
  bytes.set(message, 2);
  return bytes;
}
