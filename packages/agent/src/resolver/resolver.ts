/**
 * The resolver at the gateway address of every network: names of the network's workloads, and the host's name servers for the rest.
 * The asker is known by its address, which the programs below have proved to be its own.
 *
 * Whatever is not a name of the network leaves the host, and a name can carry data out: it is forwarded only for a workload that policy
 * lets speak to the name server itself (UDP port 53). Names of the network are told to all its members, also to those that may not reach
 * each other: the refused connection then says why. `hideUnreachable` tells them only what `mayResolve` lets through.
 */
import type { Logger } from 'pino';
import { AnswerCache, InFlight, TokenBuckets } from './bounds.ts';
import {
  codeAnswer,
  fitDatagram,
  headerAnswer,
  ownAnswer,
  rcode,
  readQuestion,
  withId,
  type DnsQuestion,
} from './message.ts';
import { localAnswer, type NameTable } from './names.ts';
import { askUpstream, type UpstreamServer } from './upstream.ts';

export interface Asker {
  readonly workload: string;
  readonly network: string;
}

export interface ResolverOptions {
  readonly log: Logger;
  readonly nowMs: () => number;
  /** Null for an address that is no endpoint of this host, or whose workload is not known yet. */
  readonly askerOf: (address: string) => Asker | null;
  readonly names: () => NameTable;
  /** True for an address of one of this host's networks: its reverse name is asked of nobody else. */
  readonly isOwn: (address: string) => boolean;
  readonly upstream: () => readonly UpstreamServer[];
  /** What policy says of the workload and a name server. */
  readonly mayForward: (workload: string, server: UpstreamServer) => boolean;
  readonly mayResolve: (workload: string, targets: readonly string[], name: string) => boolean;
  /** Told of every answer from elsewhere that a workload is about to get: what it connects to next is judged by it. */
  readonly onAnswer: (workload: string, asked: string, message: Uint8Array) => void;
}

const questionsPerSecond = 200;
const questionsBurst = 400;
const workloadsMax = 65_536;
const inFlightMax = 1024;
const inFlightPerWorkloadMax = 64;
const cacheEntriesMax = 8192;
const cacheBytesMax = 8 * 1024 * 1024;

export type ResolverCounter =
  | 'answered'
  | 'forwarded'
  | 'cached'
  | 'refused'
  | 'limited'
  | 'failed'
  | 'malformed'
  | 'unknownAsker';

export class Resolver {
  readonly #options: ResolverOptions;
  readonly #buckets = new TokenBuckets({
    perSecond: questionsPerSecond,
    burst: questionsBurst,
    ownersMax: workloadsMax,
  });
  readonly #inFlight = new InFlight({ ownerMax: inFlightPerWorkloadMax, max: inFlightMax });
  readonly #cache = new AnswerCache({ entriesMax: cacheEntriesMax, bytesMax: cacheBytesMax });
  readonly counters: Record<ResolverCounter, number> = {
    answered: 0,
    forwarded: 0,
    cached: 0,
    refused: 0,
    limited: 0,
    failed: 0,
    malformed: 0,
    unknownAsker: 0,
  };

  constructor(options: ResolverOptions) {
    this.#options = options;
  }

  /** Whether whoever has this address is answered at all: connections of others are not kept open. */
  knows(source: string): boolean {
    return this.#options.askerOf(source) !== null;
  }

  /** The answer to a message, null where there is none to give. Never rejects. */
  async answer(message: Uint8Array, source: string, transport: 'udp' | 'tcp'): Promise<Uint8Array | null> {
    const asker = this.#options.askerOf(source);
    if (asker === null) return this.#count('unknownAsker', null);
    // Before anything is decoded: a flood costs one map lookup a packet.
    if (!this.#buckets.take(asker.workload, this.#options.nowMs())) return this.#count('limited', null);
    const read = readQuestion(message);
    if (read.kind === 'ignored') return this.#count('malformed', null);
    if (read.kind === 'refused') return this.#count('malformed', headerAnswer(read.id, read.rcode));
    const answer = await this.#answerQuestion(read.question, asker, transport);
    if (answer === null) return null;
    const fitting = transport === 'udp' ? fitDatagram(read.question, answer) : answer;
    this.#options.onAnswer(asker.workload, read.question.name, fitting);
    return fitting;
  }

  async #answerQuestion(question: DnsQuestion, asker: Asker, transport: 'udp' | 'tcp'): Promise<Uint8Array | null> {
    const local = localAnswer(this.#options.names(), asker, question, this.#options.isOwn);
    if (local.kind === 'hidden') return this.#count('answered', codeAnswer(question, rcode.noSuchName));
    if (local.kind === 'answers') {
      if (!this.#options.mayResolve(asker.workload, local.workloads, question.name))
        return this.#count('refused', codeAnswer(question, rcode.refused));
      return this.#count('answered', ownAnswer(question, local.answers));
    }
    // Docker and people use single words for their own: the world has none.
    if (!question.name.includes('.')) return this.#count('answered', codeAnswer(question, rcode.noSuchName));
    return this.#forward(question, asker, transport);
  }

  async #forward(question: DnsQuestion, asker: Asker, transport: 'udp' | 'tcp'): Promise<Uint8Array | null> {
    const servers = this.#options.upstream().filter((server) => this.#options.mayForward(asker.workload, server));
    if (servers.length === 0) return this.#count('refused', codeAnswer(question, rcode.refused));
    // Everything but the id: options of the client (DNSSEC, its datagram size) are part of the question.
    const key = `${transport} ${Buffer.from(question.bytes.subarray(2)).toString('base64')}`;
    const cached = this.#cache.get(key, this.#options.nowMs());
    if (cached !== undefined) return this.#count('cached', withId(cached, question.id));
    const answer = await this.#inFlight.run(asker.workload, () => askUpstream(question, servers, transport));
    if (answer === null) return this.#count('failed', codeAnswer(question, rcode.serverFailure));
    this.#cache.set(key, answer.message, answer.ttlSeconds, this.#options.nowMs());
    return this.#count('forwarded', answer.message);
  }

  #count<T>(counter: ResolverCounter, answer: T): T {
    this.counters[counter]++;
    return answer;
  }
}
