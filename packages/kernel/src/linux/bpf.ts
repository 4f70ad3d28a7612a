/** Commands of bpf(2) beside the map operations of `table.ts`: objects by pin, links, runs and information. */
import { KernelError } from '../port.ts';
import { addressOf, bpfSyscall, failure } from './libc.ts';

/** Numbers of `enum bpf_cmd`. */
export const command = {
  mapLookup: 1,
  mapUpdate: 2,
  mapDelete: 3,
  objectPin: 6,
  objectGet: 7,
  programTestRun: 10,
  programGetFdById: 13,
  objectInfo: 15,
  programQuery: 16,
  btfGetFdById: 19,
  mapTake: 21,
  mapLookupBatch: 24,
  mapUpdateBatch: 26,
  mapDeleteBatch: 27,
  linkCreate: 28,
  linkUpdate: 29,
  linkDetach: 34,
} as const;

/** Numbers of `enum bpf_attach_type` (Linux 6.6). */
export const attachType = { tcxIngress: 46, tcxEgress: 47 } as const;
const linkTypeTcx = 11;

/** Runs a command whose attributes are the given buffer. Returns the answer, or minus errno. */
export function bpf(number: number, attributes: Buffer): number {
  return bpfSyscall(number, addressOf(attributes), attributes.length);
}
function must(number: number, attributes: Buffer, operation: string): number {
  const result = bpf(number, attributes);
  if (result < 0) throw failure(operation, -result);
  return result;
}

function pathBuffer(path: string): Buffer {
  return Buffer.from(`${path}\0`, 'utf8');
}

export function pin(fd: number, path: string): void {
  const name = pathBuffer(path);
  const attributes = Buffer.alloc(16);
  attributes.writeBigUInt64LE(addressOf(name), 0);
  attributes.writeUInt32LE(fd, 8);
  must(command.objectPin, attributes, `pin ${path}`);
}

/** The descriptor of a pinned object, or null where the pin is absent. */
export function getPinned(path: string): number | null {
  const name = pathBuffer(path);
  const attributes = Buffer.alloc(16);
  attributes.writeBigUInt64LE(addressOf(name), 0);
  const fd = bpf(command.objectGet, attributes);
  if (fd >= 0) return fd;
  const error = failure(`open pin ${path}`, -fd);
  if (error.code === 'ENOENT') return null;
  throw error;
}

function objectInfo(fd: number, length: number, operation: string): Buffer {
  const info = Buffer.alloc(length);
  const attributes = Buffer.alloc(16);
  attributes.writeUInt32LE(fd, 0);
  attributes.writeUInt32LE(info.length, 4);
  attributes.writeBigUInt64LE(addressOf(info), 8);
  must(command.objectInfo, attributes, operation);
  return info;
}

export interface ProgramInfo {
  readonly id: number;
  /** Hash of the instructions: changes exactly when the program does. */
  readonly tag: string;
}
export function programInfo(fd: number): ProgramInfo {
  const info = objectInfo(fd, 16, 'read program information');
  return { id: info.readUInt32LE(4), tag: info.toString('hex', 8, 16) };
}

export interface MapInfo {
  readonly type: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly entriesMax: number;
  readonly flags: number;
  readonly btfId: number;
  readonly btfKeyType: number;
  readonly btfValueType: number;
}
export function mapInfo(fd: number): MapInfo {
  const info = objectInfo(fd, 80, 'read map information');
  return {
    type: info.readUInt32LE(0),
    keySize: info.readUInt32LE(8),
    valueSize: info.readUInt32LE(12),
    entriesMax: info.readUInt32LE(16),
    flags: info.readUInt32LE(20),
    btfId: info.readUInt32LE(64),
    btfKeyType: info.readUInt32LE(68),
    btfValueType: info.readUInt32LE(72),
  };
}

const btfBytesMax = 16 * 1024 * 1024;
/** The type information that the kernel keeps for a loaded object. */
export function btfOf(id: number, close: (fd: number) => void): Uint8Array {
  const attributes = Buffer.alloc(16);
  attributes.writeUInt32LE(id, 0);
  const fd = must(command.btfGetFdById, attributes, `open BTF ${id}`);
  try {
    const size = objectInfo(fd, 16, 'read BTF size').readUInt32LE(8);
    if (size > btfBytesMax) throw new KernelError(`read BTF ${id}`, 'E2BIG', { detail: `${size} bytes` });
    const data = Buffer.alloc(size);
    const info = Buffer.alloc(16);
    info.writeBigUInt64LE(addressOf(data), 0);
    info.writeUInt32LE(size, 8);
    const query = Buffer.alloc(16);
    query.writeUInt32LE(fd, 0);
    query.writeUInt32LE(info.length, 4);
    query.writeBigUInt64LE(addressOf(info), 8);
    must(command.objectInfo, query, `read BTF ${id}`);
    return data;
  } finally {
    close(fd);
  }
}

