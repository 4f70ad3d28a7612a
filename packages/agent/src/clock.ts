/** Time as an argument: the real one, or a test's. */
export interface Clock {
  /** Milliseconds since the epoch, UTC. */
  nowMs(): number;
  /** Calls once after a delay; the returned function cancels. A pending call does not keep the process alive. */
  after(delayMs: number, run: () => void): () => void;
}

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  after(delayMs, run) {
    const timer = setTimeout(run, delayMs);
    timer.unref();
    return () => clearTimeout(timer);
  },
};

/** Calls again and again until cancelled, each time a full period after the call before ended. */
export function every(clock: Clock, periodMs: number, run: () => void): () => void {
  let cancel = clock.after(periodMs, tick);
  let isCancelled = false;
  function tick(): void {
    run();
    if (!isCancelled) cancel = clock.after(periodMs, tick);
  }
  return () => {
    isCancelled = true;
    cancel();
  };
}
