/**
 * Operators: which operand types each takes, and what it computes. Semantics are CEL's
 * (https://github.com/google/cel-spec/blob/master/doc/langdef.md); where a number cannot be exact, the result is a fault.
 */
import { EvaluationFault, charge, elementsMax, stringMax } from './term.ts';
import type { Frame, Run, Term } from './term.ts';
import { bool, double, int, isNumeric, isScalar, joined, string } from './types.ts';
import type { MapValue, Value, ValueType } from './types.ts';

/** A refusal carries what would have been right. */
export type Applied<Facts> =
  | {
      readonly kind: 'term';
      readonly type: ValueType;
      readonly run: Run<Facts>;
      readonly fails: boolean;
      readonly constant?: Value;
    }
  | { readonly kind: 'refused'; readonly reason: string; readonly available?: readonly string[] };

export const term = <Facts>(type: ValueType, run: Run<Facts>, fails: boolean): Applied<Facts> => ({
  kind: 'term',
  type,
  run,
  fails,
});

type Arithmetic = '+' | '-' | '*' | '/' | '%';

export function applyArithmetic<Facts>(
  operator: Arithmetic,
  left: Term<Facts>,
  right: Term<Facts>,
  at: number,
): Applied<Facts> {
  const kinds = `${left.type.kind} ${right.type.kind}`;
  if (kinds === 'int int') return intArithmetic(operator, left.run, right.run, at);
  if (kinds === 'double double' && operator !== '%') {
    return term(double, doubleArithmetic(operator, left.run, right.run), left.fails || right.fails);
  }
  if (operator === '+' && kinds === 'string string') return concatenateStrings(left.run, right.run, at);
  if (operator === '+' && left.type.kind === 'list' && right.type.kind === 'list') {
    const type = joined(left.type, right.type);
    if (type !== null) return concatenateLists(type, left.run, right.run, at);
  }
  const mixed = isNumeric(left.type) && isNumeric(right.type);
  return {
    kind: 'refused',
    reason: mixed
      ? 'An int and a double do not mix; convert one of them, as in double(x) or int(x).'
      : `${operator} is not defined for these types`,
    available: ['int', 'double', ...(operator === '+' ? ['string', 'list'] : [])],
  };
}

function intArithmetic<Facts>(operator: Arithmetic, left: Run<Facts>, right: Run<Facts>, at: number): Applied<Facts> {
  const overflow = new EvaluationFault(at, 'The result lies outside ±9007199254740991.');
  const byZero = new EvaluationFault(at, operator === '%' ? 'Modulus by zero.' : 'Division by zero.');
  const exact = (value: number): number => {
    if (!Number.isSafeInteger(value)) throw overflow;
    // CEL's integers have no negative zero; -0 would compare equal but divide differently.
    return value + 0;
  };
  const divisor = (value: number): number => {
    if (value === 0) throw byZero;
    return value;
  };
  const compute: Record<Arithmetic, Run<Facts>> = {
    '+': (frame) => exact((left(frame) as number) + (right(frame) as number)),
    '-': (frame) => exact((left(frame) as number) - (right(frame) as number)),
    '*': (frame) => exact((left(frame) as number) * (right(frame) as number)),
    '/': (frame) => exact(Math.trunc((left(frame) as number) / divisor(right(frame) as number))),
    '%': (frame) => exact((left(frame) as number) % divisor(right(frame) as number)),
  };
  return term(int, compute[operator], true);
}

function doubleArithmetic<Facts>(operator: Exclude<Arithmetic, '%'>, left: Run<Facts>, right: Run<Facts>): Run<Facts> {
  const compute: Record<typeof operator, Run<Facts>> = {
    '+': (frame) => (left(frame) as number) + (right(frame) as number),
    '-': (frame) => (left(frame) as number) - (right(frame) as number),
    '*': (frame) => (left(frame) as number) * (right(frame) as number),
    '/': (frame) => (left(frame) as number) / (right(frame) as number),
  };
  return compute[operator];
}

function concatenateStrings<Facts>(left: Run<Facts>, right: Run<Facts>, at: number): Applied<Facts> {
  const tooLong = new EvaluationFault(at, `A condition builds strings of at most ${stringMax} characters.`);
  const run: Run<Facts> = (frame) => {
    const result = (left(frame) as string) + (right(frame) as string);
    if (result.length > stringMax) throw tooLong;
    charge(frame, 1 + (result.length >> 4));
    return result;
  };
  return term(string, run, true);
}

function concatenateLists<Facts>(type: ValueType, left: Run<Facts>, right: Run<Facts>, at: number): Applied<Facts> {
  const tooLong = new EvaluationFault(at, `A condition builds lists of at most ${elementsMax} elements.`);
  const run: Run<Facts> = (frame) => {
    const first = left(frame) as readonly Value[];
    const second = right(frame) as readonly Value[];
    if (first.length + second.length > elementsMax) throw tooLong;
    charge(frame, 1 + first.length + second.length);
    return [...first, ...second];
  };
  return term(type, run, true);
}

type Ordering = '<' | '<=' | '>' | '>=';

