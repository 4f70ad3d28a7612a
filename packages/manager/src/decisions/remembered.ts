/** What humans decided, for later questions with the same key. The log keeps it; this is its copy in memory. */
import type { QuestionKeys } from './consider.ts';
import { rememberedMax } from './limits.ts';
import type { RememberedDecision } from './question-log.ts';

export class RememberedDecisions {
  readonly #byKey = new Map<string, RememberedDecision>();

  constructor(decisions: readonly RememberedDecision[]) {
    for (const decision of decisions.slice(-rememberedMax)) this.#byKey.set(decision.key, decision);
  }

  get size(): number {
    return this.#byKey.size;
  }

  find(keys: QuestionKeys, nowMs: number): RememberedDecision | null {
    for (const key of [keys.pair, keys.identities]) {
      const found = this.#byKey.get(key);
      if (found !== undefined && found.expiresMs > nowMs) return found;
      if (found !== undefined) this.#byKey.delete(key);
    }
    return null;
  }

  /** False if there is no room, so that the decision holds for its connection only. */
  hasRoom(nowMs: number): boolean {
    if (this.#byKey.size < rememberedMax) return true;
    for (const [key, { expiresMs }] of this.#byKey) if (expiresMs <= nowMs) this.#byKey.delete(key);
    return this.#byKey.size < rememberedMax;
  }

  add(decision: RememberedDecision): void {
    this.#byKey.set(decision.key, decision);
  }
}
