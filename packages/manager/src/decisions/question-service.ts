/**
 * Questions and decisions. An answer leaves only after the question, the answer and what it was made from are durable in one commit:
 * judging is pure, so nothing can be seen of a question between its arrival and that commit, and a crash leaves either all of it
 * or an unanswered question, which the agent ends by its rule's `unreachable` and reports as an outcome.
 */
import type { PolicySet } from '@bulkhead/policy';
import type { DecisionMessage, QuestionFilter, QuestionMessage, QuestionRecord } from '@bulkhead/protocol';
import type {
  Actor,
  AnswerResult,
  InventoryView,
  Outcome,
  Page,
  PageRequest,
  QuestionService,
  Unsubscribe,
} from '../services.ts';
import { mayAnswer } from './authority.ts';
import { consider, questionOf } from './consider.ts';
import type { Circumstances } from './consider.ts';
import { decisionOf, endedAtOnce, expiredOf, outcomeOf, rememberedOf } from './endings.ts';
import type { Answer, Recheck } from './endings.ts';
import { ExpiryTimer } from './expiry-timer.ts';
import { LateAnswers } from './late-answers.ts';
import { hostPrefixMax, inFlightPerHostMax } from './limits.ts';
import type { LoggedQuestion, QuestionLog, RememberedDecision } from './question-log.ts';
import { RememberedDecisions } from './remembered.ts';
import { askingRules } from './rules.ts';
import type { AskingRules } from './rules.ts';
import { WaitingQuestions } from './waiting.ts';
import type { Waiting } from './waiting.ts';

export interface QuestionServiceOptions {
  readonly log: QuestionLog;
  readonly inventory: InventoryView;
  readonly policySet: () => PolicySet;
  /** Of the documents in force. */
  readonly revision: () => number;
  readonly nowMs: () => number;
  /** Calls once after so many milliseconds, unless unsubscribed. */
  readonly after: (milliseconds: number, call: () => void) => Unsubscribe;
  /** A fault that nobody waits for: an expiry that could not be logged. It is tried again. */
  readonly onFault: (error: unknown) => void;
}

export interface QuestionCounts {
  readonly asked: number;
  /** Left unanswered because of a limit or a foreign id; the agent's `unreachable` decides. */
  readonly unanswered: number;
  readonly waiting: number;
  readonly remembered: number;
}

export class Questions implements QuestionService {
  readonly #options: QuestionServiceOptions;
  readonly #log: QuestionLog;
  readonly #rules: AskingRules;
  readonly #waiting = new WaitingQuestions();
  readonly #remembered: RememberedDecisions;
  readonly #late = new LateAnswers();
  readonly #inFlight = new Map<string, number>();
  readonly #decisionListeners = new Set<(host: string, decisions: readonly DecisionMessage[]) => void>();
  readonly #watchers = new Set<(question: QuestionRecord) => void>();
  readonly #expiry: ExpiryTimer;
  #asked = 0;
  #unanswered = 0;

  /** Takes up what the log says is waiting and remembered. */
  constructor(options: QuestionServiceOptions) {
    this.#options = options;
    this.#log = options.log;
    this.#rules = askingRules(options.policySet);
    const nowMs = options.nowMs();
    this.#remembered = new RememberedDecisions(this.#log.remembered(nowMs));
    for (const logged of this.#log.waiting()) this.#resume(logged);
    for (const logged of this.#log.heldAfter(nowMs)) {
      if (logged.outcome === null) this.#late.add(logged.record.host, decisionOf(logged));
    }
    this.#expiry = new ExpiryTimer(
      options,
      () => this.#waiting.nextExpiryMs(),
      () => this.#expire(),
    );
    this.#expiry.arm();
  }

