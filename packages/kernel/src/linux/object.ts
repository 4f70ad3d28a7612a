/** One eBPF object file, opened and loaded through libbpf, which does relocation, BTF and map creation. */
import koffi from 'koffi';
import { KernelError } from '../port.ts';
import { addressOf, failure } from './libc.ts';

type Handle = bigint | null;
interface Libbpf {
  readonly open: (path: string, options: Uint8Array) => Handle;
  readonly load: (object: Handle) => number;
  readonly close: (object: Handle) => void;
  readonly setPrint: (callback: null) => unknown;
  readonly findProgram: (object: Handle, name: string) => Handle;
  readonly nextProgram: (object: Handle, previous: Handle) => Handle;
  readonly programName: (program: Handle) => string;
  readonly programFd: (program: Handle) => number;
  readonly findMap: (object: Handle, name: string) => Handle;
  readonly mapFd: (map: Handle) => number;
  readonly reuse: (map: Handle, fd: number) => number;
}

let loadedLibrary: Libbpf | null = null;
/** Loaded at first use, so that everything but the loading of programs works without libbpf. */
function libbpf(): Libbpf {
  if (loadedLibrary !== null) return loadedLibrary;
  let library;
  try {
    library = koffi.load('libbpf.so.1');
  } catch (cause) {
    throw new KernelError('load libbpf.so.1', 'ENOENT', { cause, detail: 'Debian package libbpf1' });
  }
  const made: Libbpf = {
    open: library.func('void *bpf_object__open_file(const char *path, const void *options)'),
    load: library.func('int bpf_object__load(void *object)'),
    close: library.func('void bpf_object__close(void *object)'),
    setPrint: library.func('void *libbpf_set_print(void *callback)'),
    findProgram: library.func('void *bpf_object__find_program_by_name(void *object, const char *name)'),
    nextProgram: library.func('void *bpf_object__next_program(void *object, void *previous)'),
    programName: library.func('const char *bpf_program__name(void *program)'),
    programFd: library.func('int bpf_program__fd(void *program)'),
    findMap: library.func('void *bpf_object__find_map_by_name(void *object, const char *name)'),
    mapFd: library.func('int bpf_map__fd(void *map)'),
    reuse: library.func('int bpf_map__reuse_fd(void *map, int fd)'),
  };
  // libbpf would print the verifier's whole log to stderr; it goes into the error instead.
  made.setPrint(null);
  loadedLibrary = made;
  return made;
}

const optionsBytes = 80;
const logBytes = 1024 * 1024;
const logTailCharacters = 3000;

export class LoadedObject {
  readonly #handle: Handle;
  private constructor(handle: Handle) {
    this.#handle = handle;
  }

  /**
   * Opens and loads the file. Maps named in `reused` take the place of the object's own; the kernel checks that they are alike.
   * A refusal carries the end of the verifier's log.
   */
  static load(path: string, reused: ReadonlyMap<string, number>): LoadedObject {
    const library = libbpf();
    const log = Buffer.from(new ArrayBuffer(logBytes));
    // struct bpf_object_open_opts of libbpf 1.0: sz, …, kernel_log_buf, kernel_log_size, kernel_log_level.
    const options = Buffer.alloc(optionsBytes);
    options.writeBigUInt64LE(BigInt(optionsBytes), 0);
    options.writeBigUInt64LE(addressOf(log), 56);
    options.writeBigUInt64LE(BigInt(logBytes), 64);
    const handle = library.open(path, options);
    if (handle === null || handle === 0n) throw failure(`open ${path}`, koffi.errno());
    try {
      for (const [name, fd] of reused) {
        const map = library.findMap(handle, name);
        const result = library.reuse(map, fd);
        if (result < 0) throw failure(`reuse map ${name}`, -result);
      }
      const result = library.load(handle);
      if (result < 0) {
        const text = log.toString('utf8', 0, log.indexOf(0)).trim();
        throw failure(`load ${path}`, -result, text.slice(-logTailCharacters));
      }
      return new LoadedObject(handle);
    } catch (error) {
      library.close(handle);
      throw error;
    }
  }

  /** Programs by name, with descriptors that live as long as the object. */
  programs(): ReadonlyMap<string, number> {
    const library = libbpf();
    const programs = new Map<string, number>();
    for (
      let program = library.nextProgram(this.#handle, null);
      program !== null && program !== 0n;
      program = library.nextProgram(this.#handle, program)
    ) {
      programs.set(library.programName(program), library.programFd(program));
    }
    return programs;
  }

  mapFd(name: string): number {
    const library = libbpf();
    const map = library.findMap(this.#handle, name);
    if (map === null || map === 0n) throw new KernelError(`find map ${name}`, 'ENOENT');
    return library.mapFd(map);
  }

  close(): void {
    libbpf().close(this.#handle);
  }
}
