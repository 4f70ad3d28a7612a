/**
 * Sockets of the machine's own stack inside network namespaces, from one thread: a socket stays in the namespace it was made in. All are
 * non-blocking. SCTP goes over raw IP sockets, since the kernel may lack its own.
 */
import koffi from 'koffi';

const libc = koffi.load('libc.so.6');
const socketCall = libc.func('int socket(int domain, int type, int protocol)');
const bindCall = libc.func('int bind(int fd, const void *address, uint32_t bytes)');
const listenCall = libc.func('int listen(int fd, int backlog)');
const connectCall = libc.func('int connect(int fd, const void *address, uint32_t bytes)');
const acceptCall = libc.func('int accept4(int fd, void *address, void *bytes, int flags)');
const peerCall = libc.func('int getpeername(int fd, void *address, _Inout_ uint32_t *bytes)');
const sendCall = libc.func(
  'long sendto(int fd, const void *data, size_t bytes, int flags, const void *to, uint32_t toBytes)',
);
const receiveCall = libc.func(
  'long recvfrom(int fd, void *data, size_t bytes, int flags, void *from, _Inout_ uint32_t *fromBytes)',
);
const setOption = libc.func('int setsockopt(int fd, int level, int name, const void *value, uint32_t bytes)');
const closeCall = libc.func('int close(int fd)');

const inet = 2;
const nonBlocking = 0o4000 | 0o2000000;
const kinds = { stream: 1, datagram: 2, raw: 3 } as const;
const inProgress = 115;
const wouldBlock = 11;
const addressBytes = 16;
const backlog = 1024;
const receiveBytes = 2048;

function must(result: number, operation: string): number {
  if (result < 0) throw new Error(`${operation}: errno ${koffi.errno()}`);
  return result;
}

function socketAddress(ip: string, port: number): Buffer {
  const address = Buffer.alloc(addressBytes);
  address.writeUInt16LE(inet, 0);
  address.writeUInt16BE(port, 2);
  address.set(ip.split('.').map(Number), 4);
  return address;
}

/** A datagram, or a whole IP packet of a raw socket, and who sent it. */
export interface Received {
  readonly source: string;
  readonly sourcePort: number;
  readonly bytes: Buffer;
}

export class Socket implements Disposable {
  readonly #fd: number;
  readonly #buffer = Buffer.alloc(receiveBytes);

  constructor(kind: keyof typeof kinds, protocol = 0) {
    this.#fd = must(socketCall(inet, kinds[kind] | nonBlocking, protocol), `make a ${kind} socket`);
  }

  bind(ip: string, port: number): this {
    must(bindCall(this.#fd, socketAddress(ip, port), addressBytes), `bind ${ip}:${port}`);
    return this;
  }
  listen(): this {
    must(listenCall(this.#fd, backlog), 'listen');
    return this;
  }
  /** Begins; `isConnected` says whether it came to be. */
  connect(ip: string, port: number): this {
    const result = connectCall(this.#fd, socketAddress(ip, port), addressBytes);
    if (result < 0 && koffi.errno() !== inProgress) must(result, `connect to ${ip}:${port}`);
    return this;
  }
  isConnected(): boolean {
    return peerCall(this.#fd, Buffer.alloc(addressBytes), [addressBytes]) === 0;
  }
  /** Takes what waits to be accepted, and lets it go. */
  drain(): void {
    for (let fd = acceptCall(this.#fd, null, null, 0); fd >= 0; fd = acceptCall(this.#fd, null, null, 0)) closeCall(fd);
  }
  send(bytes: Uint8Array, ip: string, port: number): void {
    must(sendCall(this.#fd, bytes, bytes.length, 0, socketAddress(ip, port), addressBytes), `send to ${ip}:${port}`);
  }
  receive(): Received | null {
    const from = Buffer.alloc(addressBytes);
    const length = receiveCall(this.#fd, this.#buffer, receiveBytes, 0, from, [addressBytes]);
    if (length < 0) {
      if (koffi.errno() !== wouldBlock) must(length, 'receive');
      return null;
    }
    const bytes = Buffer.from(this.#buffer.subarray(0, length));
    return { source: [...from.subarray(4, 8)].join('.'), sourcePort: from.readUInt16BE(2), bytes };
  }
  /** Closing ends the connection at once, on both sides. */
  abort(): void {
    setOption(this.#fd, 1, 13, Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]), 8);
    this[Symbol.dispose]();
  }
  [Symbol.dispose](): void {
    closeCall(this.#fd);
  }
}
