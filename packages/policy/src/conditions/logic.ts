/**
 * `&&`, `||` and `?:`. In CEL a side that settles the answer absorbs a fault of the other, whichever comes first:
 * `fault && false` is false, `fault && true` is the fault.
 */
import { absorbable } from './term.ts';
import type { EvaluationFault, Frame, Run, Term } from './term.ts';
import { bool } from './types.ts';
import type { ValueType } from './types.ts';

export function conjunction<Facts>(at: number, left: Term<Facts>, right: Term<Facts>): Term<Facts> {
  const a = left.run;
  const b = right.run;
  const fails = left.fails || right.fails;
  // Only a fault on the left needs a guard: if the left is false, the right is never run.
  if (!left.fails) return { at, type: bool, run: (frame) => a(frame) === true && b(frame) === true, fails };
  return { at, type: bool, run: settledBy(false, a, b), fails };
}

export function disjunction<Facts>(at: number, left: Term<Facts>, right: Term<Facts>): Term<Facts> {
  const a = left.run;
  const b = right.run;
  const fails = left.fails || right.fails;
  if (!left.fails) return { at, type: bool, run: (frame) => a(frame) === true || b(frame) === true, fails };
  return { at, type: bool, run: settledBy(true, a, b), fails };
}

function settledBy<Facts>(settling: boolean, a: Run<Facts>, b: Run<Facts>): Run<Facts> {
  return (frame) => {
    const fault = attempt(a, frame);
    if (typeof fault === 'boolean') return fault === settling ? settling : b(frame) === true;
    if (b(frame) === settling) return settling;
    throw fault;
  };
}

/** The value, or the fault if it may be absorbed. */
export function attempt<Facts>(run: Run<Facts>, frame: Frame<Facts>): boolean | EvaluationFault {
  try {
    return run(frame) === true;
  } catch (error) {
    return absorbable(error);
  }
}

export function conditional<Facts>(
  at: number,
  type: ValueType,
  condition: Term<Facts>,
  then: Term<Facts>,
  otherwise: Term<Facts>,
): Term<Facts> {
  const test = condition.run;
  const a = then.run;
  const b = otherwise.run;
  const fails = condition.fails || then.fails || otherwise.fails;
  return { at, type, run: (frame) => (test(frame) === true ? a(frame) : b(frame)), fails };
}
