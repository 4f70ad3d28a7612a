/** Where the context file lies, and reading and writing it. */
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { contextFileText, parseContextFile, type ContextFile } from './contexts.ts';

export interface StoredContexts {
  /** Where changes are written. */
  readonly path: string;
  readonly file: ContextFile;
}

const systemPath = '/etc/bulkhead/config';

function ownPath(environment: Readonly<Record<string, string | undefined>>): string {
  const base = environment['XDG_CONFIG_HOME'] ?? join(environment['HOME'] ?? homedir(), '.config');
  return join(base, 'bulkhead', 'config');
}

/** $BULKHEAD_CONFIG alone where it is set; else the person's own file; else the machine's. */
export async function readContexts(environment: Readonly<Record<string, string | undefined>>): Promise<StoredContexts> {
  const given = environment['BULKHEAD_CONFIG'];
  const own = given ?? ownPath(environment);
  for (const path of given === undefined ? [own, systemPath] : [own]) {
    const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return null;
      throw error;
    });
    if (text !== null) return { path: path === systemPath ? own : path, file: parseContextFile(text, path) };
  }
  return { path: own, file: { contexts: {} } };
}

export async function writeContexts(stored: StoredContexts): Promise<void> {
  await mkdir(dirname(stored.path), { recursive: true, mode: 0o700 });
  await writeFile(`${stored.path}.new`, contextFileText(stored.file), { mode: 0o600 });
  await rename(`${stored.path}.new`, stored.path);
}
