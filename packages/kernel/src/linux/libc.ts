/**
 * The C library's system calls that the Linux adapter needs, as typed functions. Everything foreign in the package is declared in
 * this file and in `object.ts` (libbpf).
 */
import koffi from 'koffi';
import process from 'node:process';
import { KernelError } from '../port.ts';

const libc = koffi.load('libc.so.6');

/** A non-variadic prototype of the variadic syscall(): equal calling conventions on x86-64 and aarch64 for integer arguments. */
const rawSyscall: (number: number, a: number | bigint, b: number | bigint, c: number | bigint) => number = libc.func(
  'long syscall(long nr, long a, long b, long c)',
);
const rawOpen: (path: string, flags: number, mode: number) => number = libc.func(
  'int open(const char *path, int flags, int mode)',
);
const rawIoctl: (fd: number, request: number, argument: Uint8Array) => number = libc.func(
  'int ioctl(int fd, unsigned long request, void *argument)',
);
const rawIoctlNumber: (fd: number, request: number, argument: number) => number = libc.func(
  'int ioctl(int fd, unsigned long request, long argument)',
);
const rawRead: (fd: number, buffer: Uint8Array, length: number) => number = libc.func(
  'long read(int fd, void *buffer, size_t length)',
);
const rawWrite: (fd: number, buffer: Uint8Array, length: number) => number = libc.func(
  'long write(int fd, void *buffer, size_t length)',
);
const rawClose: (fd: number) => number = libc.func('int close(int fd)');
const rawMmap: (
  hint: unknown,
  length: number,
  protection: number,
  flags: number,
  fd: number,
  offset: number,
) => unknown = libc.func('void *mmap(void *hint, size_t length, int protection, int flags, int fd, long offset)');
const rawMunmap: (address: unknown, length: number) => number = libc.func('int munmap(void *address, size_t length)');
const rawMount: (source: string, target: string, type: string, flags: number, data: string) => number = libc.func(
  'int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)',
);
const rawClockGettime: (clock: number, time: Uint8Array) => number = libc.func(
  'int clock_gettime(int clock, void *time)',
);

interface Numbers {
  readonly bpf: number;
  readonly membarrier: number;
}
const numbersOf: Readonly<Record<string, Numbers>> = {
  x64: { bpf: 321, membarrier: 324 },
  arm64: { bpf: 280, membarrier: 283 },
};

function numbers(): Numbers {
  const found = numbersOf[process.arch];
  if (found === undefined) throw new KernelError('start', 'ENOSYS', { detail: `architecture ${process.arch}` });
  return found;
}

const errorNames: ReadonlyMap<number, string> = new Map(
  Object.entries(koffi.os.errno)
    .map(([name, value]) => [value, name] as const)
    // EWOULDBLOCK and EAGAIN share a number; the first name of a number would depend on the order of koffi's table.
    .filter(([, name]) => name !== 'EWOULDBLOCK' && name !== 'EDEADLOCK' && name !== 'EOPNOTSUPP'),
);
export const errno = koffi.os.errno;
/** Not in koffi's table: the kernel's own code for "this operation is not known here", which clsact and old tcx answer with. */
export const kernelNotSupported = 524;

export function errorName(number: number): string {
  if (number === kernelNotSupported) return 'ENOTSUPP';
  return errorNames.get(number) ?? `E${number}`;
}
export function failure(operation: string, number: number, detail?: string): KernelError {
  return new KernelError(operation, errorName(number), detail === undefined ? {} : { detail });
}
export function lastErrno(): number {
  return koffi.errno();
}

/** bpf(2). Returns the kernel's answer, or minus errno. */
export function bpfSyscall(command: number, attributesAddress: bigint, attributesLength: number): number {
  const result = rawSyscall(numbers().bpf, command, attributesAddress, attributesLength);
  return result < 0 ? -koffi.errno() : result;
}

/** The address of a buffer's memory; the buffer must stay referenced while the kernel may use it. */
export function addressOf(buffer: Uint8Array | BigUint64Array): bigint {
  return koffi.address(buffer);
}

const membarrierGlobal = 1;
/**
 * Returns when every processor has left the eBPF programs that were running (membarrier's global command is a synchronize_rcu, about
 * 10 ms). Kernels with nohz_full refuse it: EINVAL.
 */
export function waitForPackets(): void {
  if (rawSyscall(numbers().membarrier, membarrierGlobal, 0, 0) < 0) {
    throw failure('wait for running packets', koffi.errno());
  }
}

export const openReadWriteNonBlocking = 0o2 | 0o4000 | 0o2000000;
export function open(path: string, flags: number): number {
  const fd = rawOpen(path, flags, 0);
  if (fd < 0) throw failure(`open ${path}`, koffi.errno());
  return fd;
}
export function ioctl(fd: number, request: number, argument: Uint8Array | number, operation: string): void {
  const result = typeof argument === 'number' ? rawIoctlNumber(fd, request, argument) : rawIoctl(fd, request, argument);
  if (result < 0) throw failure(operation, koffi.errno());
}
/** Bytes read, or minus errno. */
export function read(fd: number, buffer: Uint8Array): number {
  const length = Number(rawRead(fd, buffer, buffer.length));
  return length < 0 ? -koffi.errno() : length;
}
/** Bytes written, or minus errno. */
export function write(fd: number, buffer: Uint8Array): number {
  const length = Number(rawWrite(fd, buffer, buffer.length));
  return length < 0 ? -koffi.errno() : length;
}
export function close(fd: number): void {
  rawClose(fd);
}

/** Memory shared with the kernel. `release` unmaps it: no view may be used afterwards. */
export interface Mapping {
  readonly memory: ArrayBuffer;
  /** The same memory shows the object from another offset on, at once. */
  moveTo(offset: number): void;
  release(): void;
}
const protectionRead = 1;
const protectionWrite = 2;
const mapShared = 1;
const mapFixed = 0x10;
const mapFailed = 2n ** 64n - 1n;
export function mapMemory(fd: number, offset: number, length: number, writable: boolean, operation: string): Mapping {
  const protection = writable ? protectionRead | protectionWrite : protectionRead;
  const map = (hint: unknown, flags: number, at: number): unknown => {
    const mapped = rawMmap(hint, length, protection, flags, fd, at);
    if (koffi.address(mapped) === mapFailed) throw failure(operation, koffi.errno());
    return mapped;
  };
  const address = map(null, mapShared, offset);
  return {
    memory: koffi.view(address, length),
    moveTo: (at) => void map(address, mapShared | mapFixed, at),
    release: () => {
      rawMunmap(address, length);
    },
  };
}

export function mountBpffs(directory: string): void {
  if (rawMount('bpffs', directory, 'bpf', 0, 'mode=0700') < 0) {
    throw failure(`mount bpffs at ${directory}`, koffi.errno());
  }
}

const clockMonotonic = 1;
const timeBuffer = Buffer.alloc(16);
/** CLOCK_MONOTONIC, the clock of bpf_ktime_get_ns(). */
export function monotonicNs(): bigint {
  rawClockGettime(clockMonotonic, timeBuffer);
  return timeBuffer.readBigUInt64LE(0) * 1_000_000_000n + timeBuffer.readBigUInt64LE(8);
}

/** Calls back on the main loop whenever the descriptor can be read, until `close` is called. */
export function watchReadable(fd: number, ready: () => void): { close(): void } {
  return koffi.node.poll(fd, { readable: true }, ready);
}
