/** Pinned tables as bytes, behind the adapter's back: for what no agent does, like turning back a connection's clock. */
import koffi from 'koffi';

const libbpf = koffi.load('libbpf.so.1');
const openPinned = libbpf.func('int bpf_obj_get(const char *path)');
const nextKey = libbpf.func('int bpf_map_get_next_key(int fd, const void *key, void *next)');
const lookUp = libbpf.func('int bpf_map_lookup_elem(int fd, const void *key, void *value)');
const update = libbpf.func('int bpf_map_update_elem(int fd, const void *key, const void *value, uint64_t flags)');

export interface RawEntry {
  readonly key: Buffer;
  readonly value: Buffer;
}

export class RawTable {
  readonly #fd: number;
  readonly #keyBytes: number;
  readonly #valueBytes: number;

  constructor(path: string, keyBytes: number, valueBytes: number) {
    this.#fd = openPinned(path);
    if (this.#fd < 0) throw new Error(`open ${path}: errno ${koffi.errno()}`);
    this.#keyBytes = keyBytes;
    this.#valueBytes = valueBytes;
  }

  entries(): RawEntry[] {
    const found: RawEntry[] = [];
    let key: Buffer | null = null;
    for (;;) {
      const next = Buffer.alloc(this.#keyBytes);
      if (nextKey(this.#fd, key, next) !== 0) return found;
      const value = Buffer.alloc(this.#valueBytes);
      if (lookUp(this.#fd, next, value) === 0) found.push({ key: next, value });
      key = next;
    }
  }
  set(key: Buffer, value: Buffer): void {
    if (update(this.#fd, key, value, 0) !== 0) throw new Error(`update: errno ${koffi.errno()}`);
  }
}
