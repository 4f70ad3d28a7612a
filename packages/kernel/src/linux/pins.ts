/**
 * Where pins lie. Below the root of one installation:
 *
 *     LAYOUT/maps/NAME               maps, by the hash of their layout
 *     LAYOUT/programs/OBJECT/NAME    programs, by the hash of the object file
 *     links/HOOK-IFINDEX-DIRECTION   attachments, kept over every change of programs
 *
 * bpffs takes no dots in names. A directory whose name begins with `new-` is an unfinished one: it is renamed when complete.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, unlinkSync } from 'node:fs';
import { KernelError } from '../port.ts';
import { getPinned, pin } from './bpf.ts';
import { mountBpffs } from './libc.ts';

const bpffs = '/sys/fs/bpf';
const unfinished = 'new-';
/** Directories of bpffs are walked to this depth when they are removed. */
const depthMax = 4;

export class Pins {
  readonly root: string;
  constructor(root: string) {
    if (!/^\/[\w/-]+$/.test(root))
      throw new KernelError(`pin below ${root}`, 'EINVAL', { detail: 'bpffs takes no dots' });
    this.root = root;
  }

  /** Mounts bpffs where it is missing and makes the root. */
  prepare(): void {
    if (this.root.startsWith(`${bpffs}/`) && !mounted(bpffs)) mountBpffs(bpffs);
    mkdirSync(this.root, { recursive: true, mode: 0o700 });
    mkdirSync(this.links, { recursive: true, mode: 0o700 });
  }

  get links(): string {
    return `${this.root}/links`;
  }
  maps(layout: string): string {
    return `${this.root}/${layout}/maps`;
  }
  programs(layout: string, object: string): string {
    return `${this.root}/${layout}/programs/${object}`;
  }

  /** Layouts that have a complete set of maps. */
  layouts(): readonly string[] {
    return this.#names(this.root).filter((name) => name !== 'links' && existsSync(this.maps(name)));
  }
  /** Objects whose programs are completely pinned. */
  objects(layout: string): readonly string[] {
    return this.#names(`${this.root}/${layout}/programs`);
  }

  /** Pins all descriptors into the directory, which appears complete or not at all. */
  publish(directory: string, descriptors: ReadonlyMap<string, number>): void {
    const parent = directory.slice(0, directory.lastIndexOf('/'));
    const temporary = `${parent}/${unfinished}${directory.slice(parent.length + 1)}`;
    this.remove(temporary);
    mkdirSync(temporary, { recursive: true, mode: 0o700 });
    for (const [name, fd] of descriptors) pin(fd, `${temporary}/${name}`);
    renameSync(temporary, directory);
  }

  /** Opens every pin of a directory. The caller owns the descriptors. */
  open(directory: string): Map<string, number> {
    const opened = new Map<string, number>();
    for (const name of this.#names(directory)) {
      const fd = getPinned(`${directory}/${name}`);
      if (fd !== null) opened.set(name, fd);
    }
    return opened;
  }

  remove(directory: string, depth = 0): void {
    if (!existsSync(directory)) return;
    if (depth > depthMax) throw new KernelError(`remove pins ${directory}`, 'ELOOP');
    for (const entry of readdirSync(directory, { withFileTypes: true })) {
      const path = `${directory}/${entry.name}`;
      if (entry.isDirectory()) this.remove(path, depth + 1);
      else unlinkSync(path);
    }
    rmSync(directory, { recursive: true });
  }

  #names(directory: string): readonly string[] {
    if (!existsSync(directory)) return [];
    return readdirSync(directory).filter((name) => !name.startsWith(unfinished));
  }
}

function mounted(directory: string): boolean {
  return readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .some((line) => line.split(' ')[1] === directory && line.split(' ')[2] === 'bpf');
}