/** int and double may be compared with each other: every int here is exact as a double. */
export function applyOrdering<Facts>(operator: Ordering, left: Term<Facts>, right: Term<Facts>): Applied<Facts> {
  const a = left.run;
  const b = right.run;
  const fails = left.fails || right.fails;
  const numbers =
    (isNumeric(left.type) && isNumeric(right.type)) || (left.type.kind === 'bool' && right.type.kind === 'bool');
  if (numbers) {
    const compute: Record<Ordering, Run<Facts>> = {
      '<': (frame) => (a(frame) as number) < (b(frame) as number),
      '<=': (frame) => (a(frame) as number) <= (b(frame) as number),
      '>': (frame) => (a(frame) as number) > (b(frame) as number),
      '>=': (frame) => (a(frame) as number) >= (b(frame) as number),
    };
    return term(bool, compute[operator], fails);
  }
  if (left.type.kind === 'string' && right.type.kind === 'string') {
    const compute: Record<Ordering, Run<Facts>> = {
      '<': (frame) => compareStrings(frame, a(frame) as string, b(frame) as string) < 0,
      '<=': (frame) => compareStrings(frame, a(frame) as string, b(frame) as string) <= 0,
      '>': (frame) => compareStrings(frame, a(frame) as string, b(frame) as string) > 0,
      '>=': (frame) => compareStrings(frame, a(frame) as string, b(frame) as string) >= 0,
    };
    return term(bool, compute[operator], true);
  }
  return {
    kind: 'refused',
    reason: `${operator} is not defined for these types`,
    available: ['int', 'double', 'string', 'bool'],
  };
}

/** By code points, as CEL orders strings. UTF-16 units order surrogates below U+E000…U+FFFF, hence the lift. */
function compareStrings<Facts>(frame: Frame<Facts>, a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  charge(frame, length >> 4);
  for (let index = 0; index < length; index += 1) {
    const x = a.charCodeAt(index);
    const y = b.charCodeAt(index);
    if (x !== y) return lifted(x) - lifted(y);
  }
  return a.length - b.length;
}

const lifted = (unit: number): number => (unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit);

export function applyEquality<Facts>(negated: boolean, left: Term<Facts>, right: Term<Facts>): Applied<Facts> {
  const type = joined(left.type, right.type);
  if (type === null) {
    const mixed = isNumeric(left.type) && isNumeric(right.type);
    return {
      kind: 'refused',
      reason: mixed
        ? 'An int never equals a double by type; compare with <= and >=, or convert with double(x).'
        : 'These types are never equal',
    };
  }
  const stranger = strangerAmong(left, right) ?? strangerAmong(right, left);
  if (stranger !== null) return stranger;
  const a = left.run;
  const b = right.run;
  const fails = left.fails || right.fails;
  if (isScalar(type)) {
    return term(bool, negated ? (frame) => a(frame) !== b(frame) : (frame) => a(frame) === b(frame), fails);
  }
  return term(bool, (frame) => equal(frame, a(frame), b(frame)) !== negated, true);
}

/** A literal that a variable with fixed values can never have. */
function strangerAmong<Facts>(variable: Term<Facts>, literal: Term<Facts>): Applied<Facts> | null {
  const values = variable.type.kind === 'string' ? variable.type.values : undefined;
  if (values === undefined || literal.constant === undefined) return null;
  const written = Array.isArray(literal.constant) ? literal.constant : [literal.constant];
  const stranger = written.find((value) => typeof value === 'string' && !values.includes(value));
  return stranger === undefined
    ? null
    : { kind: 'refused', reason: `This is never ${JSON.stringify(stranger)}`, available: values };
}

/** Deep equality of two values of one type. */
export function equal<Facts>(frame: Frame<Facts>, a: Value, b: Value): boolean {
  charge(frame, 1);
  if (typeof a !== 'object' || typeof b !== 'object') return a === b;
  if (Array.isArray(a) && Array.isArray(b)) {
    return a.length === b.length && a.every((element, index) => equal(frame, element, b[index]));
  }
  const first = a as MapValue;
  const second = b as MapValue;
  const keys = Object.keys(first);
  return (
    keys.length === Object.keys(second).length &&
    keys.every((key) => Object.hasOwn(second, key) && equal(frame, first[key]!, second[key]!))
  );
}

export function applyIn<Facts>(element: Term<Facts>, range: Term<Facts>): Applied<Facts> {
  const key = element.run;
  const all = range.run;
  const fails = element.fails || range.fails;
  if (range.type.kind === 'map') {
    if (element.type.kind !== 'string') return { kind: 'refused', reason: 'The keys of a map are strings' };
    return term(bool, (frame) => Object.hasOwn(all(frame) as MapValue, key(frame) as string), fails);
  }
  if (range.type.kind !== 'list')
    return { kind: 'refused', reason: 'The right side of in is a list or a map', available: ['list', 'map'] };
  if (joined(element.type, range.type.element) === null)
    return { kind: 'refused', reason: 'The list never holds a value of this type' };
  const stranger = strangerAmong(element, range);
  if (stranger !== null) return stranger;
  if (isScalar(element.type) && isScalar(range.type.element)) {
    if (Array.isArray(range.constant) && element.type.kind !== 'double') {
      const known = new Set<Value>(range.constant);
      return term(bool, (frame) => known.has(key(frame)), fails);
    }
    // indexOf compares with ===, so that NaN is in no list, as in CEL.
    const run: Run<Facts> = (frame) => {
      const list = all(frame) as readonly Value[];
      charge(frame, 1 + (list.length >> 4));
      return list.indexOf(key(frame)) !== -1;
    };
    return term(bool, run, true);
  }
  return term(
    bool,
    (frame) => {
      const wanted = key(frame);
      return (all(frame) as readonly Value[]).some((candidate) => equal(frame, wanted, candidate));
    },
    true,
  );
}
