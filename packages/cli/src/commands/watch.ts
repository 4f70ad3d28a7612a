/** Showing something again whenever it changes. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Shell } from '../shell.ts';

const againMs = 1000;

export interface Snapshot {
  /** Equal when there is nothing new to show. */
  readonly key: string;
  readonly print: () => void;
}

/** Once, or until Ctrl-C: on a terminal over the last picture, elsewhere one below the other, and only when something changed. */
export async function repeat(shell: Shell, again: boolean, take: () => Promise<Snapshot>): Promise<void> {
  let last: string | null = null;
  while (!shell.signal.aborted) {
    let taken: Snapshot;
    try {
      taken = await take();
    } catch (error) {
      // Ctrl-C ends a watch, whatever it is doing; it is not a failure.
      if (again && shell.signal.aborted) return;
      throw error;
    }
    const { key, print } = taken;
    if (key !== last) {
      if (again) shell.terminal.clear();
      print();
    }
    last = key;
    if (!again) return;
    await pause(againMs, shell.signal);
  }
}

/** Ends early, and without an error, when the signal comes. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await delay(ms, undefined, { signal });
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
