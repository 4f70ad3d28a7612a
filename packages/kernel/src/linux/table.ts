/** One eBPF map as a table of bytes: single operations on fixed buffers, batches, and walks. */
import { KernelError } from '../port.ts';
import { bpf, command, mapInfo, type MapInfo } from './bpf.ts';
import { addressOf, errno, errorName, failure, mapMemory, type Mapping } from './libc.ts';

/** Entries per batch: large enough that the walk of a hash never meets a bucket that does not fit. */
const batchEntries = 8192;
/** Kernel's numbers of `enum bpf_map_type`. */
const mapType = {
  hash: 1,
  array: 2,
  perCpuHash: 5,
  perCpuArray: 6,
  lruHash: 9,
  lruPerCpuHash: 10,
  lpmTrie: 11,
} as const;
const anyFlag = 0n;
const onlyNewFlag = 1n;

export type UpdateResult = 'done' | 'full';

export class Table {
  readonly name: string;
  readonly fd: number;
  readonly info: MapInfo;
  /** Scratch key and value: encode into them, then call `update`, `lookup` or `delete`. */
  readonly key: Buffer;
  readonly value: Buffer;
  readonly keyView: DataView;
  readonly valueView: DataView;
  readonly #attributes: Buffer;
  #batch: Batch | null = null;

  constructor(name: string, fd: number, cpus: number) {
    this.name = name;
    this.fd = fd;
    this.info = mapInfo(fd);
    const perCpu =
      this.info.type === mapType.perCpuArray ||
      this.info.type === mapType.perCpuHash ||
      this.info.type === mapType.lruPerCpuHash;
    // The kernel lays out one value per possible processor, each rounded up to eight bytes.
    const valueBytes = perCpu ? Math.ceil(this.info.valueSize / 8) * 8 * cpus : this.info.valueSize;
    // Buffer.alloc of more than half a pool is memory of its own, which never moves.
    this.key = Buffer.from(new ArrayBuffer(Math.max(this.info.keySize, 8)), 0, this.info.keySize);
    this.value = Buffer.from(new ArrayBuffer(Math.max(valueBytes, 8)), 0, valueBytes);
    this.keyView = new DataView(this.key.buffer, this.key.byteOffset, this.key.length);
    this.valueView = new DataView(this.value.buffer, this.value.byteOffset, this.value.length);
    this.#attributes = Buffer.from(new ArrayBuffer(32));
    this.#attributes.writeUInt32LE(fd, 0);
    this.#attributes.writeBigUInt64LE(addressOf(this.key), 8);
    this.#attributes.writeBigUInt64LE(addressOf(this.value), 16);
  }

  /** Stores the scratch value under the scratch key. */
  update(): UpdateResult {
    return this.#store(anyFlag) === 'full' ? 'full' : 'done';
  }

  /** The same, unless there is an entry. */
  insert(): UpdateResult | 'exists' {
    return this.#store(onlyNewFlag);
  }

  #store(flag: bigint): UpdateResult | 'exists' {
    this.#attributes.writeBigUInt64LE(flag, 24);
    const result = bpf(command.mapUpdate, this.#attributes);
    if (result >= 0) return 'done';
    if (-result === errno['EEXIST'] && flag === onlyNewFlag) return 'exists';
    // Hashes say E2BIG, tries ENOSPC, and a table without preallocation ENOMEM.
    if (-result === errno['E2BIG'] || -result === errno['ENOSPC'] || -result === errno['ENOMEM']) return 'full';
    throw failure(`update ${this.name}`, -result);
  }

