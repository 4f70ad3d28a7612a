/** Delays between attempts to connect: doubling, and jittered over the whole range so that many agents do not come at once. */
export const backoffMinMs = 100;
export const backoffMaxMs = 30_000;

/** `random` is in [0, 1). Attempts count from 0. */
export function backoffMs(attempt: number, random: number): number {
  const ceiling = Math.min(backoffMaxMs, backoffMinMs * 2 ** Math.min(attempt, 20));
  return backoffMinMs / 2 + random * ceiling;
}
