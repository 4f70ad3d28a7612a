/** Moves the test's main thread into a new network namespace, which ends with the process. Adapter and children follow that thread. */
import koffi from 'koffi';
import { execFileSync } from 'node:child_process';

const libc = koffi.load('libc.so.6');
const unshare: (flags: number) => number = libc.func('int unshare(int flags)');
const newNetwork = 0x40000000;

export function enterOwnNamespace(): void {
  if (unshare(newNetwork) !== 0) throw new Error(`unshare: errno ${koffi.errno()}`);
  run('ip', 'link', 'set', 'dev', 'lo', 'up');
}

export function run(command: string, ...words: readonly string[]): string {
  return execFileSync(command, words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}
