/** What the agent does again and again. A failure of the kernel is logged, and the next tick tries again. */
import { KernelError } from '@bulkhead/kernel';
import type { Logger } from 'pino';
import { every, type Clock } from './clock.ts';

export interface Tick {
  readonly periodMs: number;
  /** For the log: `could not …`. */
  readonly what: string;
  readonly run: () => void;
}

export function startTicks(clock: Clock, log: Logger, ticks: readonly Tick[]): Disposable {
  const cancels = ticks.map(({ periodMs, what, run }) => every(clock, periodMs, () => guarded(log, what, run)));
  return {
    [Symbol.dispose]: () => {
      for (const cancel of cancels) cancel();
    },
  };
}

/** False where the kernel refused. */
export function guarded(log: Logger, what: string, run: () => void): boolean {
  try {
    run();
    return true;
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
    log.error({ error: error.message }, `could not ${what}`);
    return false;
  }
}