const beforeAllOthers = 1 << 3;
/** Attaches a program through tcx, before or after those that are there. Returns the link's descriptor, or minus errno. */
export function createTcxLink(programFd: number, ifindex: number, type: number, first: boolean): number {
  const attributes = Buffer.alloc(64);
  attributes.writeUInt32LE(programFd, 0);
  attributes.writeUInt32LE(ifindex, 4);
  attributes.writeUInt32LE(type, 8);
  attributes.writeUInt32LE(first ? beforeAllOthers : 0, 12);
  return bpf(command.linkCreate, attributes);
}

/** Puts another program behind a link, in one step. */
export function updateLink(linkFd: number, programFd: number): void {
  const attributes = Buffer.alloc(16);
  attributes.writeUInt32LE(linkFd, 0);
  attributes.writeUInt32LE(programFd, 4);
  must(command.linkUpdate, attributes, 'replace the program of a link');
}

export function detachLink(linkFd: number): void {
  const attributes = Buffer.alloc(4);
  attributes.writeUInt32LE(linkFd, 0);
  const result = bpf(command.linkDetach, attributes);
  if (result < 0) {
    const error = failure('detach a link', -result);
    // The device is gone, and the link with it.
    if (error.code !== 'ENOLINK' && error.code !== 'EINVAL') throw error;
  }
}

/** What a tcx link holds on to; `ifindex` is 0 once its device is gone. Null when the descriptor is no tcx link. */
export function tcxLinkInfo(
  linkFd: number,
): { readonly ifindex: number; readonly type: number; readonly programId: number } | null {
  const info = objectInfo(linkFd, 64, 'read link information');
  if (info.readUInt32LE(0) !== linkTypeTcx) return null;
  return { programId: info.readUInt32LE(8), ifindex: info.readUInt32LE(16), type: info.readUInt32LE(20) };
}

const loopbackIfindex = 1;
/** Whether the kernel has tcx (Linux 6.6). */
export function tcxSupported(): boolean {
  const attributes = Buffer.alloc(64);
  attributes.writeUInt32LE(loopbackIfindex, 0);
  attributes.writeUInt32LE(attachType.tcxIngress, 4);
  return bpf(command.programQuery, attributes) >= 0;
}

export interface TestRun {
  readonly result: number;
  readonly frame: Uint8Array;
  readonly nsPerRun: number;
}
const frameBytesMax = 65_535 + 256;
const skbContextBytes = 192;
/** Offsets in `struct __sk_buff`. */
const skbOffset = { mark: 8, ifindex: 40, ingressIfindex: 36 } as const;

/** Buffers of test runs, made at the first: a run is short beside clearing them. */
interface RunBuffers {
  readonly input: Buffer;
  readonly output: Buffer;
  readonly context: Buffer;
  readonly attributes: Buffer;
}
let runBuffers: RunBuffers | null = null;
function madeRunBuffers(): RunBuffers {
  const made = {
    input: Buffer.from(new ArrayBuffer(frameBytesMax)),
    output: Buffer.from(new ArrayBuffer(frameBytesMax)),
    context: Buffer.from(new ArrayBuffer(skbContextBytes)),
    attributes: Buffer.from(new ArrayBuffer(80)),
  };
  made.attributes.writeBigUInt64LE(addressOf(made.input), 16);
  made.attributes.writeBigUInt64LE(addressOf(made.output), 24);
  made.attributes.writeUInt32LE(skbContextBytes, 40);
  made.attributes.writeBigUInt64LE(addressOf(made.context), 48);
  return made;
}

/** Runs a program of the traffic control kind over one frame. */
export function testRunProgram(fd: number, frame: Uint8Array, ifindex: number, mark: number, repeat: number): TestRun {
  runBuffers ??= madeRunBuffers();
  const { input, output, context, attributes } = runBuffers;
  const operation = 'run a program over a frame';
  if (frame.length > input.length) throw new KernelError(operation, 'E2BIG', { detail: `${frame.length} bytes` });
  input.set(frame);
  context.writeUInt32LE(mark, skbOffset.mark);
  context.writeUInt32LE(ifindex, skbOffset.ifindex);
  context.writeUInt32LE(ifindex, skbOffset.ingressIfindex);
  attributes.writeUInt32LE(fd, 0);
  attributes.writeUInt32LE(0, 4);
  attributes.writeUInt32LE(frame.length, 8);
  attributes.writeUInt32LE(output.length, 12);
  attributes.writeUInt32LE(repeat, 32);
  attributes.writeUInt32LE(0, 36);
  must(command.programTestRun, attributes, operation);
  return {
    result: attributes.readInt32LE(4),
    frame: new Uint8Array(output.subarray(0, attributes.readUInt32LE(12))),
    nsPerRun: attributes.readUInt32LE(36),
  };
}
