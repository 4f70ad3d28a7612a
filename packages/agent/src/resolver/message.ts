/** DNS messages: one question in, one answer out. Pure. Whatever is not a plain question is refused before it is decoded. */
import * as dnsPacket from 'dns-packet';
import type { Answer } from 'dns-packet';

export interface DnsQuestion {
  readonly id: number;
  /** Lower case, without the final dot. */
  readonly name: string;
  readonly type: string;
  readonly recursionDesired: boolean;
  /** Largest UDP answer that the client takes, bytes. */
  readonly udpBytesMax: number;
  /** The message as it came, for the upstream. */
  readonly bytes: Uint8Array;
}

export type ReadQuestion =
  | { readonly kind: 'question'; readonly question: DnsQuestion }
  /** Answered with this code, when at least the header could be read. */
  | { readonly kind: 'refused'; readonly id: number; readonly rcode: number }
  /** Not answered: a response, or too short to answer. */
  | { readonly kind: 'ignored' };

export const rcode = { ok: 0, formatError: 1, serverFailure: 2, noSuchName: 3, notImplemented: 4, refused: 5 } as const;
const rcodeNames = ['NOERROR', 'FORMERR', 'SERVFAIL', 'NXDOMAIN', 'NOTIMP', 'REFUSED'] as const;

const headerBytes = 12;
export const questionBytesMax = 4096;
const plainUdpBytes = 512;
const ednsUdpBytesMax = 1232;
const recursionDesired = 0x0100;
const recursionAvailable = 0x0080;
const authoritative = 0x0400;
const truncated = 0x0200;

export function readQuestion(bytes: Uint8Array): ReadQuestion {
  if (bytes.length < headerBytes) return { kind: 'ignored' };
  const header = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const id = header.getUint16(0);
  const flags = header.getUint16(2);
  if ((flags & 0x8000) !== 0) return { kind: 'ignored' };
  if (bytes.length > questionBytesMax) return { kind: 'refused', id, rcode: rcode.formatError };
  if (((flags >> 11) & 0xf) !== 0) return { kind: 'refused', id, rcode: rcode.notImplemented };
  const counts = [4, 6, 8].map((at) => header.getUint16(at));
  if (counts[0] !== 1 || counts[1] !== 0 || counts[2] !== 0 || header.getUint16(10) > 4) {
    return { kind: 'refused', id, rcode: rcode.formatError };
  }
  try {
    const packet = dnsPacket.decode(bufferOf(bytes));
    const [asked] = packet.questions ?? [];
    if (asked === undefined || asked.name.length > 253) return { kind: 'refused', id, rcode: rcode.formatError };
    if (asked.class !== undefined && asked.class !== 'IN') return { kind: 'refused', id, rcode: rcode.notImplemented };
    const edns = packet.additionals?.find((record) => record.type === 'OPT');
    const udpBytesMax = Math.min(Math.max(edns?.udpPayloadSize ?? plainUdpBytes, plainUdpBytes), ednsUdpBytesMax);
    const name = asked.name.toLowerCase().replace(/\.$/, '');
    const question = {
      id,
      name,
      type: asked.type,
      recursionDesired: (flags & recursionDesired) !== 0,
      udpBytesMax,
      bytes,
    };
    return { kind: 'question', question };
  } catch {
    return { kind: 'refused', id, rcode: rcode.formatError };
  }
}

/** An answer of our own about one of our names. */
export function ownAnswer(question: DnsQuestion, answers: readonly Answer[], code: number = rcode.ok): Uint8Array {
  return dnsPacket.encode({
    id: question.id,
    type: 'response',
    flags: flagsOf(question, code) | authoritative,
    rcode: rcodeNames[code] ?? 'SERVFAIL',
    questions: [{ name: question.name, type: question.type, class: 'IN' }],
    answers,
  });
}

/** No data, only a code. */
export function codeAnswer(question: DnsQuestion, code: number): Uint8Array {
  const questions = [{ name: question.name, type: question.type, class: 'IN' }];
  try {
    return dnsPacket.encode({
      id: question.id,
      type: 'response',
      flags: flagsOf(question, code),
      questions,
      answers: [],
    });
  } catch {
    // A type or a name that the encoder does not know.
    return headerAnswer(question.id, code);
  }
}

/** For a message whose question could not be read. */
export function headerAnswer(id: number, code: number): Uint8Array {
  const bytes = new Uint8Array(headerBytes);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, id);
  view.setUint16(2, 0x8000 | recursionAvailable | code);
  return bytes;
}

/** Cuts an answer that does not fit one datagram: the client comes back over TCP. */
export function fitDatagram(question: DnsQuestion, answer: Uint8Array): Uint8Array {
  if (answer.length <= question.udpBytesMax) return answer;
  const short = codeAnswer(question, rcode.ok);
  const view = new DataView(short.buffer, short.byteOffset, short.byteLength);
  view.setUint16(2, view.getUint16(2) | truncated);
  return short;
}

export function withId(message: Uint8Array, id: number): Uint8Array {
  const copy = Uint8Array.from(message);
  new DataView(copy.buffer).setUint16(0, id);
  return copy;
}

/** The same bytes as the decoder wants them. */
function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function flagsOf(question: DnsQuestion, code: number): number {
  return recursionAvailable | (question.recursionDesired ? recursionDesired : 0) | code;
}

export interface UpstreamFacts {
  readonly truncated: boolean;
  /** Seconds that the answer may be kept; 0 when not at all. */
  readonly ttlSeconds: number;
}

const negativeSeconds = 5;
const ttlSecondsMax = 300;

/** What an upstream's answer is worth; null when it is not the answer to the question. */
export function readUpstream(question: DnsQuestion, id: number, message: Uint8Array): UpstreamFacts | null {
  if (message.length < headerBytes) return null;
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  const flags = view.getUint16(2);
  if (view.getUint16(0) !== id || (flags & 0x8000) === 0) return null;
  try {
    const packet = dnsPacket.decode(bufferOf(message));
    const [asked] = packet.questions ?? [];
    if (
      asked === undefined ||
      asked.name.toLowerCase().replace(/\.$/, '') !== question.name ||
      asked.type !== question.type
    )
      return null;
    const code = flags & 0xf;
    const cut = (flags & truncated) !== 0;
    if (cut || (code !== rcode.ok && code !== rcode.noSuchName)) return { truncated: cut, ttlSeconds: 0 };
    const answers = packet.answers ?? [];
    const shortest = Math.min(ttlSecondsMax, ...answers.map((answer) => answer.ttl ?? 0));
    return { truncated: false, ttlSeconds: answers.length === 0 ? negativeSeconds : shortest };
  } catch {
    return null;
  }
}
