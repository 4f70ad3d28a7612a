/**
 * Held connections that a rule asks about: coalesced into questions, answered by the manager or by what it answered before, released or
 * refused. Whatever goes wrong, a packet is refused, and how it ended is recorded.
 */
import type { ConnectionKey, Punt, PuntDevice } from '@bulkhead/kernel';
import type { AgentMessage, DecisionMessage, QuestionMessage } from '@bulkhead/protocol';
import type { Clock } from '../clock.ts';
import type { Parties } from '../parties.ts';
import { Answers } from './answers.ts';
import { Attributions, type Attribution } from './attributions.ts';
import { guarded, HeldPackets, type HeldPacket } from './held-packets.ts';
import { questionLimits } from './limits.ts';
import { PairRates } from './pair-rates.ts';
import type { CombinedTerms, Denial, Terms } from './terms.ts';
import { UnknownWorkloads } from './unknown-workloads.ts';

export type QuestionOutcome = Extract<AgentMessage, { type: 'outcomes' }>['body']['outcomes'][number];
type Verdict = 'allow' | Denial;

export interface QuestionsOptions {
  readonly device: PuntDevice;
  readonly clock: Clock;
  readonly terms: Terms;
  readonly parties: Parties;
  readonly revision: () => number;
  /** Begins every question's id: unique to this host and this run of the agent. */
  readonly idPrefix: string;
  /** Hands questions to the link; false while there is none. What was handed over may be asked for again by `linkReady`. */
  readonly send: (questions: readonly QuestionMessage[]) => boolean;
  /** A question ended without the manager's answer, or an answer was used again. */
  readonly recordOutcome: (outcome: QuestionOutcome) => void;
}

interface Question {
  readonly message: QuestionMessage;
  readonly key: string;
  readonly answerKeys: AnswerKeys;
  readonly terms: CombinedTerms;
  readonly packets: HeldPacket[];
  isSent: boolean;
  isPending: boolean;
  cancelTimeout: () => void;
}

interface AnswerKeys {
  readonly pair: string;
  readonly identities: string;
}

export interface QuestionCounts {
  readonly asked: number;
  readonly waiting: number;
  readonly held: number;
  readonly heldBytes: number;
  readonly overflowed: number;
  readonly unknownExpired: number;
  readonly admitted: number;
  readonly refused: number;
  readonly stale: number;
  readonly full: number;
  readonly late: number;
  readonly reused: number;
  readonly timedOut: number;
}

export class Questions implements Disposable {
  readonly #options: QuestionsOptions;
  readonly #held: HeldPackets;
  readonly #unknown: UnknownWorkloads;
  readonly #answers = new Answers();
  readonly #rates = new PairRates();
  readonly #attributions = new Attributions();
  readonly #byKey = new Map<string, Question>();
  readonly #byId = new Map<string, Question>();
  #unsent: Question[] = [];
  #counter = 0;
  readonly #counts = { asked: 0, admitted: 0, refused: 0, stale: 0, full: 0, late: 0, reused: 0, timedOut: 0 };
  #overflowed = 0;

