/** What a check of `bulkhead doctor` found, and how the findings read. */
import type { Paint, Tone } from '../output/paint.ts';

export interface Finding {
  readonly name: string;
  /** `warn` works, with a limit that is named; `skipped` could not be looked at, and says why. */
  readonly state: 'good' | 'warn' | 'bad' | 'skipped';
  readonly found: string;
  readonly remedy?: string;
}

export type Check = () => Promise<Finding>;

const marks: Readonly<Record<Finding['state'], readonly [string, Tone]>> = {
  good: ['ok', 'good'],
  warn: ['warn', 'warn'],
  bad: ['BAD', 'bad'],
  skipped: ['skip', 'dim'],
};

export function findingLines(findings: readonly Finding[], paint: Paint): readonly string[] {
  const width = Math.max(0, ...findings.map((finding) => finding.name.length));
  return findings.flatMap((finding) => {
    const [mark, tone] = marks[finding.state];
    const line = `${paint(tone, mark.padEnd(4))}  ${finding.name.padEnd(width)}  ${finding.found}`;
    return finding.remedy === undefined ? [line] : [line, `${' '.repeat(width + 8)}${paint('dim', finding.remedy)}`];
  });
}

/** A check that throws has found something too: nothing of doctor's own may end it. */
export async function runCheck(name: string, check: Check): Promise<Finding> {
  try {
    return await check();
  } catch (error) {
    return { name, state: 'bad', found: error instanceof Error ? error.message : String(error) };
  }
}

/** `6.1.0-18-amd64` as [6, 1]; null where it is no version. */
export function kernelVersion(release: string): readonly [number, number] | null {
  const match = /^(\d+)\.(\d+)/.exec(release);
  return match === null ? null : [Number(match[1]), Number(match[2])];
}

export const atLeast = (version: readonly [number, number], wanted: readonly [number, number]): boolean =>
  version[0] > wanted[0] || (version[0] === wanted[0] && version[1] >= wanted[1]);

/** Largest difference of clocks that questions and certificates bear, ms. */
const skewWarnMs = 2_000;
const skewBadMs = 30_000;

export function clockFinding(managerMs: number, hereMs: number): Finding {
  const skewMs = Math.abs(managerMs - hereMs);
  const found = `${(skewMs / 1000).toFixed(1)} s from the manager's`;
  const remedy = "Set this machine's clock by NTP: questions expire by it, and certificates are judged by it.";
  if (skewMs > skewBadMs) return { name: 'clock', state: 'bad', found, remedy };
  if (skewMs > skewWarnMs) return { name: 'clock', state: 'warn', found, remedy };
  return { name: 'clock', state: 'good', found };
}

const dayMs = 86_400_000;

export function certificateFinding(name: string, endsMs: number, nowMs: number): Finding {
  const days = Math.floor((endsMs - nowMs) / dayMs);
  if (endsMs <= nowMs)
    return {
      name,
      state: 'bad',
      found: `ended ${-days} days ago`,
      remedy: 'Enrol the host again: bulkhead enroll HOST.',
    };
  const found = days > 0 ? `ends in ${days} days` : `ends in ${Math.floor((endsMs - nowMs) / 3_600_000)} hours`;
  return { name, state: 'good', found };
}
