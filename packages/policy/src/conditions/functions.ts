/** The functions and methods of conditions: which types each takes, and what it computes. */
import { term } from './operators.ts';
import type { Applied } from './operators.ts';
import { compilePattern } from './pattern.ts';
import { EvaluationFault, charge } from './term.ts';
import type { Frame, Run, Term } from './term.ts';
import { bool, double, int, string } from './types.ts';
import type { MapValue, Value } from './types.ts';

/** Functions written before their argument: `size(x)`. `size` is also a method. */
export const functionNames = ['size', 'int', 'double', 'string'] as const;
/** Functions written behind a string: `x.startsWith("a")`. */
export const methodNames = ['contains', 'endsWith', 'matches', 'size', 'startsWith'] as const;

export function applyFunction<Facts>(
  name: (typeof functionNames)[number],
  value: Term<Facts>,
  at: number,
): Applied<Facts> {
  switch (name) {
    case 'size':
      return applySize(value);
    case 'int':
      return toInt(value, at);
    case 'double':
      return toDouble(value, at);
    case 'string':
      return toText(value);
  }
}

function applySize<Facts>(value: Term<Facts>): Applied<Facts> {
  const run = value.run;
  if (value.type.kind === 'list') return term(int, (frame) => (run(frame) as readonly Value[]).length, value.fails);
  if (value.type.kind === 'map') return term(int, (frame) => keyCount(frame, run(frame) as MapValue), true);
  if (value.type.kind === 'string') return term(int, (frame) => codePoints(frame, run(frame) as string), true);
  return { kind: 'refused', reason: 'Only strings, lists and maps have a size', available: ['string', 'list', 'map'] };
}

function keyCount<Facts>(frame: Frame<Facts>, map: MapValue): number {
  const count = Object.keys(map).length;
  charge(frame, count >> 4);
  return count;
}

function codePoints<Facts>(frame: Frame<Facts>, text: string): number {
  charge(frame, text.length >> 4);
  let count = text.length;
  for (let index = 0; index < text.length; index += 1) {
    const unit = text.charCodeAt(index);
    if (unit >= 0xdc00 && unit <= 0xdfff) count -= 1;
  }
  return count;
}

function toInt<Facts>(value: Term<Facts>, at: number): Applied<Facts> {
  const { run, type } = value;
  const fault = new EvaluationFault(at, 'This value is no whole number within ±9007199254740991.');
  const exact = (number: number): number => {
    if (!Number.isSafeInteger(number)) throw fault;
    return number + 0;
  };
  if (type.kind === 'int') return term(int, run, value.fails);
  if (type.kind === 'double') return term(int, (frame) => exact(Math.trunc(run(frame) as number)), true);
  if (type.kind === 'string') {
    return term(
      int,
      (frame) => {
        const text = run(frame) as string;
        return exact(/^[+-]?[0-9]{1,16}$/.test(text) ? Number(text) : Number.NaN);
      },
      true,
    );
  }
  return { kind: 'refused', reason: 'int() takes a number or a string', available: ['int', 'double', 'string'] };
}

function toDouble<Facts>(value: Term<Facts>, at: number): Applied<Facts> {
  const { run, type } = value;
  const fault = new EvaluationFault(at, 'This text is no number.');
  if (type.kind === 'double' || type.kind === 'int') return term(double, run, value.fails);
  if (type.kind === 'string') {
    return term(
      double,
      (frame) => {
        const text = run(frame) as string;
        if (text.length > 40 || !/^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$/.test(text)) throw fault;
        return Number(text);
      },
      true,
    );
  }
  return { kind: 'refused', reason: 'double() takes a number or a string', available: ['int', 'double', 'string'] };
}

function toText<Facts>(value: Term<Facts>): Applied<Facts> {
  const { run, type } = value;
  if (type.kind === 'string') return term(string, run, value.fails);
  if (type.kind === 'int' || type.kind === 'bool') return term(string, (frame) => String(run(frame)), value.fails);
  return { kind: 'refused', reason: 'string() takes an int, a bool or a string', available: ['int', 'bool', 'string'] };
}

export function applyMethod<Facts>(
  name: Exclude<(typeof methodNames)[number], 'size'>,
  target: Term<Facts>,
  argument: Term<Facts>,
): Applied<Facts> {
  if (target.type.kind !== 'string' || argument.type.kind !== 'string') {
    return { kind: 'refused', reason: `${name} takes a string and is called on a string`, available: ['string'] };
  }
  const text = target.run;
  const part = argument.run;
  const fails = target.fails || argument.fails;
  switch (name) {
    case 'startsWith':
      return term(bool, (frame) => (text(frame) as string).startsWith(part(frame) as string), fails);
    case 'endsWith':
      return term(bool, (frame) => (text(frame) as string).endsWith(part(frame) as string), fails);
    case 'contains':
      return term(bool, (frame) => contains(frame, text(frame) as string, part(frame) as string), true);
    case 'matches':
      return applyMatches(target, argument);
  }
}

/** Engines search in length × length at worst, so that is what is charged. */
function contains<Facts>(frame: Frame<Facts>, text: string, part: string): boolean {
  charge(frame, 1 + ((text.length * part.length) >> 8));
  return text.includes(part);
}

function applyMatches<Facts>(target: Term<Facts>, argument: Term<Facts>): Applied<Facts> {
  if (typeof argument.constant !== 'string') {
    return {
      kind: 'refused',
      reason: 'The pattern of matches() is written in the text, so that it is checked when it is applied',
    };
  }
  const pattern = compilePattern(argument.constant);
  if (pattern.kind === 'refused') return pattern;
  const text = target.run;
  const tooLong = new EvaluationFault(
    argument.at,
    `matches() looks at strings of at most ${pattern.subjectMax} characters.`,
  );
  const run: Run<Facts> = (frame) => {
    const subject = text(frame) as string;
    if (subject.length > pattern.subjectMax) throw tooLong;
    charge(frame, pattern.steps(subject.length));
    return pattern.test(subject);
  };
  return term(bool, run, true);
}
