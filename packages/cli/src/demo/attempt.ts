/** What is tried in the demo, and what came back, told by the probe inside the container. */
import { CommandError, run } from './command.ts';
import type { Engine } from './engine.ts';

export type Ending = 'connected' | 'refused' | 'timed-out' | 'unreachable' | 'no-such-name';

export interface Attempt {
  readonly ending: Ending;
  readonly tookMs: number;
}

const endings: readonly Ending[] = ['connected', 'refused', 'timed-out', 'unreachable', 'no-such-name'];

/** `connected 0.37 ms`, as the probe prints it. */
export function parseAttempt(text: string): Attempt {
  const match = /^(\S+) ([\d.]+) ms/.exec(text);
  const ending = endings.find((each) => each === match?.[1]);
  if (match === null || ending === undefined) throw new Error(`the probe said: ${text}`);
  return { ending, tookMs: Number(match[2]) };
}

export interface Sweep {
  readonly tried: number;
  readonly connected: number;
  readonly refused: number;
  readonly answers: readonly string[];
}

export function parseSweep(text: string): Sweep {
  const match = /tried (\d+), connected (\d+), refused (\d+)/.exec(text);
  if (match === null) throw new Error(`the probe said: ${text}`);
  const answers = text.split('\n').filter((line) => /^(?:connected|refused) /.test(line));
  return { tried: Number(match[1]), connected: Number(match[2]), refused: Number(match[3]), answers };
}

/** The probe exits with 1 when nobody answered, which is a result and no failure. */
async function outputOf(running: Promise<string>): Promise<string> {
  try {
    return await running;
  } catch (error) {
    if (error instanceof CommandError && error.exitCode === 1 && error.stdout !== '') return error.stdout;
    throw error;
  }
}

export async function connectFrom(
  engine: Engine,
  container: string,
  target: { readonly host: string; readonly port: number; readonly timeoutMs?: number },
): Promise<Attempt> {
  const args = ['probe', 'tcp', target.host, String(target.port), String(target.timeoutMs ?? 1500)];
  return parseAttempt(await outputOf(engine.docker('exec', container, ...args)));
}

export async function sweepFrom(
  engine: Engine,
  container: string,
  target: { readonly cidr: string; readonly ports: readonly number[]; readonly timeoutMs: number },
): Promise<Sweep> {
  const args = ['probe', 'sweep', target.cidr, target.ports.join(','), String(target.timeoutMs)];
  return parseSweep(await outputOf(engine.docker('exec', container, ...args)));
}

/** A plain connect() from this process' namespace or another, through the same probe on the host. */
export async function connectWith(
  command: readonly [string, ...string[]],
  target: { readonly host: string; readonly port: number; readonly timeoutMs?: number },
): Promise<Attempt> {
  const [executable, ...rest] = command;
  const args = [...rest, 'tcp', target.host, String(target.port), String(target.timeoutMs ?? 1500)];
  return parseAttempt(await outputOf(run(executable, args)));
}
