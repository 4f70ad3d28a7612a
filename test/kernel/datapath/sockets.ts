/** Network namespaces and raw frames of the machine that the tests run on: what node itself has no call for. */
import koffi from 'koffi';
import { execFileSync } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';

const libc = koffi.load('libc.so.6');
const setns = libc.func('int setns(int fd, int type)');
const socketCall = libc.func('int socket(int domain, int type, int protocol)');
const bindCall = libc.func('int bind(int fd, const void *address, uint32_t bytes)');
const setOption = libc.func('int setsockopt(int fd, int level, int name, const void *value, uint32_t bytes)');
const interfaceIndex = libc.func('uint32_t if_nametoindex(const char *name)');
const readCall = libc.func('long read(int fd, void *buffer, size_t bytes)');
const writeCall = libc.func('long write(int fd, const void *buffer, size_t bytes)');
const closeCall = libc.func('int close(int fd)');

const noBuffers = 105;
const netnsType = 0x40000000;
const packetFamily = 17;
const rawNonBlocking = 3 | 0o4000 | 0o2000000;
const everyProtocol = 0x0300;
const packetLevel = 263;
const ignoreOutgoing = 23;
const receiveBufferForced = 33;
const socketLevel = 1;
const markOption = 36;
const frameBytesMax = 65_536;

/** Errors of the environment while a test sets itself up. */
function must(result: number, operation: string): number {
  if (result < 0) throw new Error(`${operation}: errno ${koffi.errno()}`);
  return result;
}

export function run(command: string, ...words: readonly string[]): string {
  return execFileSync(command, words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

/**
 * The namespaces of one test file. `setns` moves the calling thread only: everything here is called from the main thread, which also
 * forks the children.
 */
export class Namespaces implements Disposable {
  readonly #made: string[] = [];
  readonly #first = openSync('/proc/thread-self/ns/net', 'r');

  make(name: string): string {
    const full = `bhA-${process.pid}-${name}`;
    run('ip', 'netns', 'add', full);
    this.#made.push(full);
    return full;
  }
  enter(name: string): void {
    const fd = openSync(`/run/netns/${name}`, 'r');
    must(setns(fd, netnsType), `enter ${name}`);
    closeSync(fd);
  }
  /** Does something in a namespace and comes back to `home`. */
  inside<T>(name: string, home: string, action: () => T): T {
    this.enter(name);
    try {
      return action();
    } finally {
      this.enter(home);
    }
  }
  [Symbol.dispose](): void {
    must(setns(this.#first, netnsType), 'leave');
    closeSync(this.#first);
    for (const name of this.#made) run('ip', 'netns', 'delete', name);
  }
}

/** A raw socket on one interface: sends frames as they are, receives those that others sent. */
export class FrameSocket implements Disposable {
  readonly #fd: number;
  readonly #buffer = Buffer.alloc(frameBytesMax);

  constructor(interfaceName: string) {
    const index = interfaceIndex(interfaceName);
    if (index === 0) throw new Error(`no interface ${interfaceName}`);
    this.#fd = must(socketCall(packetFamily, rawNonBlocking, everyProtocol), 'open a packet socket');
    const address = Buffer.alloc(20);
    address.writeUInt16LE(packetFamily, 0);
    address.writeUInt16LE(everyProtocol, 2);
    address.writeInt32LE(index, 4);
    must(bindCall(this.#fd, address, address.length), 'bind a packet socket');
    const one = Buffer.from([1, 0, 0, 0]);
    must(setOption(this.#fd, packetLevel, ignoreOutgoing, one, 4), 'ignore own frames');
    const bytes = Buffer.alloc(4);
    bytes.writeInt32LE(16 << 20);
    must(setOption(this.#fd, socketLevel, receiveBufferForced, bytes, 4), 'size the receive buffer');
  }

  /** Frames sent from now on carry this mark, as if the host's stack had set it. */
  mark(value: number): void {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value);
    must(setOption(this.#fd, socketLevel, markOption, bytes, 4), 'mark frames');
  }
  send(frame: Uint8Array): void {
    // Where a program drops what the host sends, the sender is told that there were no buffers.
    if (writeCall(this.#fd, frame, frame.length) >= 0 || koffi.errno() === noBuffers) return;
    throw new Error(`send a frame: errno ${koffi.errno()}`);
  }
  /** The next frame that is already there. */
  receive(): Buffer | null {
    const length = readCall(this.#fd, this.#buffer, this.#buffer.length);
    return length < 0 ? null : Buffer.from(this.#buffer.subarray(0, length));
  }
  [Symbol.dispose](): void {
    closeCall(this.#fd);
  }
}