  async ask(host: string, questions: readonly QuestionMessage[]): Promise<readonly DecisionMessage[]> {
    const inFlight = this.#inFlight.get(host) ?? 0;
    const own = questions.filter(({ id }) => this.#isOwn(host, id));
    const accepted = own.slice(0, Math.max(0, inFlightPerHostMax - inFlight));
    this.#asked += accepted.length;
    this.#unanswered += questions.length - accepted.length;
    if (accepted.length === 0) return [];
    const now = this.#circumstances();
    const taken = accepted.map((question) => this.#take(host, question, now));
    const logged = taken.map((one) => one.logged);
    this.#inFlight.set(host, inFlight + accepted.length);
    let before: readonly (LoggedQuestion | null)[];
    try {
      before = await this.#log.append(logged);
    } catch (error) {
      for (const one of taken) if (one.registered) this.#waiting.remove(one.logged.record.id);
      throw error;
    } finally {
      this.#landed(host, accepted.length);
    }
    this.#expiry.arm();
    return logged.flatMap((question, place) => this.#decide(question, before[place] ?? null));
  }

  async outcomes(host: string, outcomes: readonly Outcome[]): Promise<void> {
    const now = this.#circumstances();
    const byId = new Map(
      outcomes.filter(({ question }) => this.#isOwn(host, question.id)).map((one) => [one.question.id, one]),
    );
    const written = await this.#log.change([...byId.keys()], (id, before) => {
      const outcome = byId.get(id)!;
      const fresh = before ?? consider(host, outcome.question, now).logged;
      const followed = (this.#waiting.byId(id)?.followers.size ?? 0) > 0;
      const foreign = before !== null && before.record.host !== host;
      return foreign || before?.outcome != null ? null : outcomeOf(fresh, outcome, before !== null, followed);
    });
    for (const logged of written) {
      const waiting = this.#waiting.byId(logged.record.id);
      if (logged.record.state !== 'waiting') this.#waiting.remove(logged.record.id);
      else if (waiting?.id === logged.record.id) waiting.leader = logged;
      this.#late.forget(host, logged.record.id);
      this.#tell(logged);
    }
  }

  onDecision(listener: (host: string, decisions: readonly DecisionMessage[]) => void): Unsubscribe {
    this.#decisionListeners.add(listener);
    return () => this.#decisionListeners.delete(listener);
  }

  undelivered(host: string): readonly DecisionMessage[] {
    return this.#late.of(host, this.#options.nowMs());
  }

  list(filter: QuestionFilter, page: PageRequest): Promise<Page<QuestionRecord>> {
    return this.#log.list(filter, page);
  }

  async get(id: string): Promise<QuestionRecord | null> {
    return this.#log.find(id)?.record ?? null;
  }

  /** With the inputs of the decision and what the agent said afterwards. */
  logged(id: string): LoggedQuestion | null {
    return this.#log.find(id);
  }

  watch(listener: (question: QuestionRecord) => void): Unsubscribe {
    this.#watchers.add(listener);
    return () => this.#watchers.delete(listener);
  }

  counts(): QuestionCounts {
    return {
      asked: this.#asked,
      unanswered: this.#unanswered,
      waiting: this.#waiting.size,
      remembered: this.#remembered.size,
    };
  }

  approve(id: string, by: Actor, options: { readonly forSeconds?: number | undefined } = {}): Promise<AnswerResult> {
    return this.#answer(id, by, { kind: 'approve', forSeconds: options.forSeconds });
  }

  refuse(id: string, by: Actor): Promise<AnswerResult> {
    return this.#answer(id, by, { kind: 'refuse' });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#expiry.stop();
    await this.#log[Symbol.asyncDispose]();
  }

  #circumstances(): Circumstances {
    const { inventory, revision, nowMs } = this.#options;
    return { inventory, rules: this.#rules, revision: revision(), nowMs: nowMs() };
  }

  /** Judges a question and finds its place among those that wait. `registered`: it was given one. */
  #take(host: string, question: QuestionMessage, now: Circumstances): { logged: LoggedQuestion; registered: boolean } {
    const again = this.#waiting.byId(question.id);
    if (again !== null) return { logged: again.followers.get(question.id) ?? again.leader, registered: false };
    const considered = consider(host, question, now);
    if (considered.kind === 'answered') return { logged: considered.logged, registered: false };
    const { logged, keys, approval } = considered;
    const remembered = this.#remembered.find(keys, now.nowMs);
    if (remembered !== null)
      return { logged: endedAtOnce(logged, { kind: 'remembered', remembered }, now.nowMs), registered: false };
    const full = this.#waiting.full(host);
    if (full !== null) {
      const ending = { kind: 'refused', verdict: approval.refusal, by: 'rule', why: full } as const;
      return { logged: endedAtOnce(logged, ending, now.nowMs), registered: false };
    }
    const leader = this.#waiting.byKey(keys);
    if (leader === null || leader.claimed) {
      this.#waiting.lead(logged, keys);
      return { logged, registered: true };
    }
    const follower = { ...logged, leader: leader.id, record: { ...logged.record, expiresMs: leader.expiresMs } };
    this.#waiting.follow(leader, follower);
    return { logged: follower, registered: true };
  }

  /** Ids begin with the host's name, and nobody speaks about what another host asked. */
  #isOwn(host: string, id: string): boolean {
    const waiting = this.#waiting.byId(id);
    return (
      id.startsWith(`${host.slice(0, hostPrefixMax)}:`) && (waiting === null || waiting.leader.record.host === host)
    );
  }

  /** The decision for a question that is durable now. `before`: what the log had under its id already, which counts. */
  #decide(logged: LoggedQuestion, before: LoggedQuestion | null): DecisionMessage[] {
    if (before === null) this.#tell(logged);
    else if (before.record.state !== 'waiting' || before.record.host !== logged.record.host) {
      this.#waiting.remove(logged.record.id);
    }
    if (before !== null && before.record.host !== logged.record.host) {
      this.#unanswered += 1;
      return [];
    }
    return [decisionOf(before ?? logged)];
  }

