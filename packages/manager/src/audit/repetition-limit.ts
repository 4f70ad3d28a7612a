/** Keeps strangers from filling the audit log: what one source repeats is told a few times a minute, and then only counted. */

/** Times per window that one source's failures are told. */
export const toldMax = 10;
const windowMs = 60_000;
/** Sources that are watched at a time. */
const sourcesMax = 10_000;

export interface Repetition {
  /** Which one of this source's it is in the present window, from 1. */
  readonly count: number;
  readonly tell: boolean;
}

export class RepetitionLimit {
  readonly #nowMs: () => number;
  readonly #sources = new Map<string, { readonly sinceMs: number; count: number }>();

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  count(source: string): Repetition {
    const nowMs = this.#nowMs();
    let entry = this.#sources.get(source);
    if (entry === undefined || nowMs - entry.sinceMs >= windowMs) {
      if (this.#sources.size >= sourcesMax) this.#sources.clear();
      entry = { sinceMs: nowMs, count: 0 };
      this.#sources.set(source, entry);
    }
    entry.count += 1;
    return { count: entry.count, tell: entry.count <= toldMax };
  }
}
