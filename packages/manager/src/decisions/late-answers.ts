/** Answers that came after `pending`, kept per host until they are of no use, so that a host that was away gets them when it is back. */
import type { DecisionMessage } from '@bulkhead/protocol';
import { lateAnswersPerHostMax } from './limits.ts';

export class LateAnswers {
  readonly #byHost = new Map<string, Map<string, DecisionMessage>>();

  add(host: string, decision: DecisionMessage): void {
    let answers = this.#byHost.get(host);
    if (answers === undefined) this.#byHost.set(host, (answers = new Map()));
    answers.delete(decision.question);
    answers.set(decision.question, decision);
    const [oldest] = answers.keys();
    if (answers.size > lateAnswersPerHostMax && oldest !== undefined) answers.delete(oldest);
  }

  of(host: string, nowMs: number): readonly DecisionMessage[] {
    const answers = this.#byHost.get(host);
    if (answers === undefined) return [];
    for (const [id, { expiresMs }] of answers) if (expiresMs <= nowMs) answers.delete(id);
    if (answers.size === 0) this.#byHost.delete(host);
    return [...answers.values()];
  }

  /** The agent said how it ended: it needs no answer any more. */
  forget(host: string, question: string): void {
    this.#byHost.get(host)?.delete(question);
  }
}
