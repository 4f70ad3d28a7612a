/**
 * The kernel carries 26-bit numbers; this says what they mean, also for revisions that are past: a number keeps its reason for as long
 * as anything may mention it. Written to disk before the kernel sees a number.
 */
import { reasonText, type Reason, type SideVerdict } from '@bulkhead/policy';
import type { AgentState, Records } from '../state.ts';

const numberMax = 2 ** 26 - 1;
/** What a number stands for. `terms`: of a question; under other terms the same rule has another number. */
type Numbered = Pick<SideVerdict, 'reason' | 'terms'>;

function textOf({ reason, terms }: Numbered): string {
  return terms === undefined ? reasonText(reason) : `${reasonText(reason)} ${terms}`;
}

/** Known reasons above which unused ones are forgotten. */
export const reasonsMax = 200_000;

export class RuleNumbers {
  readonly #state: AgentState;
  readonly #records: Records<Numbered>;
  readonly #byText = new Map<string, number>();
  readonly #byNumber = new Map<number, Numbered>();
  #pending: number[] = [];
  #next = 1;

  constructor(state: AgentState) {
    this.#state = state;
    this.#records = state.records('rule-number', (value) => value as Numbered);
    for (const [key, numbered] of this.#records.entries()) this.#know(Number(key), numbered);
    for (const number of this.#byNumber.keys()) this.#next = Math.max(this.#next, number + 1);
  }

  /**
   * The number of what decided, a new one if need be. `flush` before it goes to the kernel. A connection that was admitted by a
   * decision stays only while the same numbers ask, so other terms of a question are another number.
   */
  numberOf({ reason, terms }: Numbered): number {
    const numbered = terms === undefined ? { reason } : { reason, terms };
    const text = textOf(numbered);
    const known = this.#byText.get(text);
    if (known !== undefined) return known;
    while (this.#byNumber.has(this.#next) || this.#next > numberMax) {
      this.#next = this.#next >= numberMax ? 1 : this.#next + 1;
    }
    const number = this.#next++;
    this.#know(number, numbered);
    this.#pending.push(number);
    return number;
  }

  reasonOf(number: number): Reason | undefined {
    return this.#byNumber.get(number)?.reason;
  }

  /** Text for flows: rule 0 is what the kernel says where no row spoke. */
  textOf(number: number): string {
    const reason = this.reasonOf(number);
    return reason === undefined ? (number === 0 ? 'builtin:unknown' : `rule:${number}`) : reasonText(reason);
  }

  /** Makes new numbers durable. */
  flush(): void {
    if (this.#pending.length === 0) return;
    this.#state.transaction(() => {
      for (const number of this.#pending) this.#records.set(String(number), this.#byNumber.get(number)!);
    }, 'process');
    this.#pending = [];
  }

  /** Forgets numbers that nothing mentions, once there are too many. `used` walks rows and connections, so only then. */
  prune(used: () => ReadonlySet<number>): void {
    if (this.#byNumber.size <= reasonsMax) return;
    const kept = used();
    this.#state.transaction(() => {
      for (const [number, numbered] of this.#byNumber) {
        if (kept.has(number)) continue;
        this.#byNumber.delete(number);
        this.#byText.delete(textOf(numbered));
        this.#records.delete(String(number));
      }
    });
  }

  #know(number: number, numbered: Numbered): void {
    this.#byNumber.set(number, numbered);
    this.#byText.set(textOf(numbered), number);
  }
}
