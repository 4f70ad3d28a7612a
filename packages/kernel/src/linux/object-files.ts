/** The built object files of a directory: their paths, a hash of their contents, and the types and maps that they declare. */
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { KernelError } from '../port.ts';
import { parseBtf, type Btf } from './btf.ts';
import { elfSection } from './elf.ts';
import { layoutText } from './layout.ts';

export interface ObjectFiles {
  readonly paths: readonly string[];
  /** Names a directory of pinned programs. */
  readonly hash: string;
  /** Of the first object; all of them declare the same maps. */
  readonly btf: Btf;
}

/** Throws KernelError ENOENT where nothing is built, and EINVAL where the objects disagree about their maps. */
export function readObjects(directory: string): ObjectFiles {
  const operation = `read objects in ${directory}`;
  let names: readonly string[];
  try {
    names = readdirSync(directory)
      .filter((name) => name.endsWith('.o'))
      .sort();
  } catch (cause) {
    throw new KernelError(operation, 'ENOENT', { cause });
  }
  const hash = createHash('sha256');
  let first: Btf | null = null;
  for (const name of names) {
    const file = readFileSync(`${directory}/${name}`);
    hash.update(`${name} ${file.length}\n`).update(file);
    const section = elfSection(file, '.BTF');
    if (section === null) throw new KernelError(operation, 'EINVAL', { detail: `${name} has no .BTF` });
    const btf = parseBtf(section);
    first ??= btf;
    if (layoutText(btf) !== layoutText(first))
      throw new KernelError(operation, 'EINVAL', { detail: `${name} has other maps` });
  }
  if (first === null) throw new KernelError(operation, 'ENOENT', { detail: 'no object files' });
  return { paths: names.map((name) => `${directory}/${name}`), hash: hash.digest('hex').slice(0, 16), btf: first };
}