  constructor(options: QuestionsOptions) {
    this.#options = options;
    this.#held = new HeldPackets(options.device);
    this.#unknown = new UnknownWorkloads(options.device, options.clock, this.#held);
    options.device.onPunt((punt, frame) => this.#take(punt, frame));
  }

  /** Packets of endpoints that are held no more are judged. */
  judgeHeld(isHeld: (slot: number) => boolean): void {
    if (this.#unknown.size > 0) this.#unknown.judgeAgain(isHeld);
  }

  /** The link is up again: everything without an answer is asked again, under the same ids. */
  linkReady(): void {
    this.#unsent = [...this.#byId.values()];
    this.#flush();
  }

  decide(decisions: readonly DecisionMessage[]): void {
    for (const decision of decisions) this.#decide(decision);
  }

  /** The question that admitted or refused a connection, and how, for its flow. */
  attributionOf(key: ConnectionKey): Attribution | null {
    return this.#attributions.of(key);
  }

  /** Counts a connection that nobody asked about. */
  countConnection(source: string, destination: string): void {
    this.#rates.count(`${source}>${destination}`, this.#options.clock.nowMs());
  }

  counts(): QuestionCounts {
    return {
      ...this.#counts,
      waiting: this.#byId.size,
      held: this.#held.packets,
      heldBytes: this.#held.bytes,
      overflowed: this.#held.overflowed + this.#overflowed,
      unknownExpired: this.#unknown.expired,
    };
  }

  [Symbol.dispose](): void {
    this.#unknown.close();
    for (const question of this.#byId.values()) question.cancelTimeout();
    this.#byId.clear();
    this.#byKey.clear();
  }

  #take(punt: Punt, frame: Uint8Array): void {
    if (punt.reason === 'held') return this.#unknown.take(punt, frame);
    const { terms, clock } = this.#options;
    const asked = terms.of(punt.egressRule, punt.ingressRule);
    if (asked === null) {
      // The rule went away a moment ago: what is in force now judges the retransmission.
      this.#counts.stale++;
      return this.#refuse({ punt, frame }, 'deny');
    }
    const nowMs = clock.nowMs();
    const message = this.#messageOf(punt, asked, nowMs);
    const { key, answerKeys } = keysOf(message, asked);
    const answer = this.#answers.find([answerKeys.pair, answerKeys.identities], nowMs);
    if (answer !== undefined) return this.#reuse({ punt, frame }, message, answer);
    const known = this.#byKey.get(key);
    if ((known?.packets.length ?? 0) >= questionLimits.packetsPerQuestionMax || this.#isFull(known)) {
      this.#overflowed++;
      return this.#refuse({ punt, frame }, 'deny');
    }
    const packet = this.#held.hold(punt, frame);
    if (packet === null) return;
    if (known === undefined) this.#ask({ message, key, answerKeys, terms: asked, packets: [packet] });
    else known.packets.push(packet);
  }

  #isFull(known: Question | undefined): boolean {
    return known === undefined && this.#byId.size >= questionLimits.questionsMax;
  }

  #ask(begun: Pick<Question, 'message' | 'key' | 'answerKeys' | 'terms' | 'packets'>): void {
    const cancelTimeout = this.#options.clock.after(begun.terms.timeoutMs, () => this.#timeOut(question));
    const question: Question = { ...begun, isSent: false, isPending: false, cancelTimeout };
    this.#byKey.set(question.key, question);
    this.#byId.set(question.message.id, question);
    this.#counts.asked++;
    // What came in one turn of the loop goes out in one message. No microtask: the punt device calls from outside of the turns that run them.
    if (this.#unsent.push(question) === 1) setImmediate(() => this.#flush());
  }

  #flush(): void {
    const waiting = this.#unsent.filter((question) => this.#byId.has(question.message.id));
    this.#unsent = [];
    for (let at = 0; at < waiting.length; at += questionLimits.questionsPerMessageMax) {
      const batch = waiting.slice(at, at + questionLimits.questionsPerMessageMax);
      const isSent = this.#options.send(batch.map(({ message }) => message));
      for (const question of batch) question.isSent ||= isSent;
    }
  }

  #decide(decision: DecisionMessage): void {
    const { clock } = this.#options;
    const question = this.#byId.get(decision.question);
    const nowMs = clock.nowMs();
    if (question === undefined || decision.expiresMs < nowMs) {
      this.#counts.late++;
      return;
    }
    if (decision.verdict === 'pending') {
      question.cancelTimeout();
      question.isPending = true;
      const waitMs = Math.min(decision.expiresMs - nowMs, questionLimits.pendingMsMax);
      question.cancelTimeout = clock.after(waitMs, () => this.#timeOut(question));
      return;
    }
    const { verdict, scope, forSeconds } = decision;
    if (scope !== 'connection' && forSeconds > 0) {
      const answer = { verdict, fromMs: nowMs, untilMs: nowMs + forSeconds * 1000, question: decision.question };
      this.#answers.remember(question.answerKeys[scope], answer);
    }
    this.#end(question, verdict);
  }

