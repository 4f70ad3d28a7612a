/** Raw frames in and out of a namespace's interface, from the test's own process. */
import koffi from 'koffi';
import { closeSync, openSync } from 'node:fs';
import { see, type Seen } from '../kernel/datapath/frames.ts';
import { FrameSocket } from '../kernel/datapath/sockets.ts';

const setns: (fd: number, type: number) => number = koffi
  .load('libc.so.6')
  .func('int setns(int fd, int type)') as unknown as (fd: number, type: number) => number;
const networkType = 0x40000000;

/** Moves the calling thread. */
function enter(fd: number, what: string): void {
  if (setns(fd, networkType) !== 0) throw new Error(`enter ${what}: errno ${koffi.errno()}`);
}

/** Does something with the calling thread in another network namespace, and comes back. */
export function insideNamespace<T>(path: string, action: () => T): T {
  const home = openSync('/proc/thread-self/ns/net', 'r');
  const there = openSync(path, 'r');
  try {
    enter(there, path);
    return action();
  } finally {
    enter(home, 'the namespace of before');
    closeSync(there);
    closeSync(home);
  }
}

/** Moves the main thread for good: sockets and children made from now on are there. */
export function moveInto(path: string): void {
  const there = openSync(path, 'r');
  enter(there, path);
  closeSync(there);
}

/** A packet socket on an interface of a namespace. It stays there; the thread does not. */
export function rawLink(path: string, interfaceName = 'eth0'): FrameSocket {
  return insideNamespace(path, () => new FrameSocket(interfaceName));
}

/** What has arrived since the last look, but for IPv6 chatter of the namespace's own stack. */
export function arrived(link: FrameSocket): readonly Seen[] {
  const seen: Seen[] = [];
  for (let frame = link.receive(); frame !== null; frame = link.receive()) seen.push(see(frame));
  return seen;
}
