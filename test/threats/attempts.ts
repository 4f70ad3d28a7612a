/** Many TCP connects from one namespace at once, in one process there. */
import { once } from 'node:events';
import type { Attempt, GovernedHost } from '../kernel/agent/governed-host.ts';

export interface Target {
  readonly address: string;
  readonly port: number;
  /** Bound to before connecting, where it matters. */
  readonly localAddress?: string;
}

const script = `
const { connect } = require('node:net');
const { targets, timeoutMs } = JSON.parse(process.argv[1]);
const names = { ECONNREFUSED: 'refused', ETIMEDOUT: 'timeout' };
Promise.all(targets.map(({ address, port, localAddress }) => new Promise((resolve) => {
  const socket = connect({ host: address, port, localAddress });
  const end = (outcome) => { socket.destroy(); resolve(outcome); };
  socket.on('connect', () => end('connected'));
  socket.on('error', (error) => end(names[error.code] ?? 'unreachable'));
  setTimeout(() => end('timeout'), timeoutMs);
}))).then((outcomes) => { process.stdout.write(JSON.stringify(outcomes)); process.exit(0); });`;

/** What came of each target, in their order; from a workload, or the host itself (null). */
export async function attempts(
  host: GovernedHost,
  from: string | null,
  targets: readonly Target[],
  timeoutMs = 700,
): Promise<readonly Attempt[]> {
  const child = host.spawn(from, process.execPath, '-e', script, JSON.stringify({ targets, timeoutMs }));
  let text = '';
  child.stdout!.setEncoding('utf8').on('data', (part: string) => (text += part));
  await once(child, 'close');
  return JSON.parse(text) as readonly Attempt[];
}