  /** Reads the entry of the scratch key into the scratch value. */
  lookup(): boolean {
    this.#attributes.writeBigUInt64LE(anyFlag, 24);
    const result = bpf(command.mapLookup, this.#attributes);
    if (result >= 0) return true;
    if (-result === errno['ENOENT']) return false;
    throw failure(`look up in ${this.name}`, -result);
  }

  /** Removes the entry of the scratch key and leaves its last value in the scratch value, in one step (hashes, Linux 5.14). */
  take(): boolean {
    this.#attributes.writeBigUInt64LE(anyFlag, 24);
    const result = bpf(command.mapTake, this.#attributes);
    if (result >= 0) return true;
    if (-result === errno['ENOENT']) return false;
    throw failure(`take from ${this.name}`, -result);
  }

  /** Removes the entry of the scratch key; false when there was none. */
  delete(): boolean {
    // The kernel refuses a delete that names a value.
    const result = bpf(command.mapDelete, this.#attributes.subarray(0, 16));
    if (result >= 0) return true;
    if (-result === errno['ENOENT']) return false;
    throw failure(`delete from ${this.name}`, -result);
  }

  /**
   * Walks the table in batches. The visitor gets views over whole batches with the offsets of one entry; they are overwritten by the
   * next batch. An entry that is put in or removed meanwhile may or may not be seen.
   */
  walk(visit: (keys: DataView, keyAt: number, values: DataView, valueAt: number) => void): void {
    const batch = this.#batchBuffers();
    const keyBytes = this.key.length;
    const valueBytes = this.value.length;
    for (let first = true; ; first = false) {
      const answer = batch.lookup(this.fd, first);
      if (answer.error !== 0 && answer.error !== errno['ENOENT']) throw failure(`walk ${this.name}`, answer.error);
      for (let index = 0; index < answer.count; index++)
        visit(batch.keys, index * keyBytes, batch.values, index * valueBytes);
      if (answer.error !== 0) return;
    }
  }

  /** Stores many entries. Returns how many were stored before the table was full. */
  updateMany(
    count: number,
    encode: (index: number, keys: DataView, keyAt: number, values: DataView, valueAt: number) => void,
  ): number {
    const batch = this.#batchBuffers();
    for (let from = 0; from < count; from += batch.entries) {
      const length = Math.min(batch.entries, count - from);
      batch.clear(length);
      for (let index = 0; index < length; index++) {
        encode(from + index, batch.keys, index * this.key.length, batch.values, index * this.value.length);
      }
      const answer = batch.run(command.mapUpdateBatch, this.fd, length);
      if (answer.error === 0) continue;
      const name = errorName(answer.error);
      if (name === 'E2BIG' || name === 'ENOSPC' || name === 'ENOMEM') return from + answer.count;
      throw failure(`update ${this.name}`, answer.error);
    }
    return count;
  }

  /** Removes many entries; those that are absent are passed over. */
  deleteMany(count: number, encode: (index: number, keys: DataView, keyAt: number) => void): void {
    const batch = this.#batchBuffers();
    for (let from = 0; from < count;) {
      const length = Math.min(batch.entries, count - from);
      batch.clear(length);
      for (let index = 0; index < length; index++) encode(from + index, batch.keys, index * this.key.length);
      const answer = batch.run(command.mapDeleteBatch, this.fd, length);
      if (answer.error === 0) {
        from += length;
      } else if (answer.error === errno['ENOENT']) {
        // The kernel stops at the absent entry: go on behind it.
        from += answer.count + 1;
      } else {
        throw failure(`delete from ${this.name}`, answer.error);
      }
    }
  }

  /** Maps the values of an array (BPF_F_MMAPABLE) into memory. */
  mapValues(): Mapping {
    const page = 4096;
    const bytes = Math.ceil((this.info.valueSize * this.info.entriesMax) / page) * page;
    return mapMemory(this.fd, 0, bytes, true, `map ${this.name} into memory`);
  }

  #batchBuffers(): Batch {
    if (this.info.type === mapType.perCpuArray)
      throw new KernelError(`walk ${this.name}`, 'EINVAL', { detail: 'per processor' });
    this.#batch ??= new Batch(Math.min(batchEntries, this.info.entriesMax), this.key.length, this.value.length);
    return this.#batch;
  }
}

/** Buffers of one table's batches, made at first use. */
class Batch {
  readonly entries: number;
  readonly keys: DataView;
  readonly values: DataView;
  readonly #keyBytes: Buffer;
  readonly #valueBytes: Buffer;
  readonly #position: Buffer;
  readonly #attributes = Buffer.from(new ArrayBuffer(56));

  constructor(entries: number, keySize: number, valueSize: number) {
    this.entries = entries;
    this.#keyBytes = Buffer.from(new ArrayBuffer(entries * keySize));
    this.#valueBytes = Buffer.from(new ArrayBuffer(entries * valueSize));
    // Hashes remember a bucket number, tries and arrays a whole key.
    this.#position = Buffer.from(new ArrayBuffer(Math.max(keySize, 8)));
    this.keys = new DataView(this.#keyBytes.buffer);
    this.values = new DataView(this.#valueBytes.buffer);
  }

  clear(entries: number): void {
    this.#keyBytes.fill(0, 0, (this.#keyBytes.length / this.entries) * entries);
    this.#valueBytes.fill(0, 0, (this.#valueBytes.length / this.entries) * entries);
  }

  lookup(fd: number, first: boolean): { readonly error: number; readonly count: number } {
    this.#attributes.writeBigUInt64LE(first ? 0n : addressOf(this.#position), 0);
    this.#attributes.writeBigUInt64LE(addressOf(this.#position), 8);
    return this.#call(command.mapLookupBatch, fd, this.entries);
  }

  run(number: number, fd: number, count: number): { readonly error: number; readonly count: number } {
    this.#attributes.writeBigUInt64LE(0n, 0);
    this.#attributes.writeBigUInt64LE(0n, 8);
    return this.#call(number, fd, count);
  }

  #call(number: number, fd: number, count: number): { readonly error: number; readonly count: number } {
    this.#attributes.writeBigUInt64LE(addressOf(this.#keyBytes), 16);
    this.#attributes.writeBigUInt64LE(addressOf(this.#valueBytes), 24);
    this.#attributes.writeUInt32LE(count, 32);
    this.#attributes.writeUInt32LE(fd, 36);
    const result = bpf(number, this.#attributes);
    return { error: result < 0 ? -result : 0, count: this.#attributes.readUInt32LE(32) };
  }
}
