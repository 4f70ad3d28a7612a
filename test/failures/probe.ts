/** A continuous probe from a workload, and what it saw between two moments. */
import { once } from 'node:events';
import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { GovernedHost } from '../kernel/agent/governed-host.ts';
import type { ProbeLine, ProbeSettings } from './probe-process.ts';

const script = fileURLToPath(new URL('probe-process.ts', import.meta.url));

export class Probe implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #lines: ProbeLine[] = [];
  readonly #host: GovernedHost;

  constructor(host: GovernedHost, from: string, settings: ProbeSettings) {
    this.#host = host;
    this.#child = host.spawn(from, process.execPath, script, JSON.stringify(settings));
    createInterface({ input: this.#child.stdout! }).on('line', (text) =>
      this.#lines.push(JSON.parse(text) as ProbeLine),
    );
  }

  /** Outcomes of the attempts on a target that began in the time from `sinceMs` on, until `untilMs`. */
  outcomes(target: string, sinceMs: number, untilMs = Number.POSITIVE_INFINITY): readonly string[] {
    return this.#lines.flatMap((line) =>
      line.kind === 'attempt' && line.target === target && line.atMs >= sinceMs && line.atMs < untilMs
        ? [line.outcome]
        : [],
    );
  }

  /** How long each echo over the connection that stays took. */
  echoes(sinceMs: number): readonly number[] {
    return this.#lines.flatMap((line) => (line.kind === 'echo' && line.atMs >= sinceMs ? [line.tookMs] : []));
  }

  get broken(): readonly string[] {
    return this.#lines.flatMap((line) => (line.kind === 'broken' ? [line.why] : []));
  }

  /** Waits until every target has so many ended attempts since then, and the connection that stays so many echoes. */
  rounds(targets: readonly string[], sinceMs: number, count: number): Promise<void> {
    return this.#host.until(`${count} rounds of the probe`, async () => {
      if (this.broken.length > 0) throw new Error(`the connection that stays: ${this.broken.join()}`);
      return (
        targets.every((target) => this.outcomes(target, sinceMs).length >= count) &&
        this.echoes(sinceMs).length >= count
      );
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const gone = once(this.#child, 'close');
    this.#child.stdin!.end();
    await gone;
  }
}
