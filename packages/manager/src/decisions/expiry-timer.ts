/** One timer for whatever falls due next. What could not be done is tried again. */
import type { Unsubscribe } from '../services.ts';

export interface ExpiryClock {
  readonly nowMs: () => number;
  readonly after: (milliseconds: number, call: () => void) => Unsubscribe;
  readonly onFault: (error: unknown) => void;
}

/** How long after a fault it is tried again, milliseconds. */
const retryMs = 1_000;
/** Timers beyond this overflow; it is set again then. */
const timerMaxMs = 2 ** 31 - 1;

export class ExpiryTimer {
  readonly #clock: ExpiryClock;
  readonly #nextMs: () => number;
  readonly #expire: () => Promise<void>;
  #set: { readonly atMs: number; readonly cancel: Unsubscribe } | null = null;
  #stopped = false;

  /** `nextMs`: when the next falls due, Infinity for never. `expire` ends all that is due. */
  constructor(clock: ExpiryClock, nextMs: () => number, expire: () => Promise<void>) {
    this.#clock = clock;
    this.#nextMs = nextMs;
    this.#expire = expire;
  }

  /** To be called when what falls due next may have changed. */
  arm(): void {
    this.#setFor(this.#nextMs());
  }

  stop(): void {
    this.#stopped = true;
    this.#set?.cancel();
    this.#set = null;
  }

  #setFor(atMs: number): void {
    if (this.#stopped || atMs === this.#set?.atMs) return;
    this.#set?.cancel();
    this.#set = null;
    if (atMs === Number.POSITIVE_INFINITY) return;
    const delayMs = Math.min(timerMaxMs, Math.max(0, atMs - this.#clock.nowMs()));
    this.#set = { atMs, cancel: this.#clock.after(delayMs, () => void this.#fire()) };
  }

  async #fire(): Promise<void> {
    this.#set = null;
    try {
      await this.#expire();
      this.arm();
    } catch (error) {
      this.#clock.onFault(error);
      this.#setFor(this.#clock.nowMs() + retryMs);
    }
  }
}