  #landed(host: string, count: number): void {
    const left = (this.#inFlight.get(host) ?? 0) - count;
    if (left > 0) this.#inFlight.set(host, left);
    else this.#inFlight.delete(host);
  }

  #resume(logged: LoggedQuestion): void {
    const leader = logged.leader === null ? null : this.#waiting.byId(logged.leader);
    if (leader !== null) {
      this.#waiting.follow(leader, logged);
      return;
    }
    // The key says what was asked then; whether that still holds is looked at when somebody answers.
    const considered = consider(logged.record.host, questionOf(logged), this.#circumstances());
    const stale = { pair: `stale ${logged.record.id}`, identities: `stale ${logged.record.id}` };
    this.#waiting.lead(logged, considered.kind === 'waiting' ? considered.keys : stale);
  }

  async #answer(id: string, by: Actor, answer: Answer): Promise<AnswerResult> {
    const waiting = this.#waiting.byId(id);
    const known = waiting?.leader ?? this.#log.find(id);
    if (known === null) return { kind: 'not-found' };
    const authority = mayAnswer(by, known);
    if (authority.kind === 'invisible') return { kind: 'not-found' };
    const nowMs = this.#options.nowMs();
    if (waiting === null || waiting.claimed || waiting.expiresMs <= nowMs)
      return { kind: 'not-waiting', question: known.record };
    if (authority.kind === 'refused') return { kind: 'not-allowed', why: authority.why };
    waiting.claimed = true;
    try {
      const ending = rememberedOf(
        waiting,
        answer,
        by.name,
        this.#recheck(waiting),
        nowMs,
        this.#remembered.hasRoom(nowMs),
      );
      const written = await this.#end(waiting, ending.end, ending.remembered);
      const question =
        written.find(({ record }) => record.id === waiting.id)?.record ?? this.#log.find(waiting.id)?.record;
      if (question === undefined) return { kind: 'not-found' };
      return written.length > 0 ? { kind: 'answered', question } : { kind: 'not-waiting', question };
    } finally {
      waiting.claimed = false;
    }
  }

  /** What the rules say now. A question whose key changed meanwhile is not the one that was put to the human. */
  #recheck(waiting: Waiting): Recheck {
    const { record } = waiting.leader;
    const considered = consider(record.host, questionOf(waiting.leader), this.#circumstances());
    if (considered.kind === 'waiting' && considered.keys.pair === waiting.keys.pair)
      return { kind: 'same', approval: considered.approval };
    const why = considered.kind === 'answered' ? considered.logged.record.why : 'the rule or a workload changed';
    return { kind: 'changed', why: `while it waited: ${why}` };
  }

  /** Logs the end of a question and its followers, then tells everybody. */
  async #end(
    waiting: Waiting,
    end: (before: LoggedQuestion) => LoggedQuestion,
    remembered: RememberedDecision | null,
  ): Promise<readonly LoggedQuestion[]> {
    const ids = [waiting.id, ...waiting.followers.keys()];
    const change = (_: string, before: LoggedQuestion | null): LoggedQuestion | null =>
      before === null || before.record.state !== 'waiting' ? null : end(before);
    const written = await this.#log.change(ids, change, remembered);
    if (remembered !== null && written.length > 0) this.#remembered.add(remembered);
    for (const logged of written) {
      if (logged.record.state === 'waiting') {
        if (logged.record.id === waiting.id) waiting.leader = logged;
        else waiting.followers.set(logged.record.id, logged);
      }
    }
    if (written[0]?.record.state !== 'waiting') this.#waiting.remove(waiting.id);
    for (const logged of written) this.#tell(logged);
    this.#deliver(
      written.filter(({ record, held, outcome }) => record.state !== 'waiting' && held && outcome === null),
    );
    return written;
  }

  #deliver(logged: readonly LoggedQuestion[]): void {
    for (const [host, ended] of Map.groupBy(logged, ({ record }) => record.host)) {
      const decisions = ended.map(decisionOf);
      for (const decision of decisions) this.#late.add(host, decision);
      for (const listener of this.#decisionListeners) listener(host, decisions);
    }
  }

  #tell({ record, leader }: LoggedQuestion): void {
    if (leader !== null) return;
    for (const watcher of this.#watchers) watcher(record);
  }

  async #expire(): Promise<void> {
    const nowMs = this.#options.nowMs();
    const expired = this.#waiting.expired(nowMs);
    for (const waiting of expired) waiting.claimed = true;
    try {
      await Promise.all(expired.map((waiting) => this.#end(waiting, (before) => expiredOf(before, nowMs), null)));
    } finally {
      for (const waiting of expired) waiting.claimed = false;
    }
  }
}
