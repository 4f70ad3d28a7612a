/** Documents from files, folders and standard input, each with the place it came from. */
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { isScalar, LineCounter, parseAllDocuments, visit } from 'yaml';
import { CommandFailure, type Fault } from '../exit.ts';

export interface SourceDocument {
  readonly value: unknown;
  readonly file: string;
  /** Which document of the file, from 0. */
  readonly index: number;
}

/** Largest file that is read, bytes: far above any real one, far below what would hurt. */
const fileBytesMax = 64 * 1024 * 1024;
/** How much larger than its text a document may become through anchors; see `maxAliasCount`. */
const aliasesMax = 100;
const documentFile = /\.(ya?ml|json)$/;

/** `-` is standard input; a folder is read with what is below it, in the order of the names. */
export async function readDocuments(
  paths: readonly string[],
  input: NodeJS.ReadableStream = process.stdin,
): Promise<readonly SourceDocument[]> {
  const found: SourceDocument[] = [];
  const faults: Fault[] = [];
  for (const path of paths) {
    const files = path === '-' ? ['-'] : await filesOf(path);
    for (const file of files) {
      const source = file === '-' ? await text(input) : await readFile(file, 'utf8');
      const parsed = parseDocuments(source, file === '-' ? 'standard input' : file);
      found.push(...parsed.documents);
      faults.push(...parsed.faults);
    }
  }
  if (faults.length > 0) throw new CommandFailure('invalid', 'nothing was sent: the files cannot be read', { faults });
  if (found.length === 0)
    throw new CommandFailure('invalid', `there is no document in ${paths.join(', ')}`, {
      remedy: 'Documents are files that end in .yaml, .yml or .json.',
    });
  return found;
}

async function filesOf(path: string): Promise<readonly string[]> {
  const info = await stat(path).catch((cause: NodeJS.ErrnoException) => {
    throw new CommandFailure('usage', `${path} cannot be read: ${cause.code ?? cause.message}`, { cause });
  });
  if (info.isFile()) {
    if (info.size > fileBytesMax) throw new CommandFailure('invalid', `${path} is larger than ${fileBytesMax} bytes`);
    return [path];
  }
  const entries = await readdir(path, { withFileTypes: true });
  const files: string[] = [];
  for (const entry of entries.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    const below = join(path, entry.name);
    if (entry.isDirectory()) files.push(...(await filesOf(below)));
    else if (documentFile.test(entry.name)) files.push(...(await filesOf(below)));
  }
  return files;
}

/** YAML is a superset of JSON, so one reader does. Empty documents (a stray `---`) are left out. */
export function parseDocuments(
  source: string,
  file: string,
): { readonly documents: readonly SourceDocument[]; readonly faults: readonly Fault[] } {
  const lineCounter = new LineCounter();
  const documents: SourceDocument[] = [];
  const faults: Fault[] = [];
  for (const each of parseAllDocuments(source, { lineCounter, uniqueKeys: true, merge: true })) {
    const fault = (offset: number, what: string): void => {
      const { line, col } = lineCounter.linePos(offset);
      faults.push({ where: `${file}:${line}:${col}`, what });
    };
    for (const error of each.errors) fault(error.pos[0], error.message.split('\n')[0]!.replace(/ at line \d+.*$/, ''));
    const forbidden = source.includes(forbiddenKey) ? forbiddenOffsets(each) : [];
    for (const offset of forbidden) fault(offset, `no field and no label has the name ${forbiddenKey}`);
    if (each.errors.length > 0 || forbidden.length > 0) continue;
    try {
      const value: unknown = each.toJS({ maxAliasCount: aliasesMax });
      for (const item of itemsOf(value)) documents.push({ value: item, file, index: documents.length });
    } catch (error) {
      faults.push({ where: file, what: error instanceof Error ? error.message : String(error) });
    }
  }
  return { documents, faults };
}

/** The manager's reader of JSON refuses a whole request in which it is a key, and cannot say where. */
const forbiddenKey = '__proto__';

function forbiddenOffsets(document: ReturnType<typeof parseAllDocuments>[number]): readonly number[] {
  const offsets: number[] = [];
  visit(document, {
    Pair: (_, { key }) => {
      if (isScalar(key) && key.value === forbiddenKey) offsets.push(key.range?.[0] ?? 0);
    },
  });
  return offsets;
}

/** What stands between two `---`: a document, nothing, or the several that `kubectl get -o yaml` gives as a list. */
function itemsOf(value: unknown): readonly unknown[] {
  if (value === null || value === undefined) return [];
  const isList = typeof value === 'object' && 'kind' in value && value.kind === 'List' && 'items' in value;
  return isList && Array.isArray(value.items) ? value.items : [value];
}
