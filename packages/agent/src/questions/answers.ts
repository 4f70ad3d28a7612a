/** Answers that may be used again (`remember: pair | identities`), on this host, until they expire. */

export interface Answer {
  readonly verdict: 'allow' | 'deny' | 'reject';
  readonly fromMs: number;
  readonly untilMs: number;
  /** The question that was answered. */
  readonly question: string;
}

/** Remembered answers; the one given first goes first. */
export const answersMax = 65_536;

export class Answers {
  readonly #byKey = new Map<string, Answer>();

  get size(): number {
    return this.#byKey.size;
  }

  remember(key: string, answer: Answer): void {
    this.#byKey.delete(key);
    this.#byKey.set(key, answer);
    if (this.#byKey.size <= answersMax) return;
    for (const oldest of this.#byKey.keys()) {
      this.#byKey.delete(oldest);
      return;
    }
  }

  /** The first of the keys that has an answer in force. */
  find(keys: readonly string[], nowMs: number): Answer | undefined {
    for (const key of keys) {
      const answer = this.#byKey.get(key);
      if (answer === undefined) continue;
      // One from the future: the clock was set back, and nobody knows how old it is.
      if (answer.untilMs > nowMs && answer.fromMs <= nowMs) return answer;
      this.#byKey.delete(key);
    }
    return undefined;
  }
}
