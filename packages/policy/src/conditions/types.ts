/**
 * The static types of conditions. There is no `dyn`: every value's type is known when a document is applied, so an evaluation cannot
 * meet a type that it does not expect.
 */

export type ValueType =
  | { readonly kind: 'bool' }
  | { readonly kind: 'int' }
  | { readonly kind: 'double' }
  /** With `values`, one of these and nothing else: a comparison with another literal is an error at apply. */
  | { readonly kind: 'string'; readonly values?: readonly string[] }
  | { readonly kind: 'list'; readonly element: ValueType }
  /** Keys are strings. */
  | { readonly kind: 'map'; readonly value: ValueType }
  /** The element of an empty list: fits everywhere. */
  | { readonly kind: 'nothing' };

export const bool: ValueType = { kind: 'bool' };
export const int: ValueType = { kind: 'int' };
export const double: ValueType = { kind: 'double' };
export const string: ValueType = { kind: 'string' };
export const nothing: ValueType = { kind: 'nothing' };
export const oneOf = (...values: readonly string[]): ValueType => ({ kind: 'string', values });
export const listOf = (element: ValueType): ValueType => ({ kind: 'list', element });
export const mapOf = (value: ValueType): ValueType => ({ kind: 'map', value });

/** bool → boolean, int and double → number, string → string, list → array, map → object without prototype or with own keys only. */
export type Value = boolean | number | string | readonly Value[] | { readonly [key: string]: Value };
export type MapValue = Readonly<Record<string, Value>>;

export function isNumeric(type: ValueType): boolean {
  return type.kind === 'int' || type.kind === 'double';
}

/** Compared with ===. */
export function isScalar(type: ValueType): boolean {
  return type.kind !== 'list' && type.kind !== 'map';
}

/** The type that holds values of both, or null if there is none. */
export function joined(a: ValueType, b: ValueType): ValueType | null {
  if (a.kind === 'nothing') return b;
  if (b.kind === 'nothing') return a;
  if (a.kind === 'list' && b.kind === 'list') {
    const element = joined(a.element, b.element);
    return element === null ? null : listOf(element);
  }
  if (a.kind === 'map' && b.kind === 'map') {
    const value = joined(a.value, b.value);
    return value === null ? null : mapOf(value);
  }
  if (a.kind === 'string' && b.kind === 'string') {
    return a.values !== undefined && b.values !== undefined ? oneOf(...new Set([...a.values, ...b.values])) : string;
  }
  return a.kind === b.kind ? a : null;
}

export function typeName(type: ValueType): string {
  switch (type.kind) {
    case 'list':
      return `list(${typeName(type.element)})`;
    case 'map':
      return `map(string, ${typeName(type.value)})`;
    case 'nothing':
      return 'nothing';
    default:
      return type.kind;
  }
}
