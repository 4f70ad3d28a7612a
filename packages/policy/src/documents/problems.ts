import type { z } from 'zod';
import { nearestName } from './names.ts';

/** What is part of the design and not built yet is named as such, so that nobody takes it for a typing error of theirs. */
const notYetFields: ReadonlyMap<string, string> = new Map([['sessions', 'kept sessions are']]);
/** What other tools call a field. */
const otherNames: ReadonlyMap<string, string> = new Map([['fqdn', 'dns']]);
export const notYetReference = 'see docs/policy-reference.md, "Not yet"';

export interface Fault {
  readonly path: readonly PropertyKey[];
  readonly reason: string;
  readonly allowed?: string;
}

type Issue = z.core.$ZodIssue;

/** Every fault that the schema found in the value, with paths from the document's root. */
export function faultsOf(issues: readonly Issue[], schema: z.core.$ZodType, value: unknown): Fault[] {
  return issues.flatMap((issue) => issueFaults(issue, schema, value, []));
}

function issueFaults(issue: Issue, schema: z.core.$ZodType, value: unknown, base: readonly PropertyKey[]): Fault[] {
  const path = [...base, ...issue.path];
  switch (issue.code) {
    case 'unrecognized_keys': {
      const known = fieldsAt(schema, path, value);
      return issue.keys.map((key) => unknownField([...path, key], key, known));
    }
    case 'invalid_union': {
      // "A peer or a list of peers", "a number or a name": the value's own form says which was meant.
      const branch = issue.errors.find((issues) => !issues.some(isAnotherForm)) ?? issue.errors[0] ?? [];
      return branch.flatMap((inner) => issueFaults(inner, schema, value, path));
    }
    case 'invalid_type':
      return [typeFault(path, issue.expected, valueAt(value, path))];
    case 'invalid_value':
      return [valueFault(path, issue.values, valueAt(value, path))];
    case 'too_small':
      return [{ path, reason: sizeReason(issue.origin, 'few', 'small'), allowed: `at least ${issue.minimum}` }];
    case 'too_big':
      return [{ path, reason: sizeReason(issue.origin, 'many', 'large'), allowed: `at most ${issue.maximum}` }];
    case 'custom': {
      const allowed: unknown = issue.params?.['allowed'];
      return [{ path, reason: issue.message, ...(typeof allowed === 'string' ? { allowed } : {}) }];
    }
    default:
      return [{ path, reason: issue.message }];
  }
}

/** The value is no such thing at all, wherever the fault lies within it otherwise. */
function isAnotherForm(issue: Issue): boolean {
  return issue.code === 'invalid_type' && issue.path.length === 0;
}

function unknownField(path: readonly PropertyKey[], key: string, known: readonly string[]): Fault {
  const notYet = notYetFields.get(key);
  if (notYet !== undefined)
    return { path, reason: `${notYet} not supported yet, ${notYetReference}`, allowed: known.join(', ') };
  const other = otherNames.get(key);
  const nearest = other !== undefined && known.includes(other) ? other : nearestName(key, known);
  const hint = nearest === null ? '' : `; did you mean "${nearest}"?`;
  return { path, reason: `unknown field "${key}"${hint}`, allowed: known.join(', ') };
}

function typeFault(path: readonly PropertyKey[], expected: string, found: unknown): Fault {
  const last = path.at(-1);
  if (last === 'port' && typeof found === 'string') {
    return { path, reason: 'is a text', allowed: `a number from 1 to 65535; a named port is written name: ${found}` };
  }
  const wanted = typeWords.get(expected) ?? expected;
  if (found === undefined) return { path, reason: 'is missing', allowed: wanted };
  return { path, reason: `is ${typeName(found)}`, allowed: wanted };
}

function valueFault(path: readonly PropertyKey[], values: readonly unknown[], found: unknown): Fault {
  const allowed = values.map(String).join(', ');
  if (found === undefined) return { path, reason: 'is missing', allowed };
  const nearest = typeof found === 'string' ? nearestName(found, values.map(String)) : null;
  const hint = nearest === null ? '' : `; did you mean "${nearest}"?`;
  return { path, reason: `${JSON.stringify(found)} is not known${hint}`, allowed };
}

function sizeReason(origin: string, few: string, small: string): string {
  if (origin === 'array') return few === 'few' ? 'an empty list matches nothing' : 'has too many items';
  if (origin === 'string') return few === 'few' ? 'is too short' : 'is too long';
  return `is too ${small}`;
}

const typeWords: ReadonlyMap<string, string> = new Map([
  ['object', 'a map of fields'],
  ['record', 'a map of texts'],
  ['array', 'a list'],
  ['string', 'a text'],
  ['boolean', 'true or false'],
  ['int', 'a whole number'],
  ['number', 'a number'],
]);

function typeName(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a map';
  return typeof value === 'string' ? 'a text' : `${String(value)}`;
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  let current = value;
  for (const step of path) {
    if (typeof current !== 'object' || current === null || !Object.hasOwn(current, step)) return undefined;
    current = (current as Record<PropertyKey, unknown>)[step];
  }
  return current;
}

/** The fields that the schema knows for the map at the path. */
function fieldsAt(schema: z.core.$ZodType, path: readonly PropertyKey[], value: unknown): readonly string[] {
  let current = schema;
  for (const [depth, step] of path.entries()) {
    const next = childSchema(unwrapped(current, valueAt(value, path.slice(0, depth))), step);
    if (next === null) return [];
    current = next;
  }
  const definition = definitionOf(unwrapped(current, valueAt(value, path)));
  return definition.type === 'object' ? Object.keys(definition.shape) : [];
}

function childSchema(schema: z.core.$ZodType, step: PropertyKey): z.core.$ZodType | null {
  const definition = definitionOf(schema);
  if (definition.type === 'object') return definition.shape[String(step)] ?? null;
  if (definition.type === 'array') return definition.element;
  return null;
}

/** zod's own description of the schema. Every schema here is made by zod's classic API, which gives it as `def`. */
function definitionOf(schema: z.core.$ZodType): z.core.$ZodTypes['_zod']['def'] {
  return (schema as unknown as { readonly def: z.core.$ZodTypes['_zod']['def'] }).def;
}

/** The schema under `optional` and, for "one or a list of", the form that the value has. */
function unwrapped(schema: z.core.$ZodType, value: unknown): z.core.$ZodType {
  const definition = definitionOf(schema);
  if (definition.type === 'optional') return unwrapped(definition.innerType, value);
  if (definition.type !== 'union') return schema;
  const list = Array.isArray(value);
  const form = definition.options.find((option) => (definitionOf(option).type === 'array') === list);
  return form ?? schema;
}

/** `spec.rules[2].ports[0].port`; a step that is no plain name is quoted. */
export function pathText(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, step) => {
    if (typeof step === 'number') return `${text}[${step}]`;
    const name = String(step);
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) return `${text}[${JSON.stringify(name)}]`;
    return text === '' ? name : `${text}.${name}`;
  }, '');
}