  #timeOut(question: Question): void {
    this.#counts.timedOut++;
    const verdict = question.isPending ? 'deny' : question.terms.unreachable;
    const because = question.isPending
      ? 'nobody answered in time'
      : question.isSent
        ? 'timeout'
        : 'manager unreachable';
    this.#record(question.message, verdict, because);
    this.#end(question, verdict);
  }

  #end(question: Question, verdict: Verdict): void {
    question.cancelTimeout();
    this.#byId.delete(question.message.id);
    this.#byKey.delete(question.key);
    for (const packet of question.packets) {
      this.#held.release(packet);
      this.#settle(packet, verdict, question.message);
    }
  }

  #reuse(
    packet: HeldPacket,
    message: QuestionMessage,
    answer: { readonly verdict: Verdict; readonly question: string },
  ): void {
    this.#counts.reused++;
    this.#settle(packet, answer.verdict, { ...message, id: answer.question });
    this.#record(message, answer.verdict, `answered before: ${answer.question}`);
  }

  #settle(packet: HeldPacket, verdict: Verdict, message: QuestionMessage): void {
    this.#attributions.set(packet.punt.key, { question: message.id, verdict });
    if (verdict !== 'allow') return this.#refuse(packet, verdict);
    const { device, revision } = this.#options;
    const { punt, frame } = packet;
    const result = guarded(() => device.admit(punt, frame, { revision: revision() }));
    if (result === 'sent') this.#counts.admitted++;
    else if (result === 'stale') this.#counts.stale++;
    else {
      this.#counts.full++;
      this.#record(message, 'deny', result === 'full' ? 'the connection table is full' : result);
    }
  }

  #refuse({ punt, frame }: HeldPacket, verdict: Denial): void {
    this.#counts.refused++;
    guarded(() => this.#options.device.refuse(punt, frame, verdict === 'reject'));
  }

  #record(question: QuestionMessage, verdict: Verdict, because: string): void {
    const atMs = this.#options.clock.nowMs();
    this.#options.recordOutcome({ question, verdict, because: because.slice(0, 256), atMs });
  }

  #messageOf(punt: Punt, terms: CombinedTerms, nowMs: number): QuestionMessage {
    const { parties, idPrefix, revision } = this.#options;
    const { key } = punt;
    const source = parties.of(punt.sourceSlot, punt.sourceIdentity, key.source);
    const destination = parties.of(punt.destinationSlot, punt.destinationIdentity, key.destination);
    const pair = `${source.workload ?? key.source}>${destination.workload ?? key.destination}`;
    return {
      id: `${idPrefix}:${(++this.#counter).toString(36)}`,
      rules: [...terms.rules],
      revision: revision(),
      source: { ...source, identity: punt.sourceIdentity, address: key.source, port: key.sourcePort },
      destination: {
        ...destination,
        identity: punt.destinationIdentity,
        address: key.destination,
        port: key.destinationPort,
      },
      protocol: key.protocol,
      ratePerMinute: this.#rates.count(pair, nowMs),
      atMs: nowMs,
    };
  }
}

/** Questions are one, and answers fit, when both ends and their generations, the port and the rules' terms are the same. */
function keysOf(
  { source, destination, protocol, rules }: QuestionMessage,
  { digest }: CombinedTerms,
): { readonly key: string; readonly answerKeys: AnswerKeys } {
  const names = rules.map(({ tier, policy, rule }) => `${tier}/${policy}/${rule}`).join('+');
  const what = `${protocol}/${destination.port}|${names}|${digest}`;
  const pair = `pair|${nameOf(source)}>${nameOf(destination)}|${what}`;
  const identities = `identities|${source.identity}>${destination.identity}|${what}`;
  return { key: pair, answerKeys: { pair, identities } };
}

function nameOf({ workload, address, generation }: QuestionMessage['source']): string {
  return workload === null ? address : `${workload}#${generation}`;
}
