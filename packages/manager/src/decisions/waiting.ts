/** Questions that wait for a human, by id and by key, with their followers: later questions with the same key, answered together. */
import type { QuestionKeys } from './consider.ts';
import { waitingMax, waitingPerHostMax } from './limits.ts';
import type { LoggedQuestion } from './question-log.ts';

export interface Waiting {
  readonly id: string;
  readonly keys: QuestionKeys;
  readonly expiresMs: number;
  leader: LoggedQuestion;
  readonly followers: Map<string, LoggedQuestion>;
  /** Somebody's answer is on its way into the log. */
  claimed: boolean;
}

export class WaitingQuestions {
  readonly #byLeader = new Map<string, Waiting>();
  readonly #byKey = new Map<string, Waiting>();
  readonly #byId = new Map<string, Waiting>();
  readonly #perHost = new Map<string, number>();

  get size(): number {
    return this.#byId.size;
  }

  /** Null, or why there is no room. */
  full(host: string): string | null {
    if (this.#byId.size >= waitingMax) return `more than ${waitingMax} questions wait for a human`;
    if ((this.#perHost.get(host) ?? 0) >= waitingPerHostMax)
      return `more than ${waitingPerHostMax} questions of this host wait for a human`;
    return null;
  }

  byId(id: string): Waiting | null {
    return this.#byId.get(id) ?? null;
  }

  byKey(keys: QuestionKeys): Waiting | null {
    return this.#byKey.get(keys.pair) ?? null;
  }

  lead(leader: LoggedQuestion, keys: QuestionKeys): Waiting {
    const { id, expiresMs } = leader.record;
    if (expiresMs === null) throw new Error(`the waiting question ${id} has an expiry`);
    const waiting: Waiting = { id, keys, expiresMs, leader, followers: new Map(), claimed: false };
    this.#byLeader.set(id, waiting);
    this.#byKey.set(keys.pair, waiting);
    this.#count(leader, waiting);
    return waiting;
  }

  follow(waiting: Waiting, follower: LoggedQuestion): void {
    waiting.followers.set(follower.record.id, follower);
    this.#count(follower, waiting);
  }

  /** Takes out a follower, or a leader with all its followers. */
  remove(id: string): void {
    const waiting = this.#byId.get(id);
    if (waiting === undefined) return;
    const leaves = waiting.id === id ? [waiting.leader, ...waiting.followers.values()] : [waiting.followers.get(id)];
    for (const left of leaves) if (left !== undefined) this.#discount(left);
    if (waiting.id !== id) {
      waiting.followers.delete(id);
      return;
    }
    this.#byLeader.delete(id);
    if (this.#byKey.get(waiting.keys.pair) === waiting) this.#byKey.delete(waiting.keys.pair);
  }

  expired(nowMs: number): Waiting[] {
    return [...this.#byLeader.values()].filter((waiting) => waiting.expiresMs <= nowMs && !waiting.claimed);
  }

  /** Infinity if nothing waits. */
  nextExpiryMs(): number {
    let next = Number.POSITIVE_INFINITY;
    for (const { expiresMs, claimed } of this.#byLeader.values()) if (!claimed) next = Math.min(next, expiresMs);
    return next;
  }

  #count(question: LoggedQuestion, waiting: Waiting): void {
    const { id, host } = question.record;
    this.#byId.set(id, waiting);
    this.#perHost.set(host, (this.#perHost.get(host) ?? 0) + 1);
  }

  #discount(question: LoggedQuestion): void {
    const { id, host } = question.record;
    if (!this.#byId.delete(id)) return;
    const left = (this.#perHost.get(host) ?? 1) - 1;
    if (left === 0) this.#perHost.delete(host);
    else this.#perHost.set(host, left);
  }
}
