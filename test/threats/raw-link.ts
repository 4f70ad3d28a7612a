/** Raw frames in and out of a namespace's interface, from the test's own process. */
import koffi from 'koffi';
import { closeSync, openSync } from 'node:fs';
import { see, type Seen } from '../kernel/datapath/frames.ts';
import { FrameSocket } from '../kernel/datapath/sockets.ts';

const setns: (fd: number, type: number) => number = koffi
  .load('libc.so.6')
  .func('int setns(int fd, int type)') as unknown as (fd: number, type: number) => number;
const networkType = 0x40000000;

function enter(path: string): void {
  const fd = openSync(path, 'r');
  try {
    if (setns(fd, networkType) !== 0) throw new Error(`enter ${path}: errno ${koffi.errno()}`);
  } finally {
    closeSync(fd);
  }
}

/** Does something with the calling thread in another network namespace, and comes back. */
export function insideNamespace<T>(path: string, action: () => T): T {
  const home = openSync('/proc/thread-self/ns/net', 'r');
  try {
    enter(path);
    return action();
  } finally {
    // Not by path: the path names the namespace that the thread is in.
    if (setns(home, networkType) !== 0) throw new Error(`come back: errno ${koffi.errno()}`);
    closeSync(home);
  }
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
