import type { Problem } from '../model.ts';
import { type Document, documentKey } from './document.ts';
import { coreVersion, keptForm, nativeForm } from './kubernetes-form.ts';
import { nearestName } from './names.ts';
import { type Fault, faultsOf, notYetReference, pathText } from './problems.ts';
import { apiVersion, documentSchemas, foreignApiVersions } from './schema.ts';

/** Where a value was read: the file and, for a file with several documents, which of them (from 0). */
export interface DocumentSource {
  readonly file?: string;
  readonly index?: number;
}

export type ParsedDocument =
  | { readonly kind: 'ok'; readonly document: Document }
  | { readonly kind: 'refused'; readonly problems: readonly Problem[] };

/** Most problems that one document is refused with; whoever has more mends these first. */
export const problemsMax = 100;

/** No known field lies deeper. */
const depthMax = 16;

const notYetKinds: readonly string[] = ['Response', 'Volume', 'View', 'Profile'];

/** Checks one document by itself. The value is what a YAML or JSON reader gives; it is not kept when it is refused. */
export function parseDocument(given: unknown, where: DocumentSource): ParsedDocument {
  const faults = envelopeFaults(given);
  if (faults.length > 0) return refused(faults, given, where);
  const value = nativeForm(given as Record<string, unknown>);
  const schema = documentSchemas[value.kind];
  const result = schema.safeParse(value);
  const unseen = [...(value.kind === 'Policy' ? duplicateRuleNames(value) : []), ...prototypeNames(given)];
  if (result.success && unseen.length === 0) return { kind: 'ok', document: keptForm(result.data) };
  const seen = result.success ? [] : faultsOf(result.error.issues, schema, value);
  const seenAt = new Set(seen.map(({ path }) => pathText(path)));
  return refused([...seen, ...unseen.filter(({ path }) => !seenAt.has(pathText(path)))], value, where);
}

/** What must be right before a schema can be chosen. */
function envelopeFaults(value: unknown): Fault[] {
  if (!isRecord(value))
    return [{ path: [], reason: 'is no document', allowed: 'a map with apiVersion, kind, metadata, spec' }];
  const kinds = Object.keys(documentSchemas);
  const { apiVersion: version, kind } = value;
  if (typeof kind === 'string' && notYetKinds.includes(kind)) {
    const reason = `documents of kind ${kind} are not supported yet, ${notYetReference}`;
    return [{ path: ['kind'], reason, allowed: kinds.join(', ') }];
  }
  if (typeof kind !== 'string' || !kinds.includes(kind)) {
    const known = typeof version === 'string' ? kinds.filter((name) => versionsOf(name).includes(version)) : kinds;
    const allowed = known.length === 0 ? kinds : known;
    const fault = { path: ['kind'], reason: unknownReason(kind, allowed), allowed: allowed.join(', ') };
    return known.length === 0 ? [versionFault(version, allVersions), fault] : [fault];
  }
  const versions = versionsOf(kind);
  return typeof version === 'string' && versions.includes(version) ? [] : [versionFault(version, versions)];
}

function versionsOf(kind: string): readonly string[] {
  const foreign = foreignApiVersions[kind];
  if (foreign !== undefined) return [foreign];
  return kind === 'Namespace' ? [apiVersion, coreVersion] : [apiVersion];
}

const allVersions: readonly string[] = [...new Set(Object.keys(documentSchemas).flatMap(versionsOf))];

function versionFault(version: unknown, allowed: readonly string[]): Fault {
  return { path: ['apiVersion'], reason: unknownReason(version, allowed), allowed: allowed.join(', ') };
}

function unknownReason(found: unknown, known: readonly string[]): string {
  if (found === undefined) return 'is missing';
  const nearest = typeof found === 'string' ? nearestName(found, known) : null;
  return `${JSON.stringify(found)} is not known${nearest === null ? '' : `; did you mean "${nearest}"?`}`;
}

/** Looked for in the raw value, so that a fault elsewhere does not hide it. */
function duplicateRuleNames(value: unknown): Fault[] {
  const spec = isRecord(value) ? value['spec'] : undefined;
  const rules = isRecord(spec) ? spec['rules'] : undefined;
  if (!Array.isArray(rules)) return [];
  const first = new Map<string, number>();
  return rules.flatMap((rule: unknown, index): Fault[] => {
    const name = isRecord(rule) ? rule['name'] : undefined;
    if (typeof name !== 'string') return [];
    const earlier = first.get(name);
    if (earlier === undefined) {
      first.set(name, index);
      return [];
    }
    const path = ['spec', 'rules', index, 'name'];
    return [{ path, reason: `the name "${name}" is taken by rules[${earlier}]`, allowed: 'a name once per policy' }];
  });
}

/**
 * zod leaves a key `__proto__` out of records without a word, and a selector without its label would select more than was written.
 */
function prototypeNames(value: unknown): Fault[] {
  return hasPrototypeName(value, 0) ? prototypeNamesAt(value, []) : [];
}

/** The same question without the paths, which cost more than all the rest where thousands of documents come at once. */
function hasPrototypeName(value: unknown, depth: number): boolean {
  if (typeof value !== 'object' || value === null || depth > depthMax) return false;
  if (Array.isArray(value)) return value.some((item) => hasPrototypeName(item, depth + 1));
  if (Object.hasOwn(value, '__proto__')) return true;
  for (const key in value) if (hasPrototypeName((value as Record<string, unknown>)[key], depth + 1)) return true;
  return false;
}

function prototypeNamesAt(value: unknown, path: readonly PropertyKey[]): Fault[] {
  if (typeof value !== 'object' || value === null || path.length > depthMax) return [];
  const faults: Fault[] = Object.hasOwn(value, '__proto__')
    ? [{ path: [...path, '__proto__'], reason: '"__proto__" is no name' }]
    : [];
  for (const [key, child] of Object.entries(value)) {
    if (typeof child !== 'object') continue;
    faults.push(...prototypeNamesAt(child, [...path, Array.isArray(value) ? Number(key) : key]));
  }
  return faults;
}

function refused(faults: readonly Fault[], value: unknown, where: DocumentSource): ParsedDocument {
  const place = { ...documentPlace(value, where), ...(where.file === undefined ? {} : { file: where.file }) };
  const problems = faults.slice(0, problemsMax).map(({ path, reason, allowed }) => ({
    path: pathText(path),
    reason,
    ...(allowed === undefined ? {} : { allowed }),
    ...place,
  }));
  return { kind: 'refused', problems };
}

/** `Kind/name` where the value has them, else which document of the file it is. */
function documentPlace(value: unknown, where: DocumentSource): { document?: string } {
  const metadata = isRecord(value) ? value['metadata'] : undefined;
  const { name, namespace } = isRecord(metadata) ? metadata : {};
  const kind = isRecord(value) ? value['kind'] : undefined;
  if (typeof kind === 'string' && typeof name === 'string') {
    return {
      document: documentKey({ kind, metadata: { name, ...(typeof namespace === 'string' ? { namespace } : {}) } }),
    };
  }
  return where.index === undefined ? {} : { document: `document ${where.index + 1}` };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
