/** One text against one environment: problems, or a checked and compiled expression of any type. */
import { Checker } from './check.ts';
import type { Fault } from './check.ts';
import type { Dependency, Environment } from './environment.ts';
import { parseCondition } from './parse.ts';
import { SyntaxFault, positionIn } from './syntax.ts';
import type { ConditionProblem } from './syntax.ts';
import { EvaluationFault } from './term.ts';
import type { Frame } from './term.ts';
import type { Value, ValueType } from './types.ts';

/** Most problems reported for one text. */
const problemsMax = 20;

export interface Expression<Facts> {
  readonly kind: 'expression';
  readonly type: ValueType;
  readonly at: number;
  readonly dependencies: ReadonlySet<Dependency>;
  /** The value; an `EvaluationFault` is returned, not thrown. */
  readonly evaluate: (facts: Facts) => Value | EvaluationFault;
}

export type ExpressionResult<Facts> =
  | Expression<Facts>
  | { readonly kind: 'refused'; readonly problems: readonly ConditionProblem[] };

export function compileExpression<Facts>(text: string, environment: Environment<Facts>): ExpressionResult<Facts> {
  const checker = new Checker(environment);
  let term: ReturnType<typeof checker.check>;
  try {
    term = checker.check(parseCondition(text));
  } catch (error) {
    if (!(error instanceof SyntaxFault)) throw error;
    const available = error.available === undefined ? {} : { available: error.available };
    return { kind: 'refused', problems: [problemAt(text, { at: error.at, reason: error.message, ...available })] };
  }
  if (term === null) {
    return { kind: 'refused', problems: checker.faults.slice(0, problemsMax).map((fault) => problemAt(text, fault)) };
  }
  const { run, type, at } = term;
  // Evaluation is synchronous and never re-entered, so one frame serves all of them.
  const frame: { facts: Facts | null; steps: number; readonly locals: Value[] } = { facts: null, steps: 0, locals: [] };
  const evaluate = (facts: Facts): Value | EvaluationFault => {
    frame.facts = facts;
    frame.steps = 0;
    try {
      return run(frame as Frame<Facts>);
    } catch (error) {
      if (error instanceof EvaluationFault) return error;
      throw error;
    } finally {
      frame.facts = null;
      frame.locals.length = 0;
    }
  };
  return { kind: 'expression', type, at, dependencies: checker.dependencies, evaluate };
}

export function problemAt(text: string, fault: Fault): ConditionProblem {
  const { at, ...rest } = fault;
  return { offset: at, ...positionIn(text, at), ...rest };
}
