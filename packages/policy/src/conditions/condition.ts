/**
 * The `when` of a rule: checked when a document is applied, evaluated when a question arrives. A fault during an evaluation is an
 * outcome of its own, so that nobody can take it for an answer.
 */
import type { ConditionFault } from '../resolve/policy-set.ts';
import type { Dependency } from './environment.ts';
import { compileExpression, problemAt } from './expression.ts';
import type { Expression } from './expression.ts';
import { conditionEnvironment } from './facts.ts';
import type { ConditionFacts } from './facts.ts';
import type { ConditionProblem } from './syntax.ts';
import { EvaluationFault } from './term.ts';
import { typeName } from './types.ts';

export type ConditionCheck =
  | { readonly kind: 'valid'; readonly dependencies: ReadonlySet<Dependency> }
  | { readonly kind: 'refused'; readonly problems: readonly ConditionProblem[] };

export type ConditionOutcome =
  | { readonly kind: 'holds' }
  | { readonly kind: 'fails' }
  | { readonly kind: 'fault'; readonly reason: string };

export interface Condition {
  readonly kind: 'condition';
  readonly text: string;
  readonly dependencies: ReadonlySet<Dependency>;
  readonly evaluate: (facts: ConditionFacts) => ConditionOutcome;
}

export function checkCondition(text: string): ConditionCheck {
  const result = compileBool(text);
  return result.kind === 'refused' ? result : { kind: 'valid', dependencies: result.dependencies };
}

const holds: ConditionOutcome = { kind: 'holds' };
const fails: ConditionOutcome = { kind: 'fails' };

export function compileCondition(text: string): Condition | Extract<ConditionCheck, { kind: 'refused' }> {
  const result = compileBool(text);
  if (result.kind === 'refused') return result;
  const { evaluate, dependencies } = result;
  return {
    kind: 'condition',
    text,
    dependencies,
    evaluate: (facts) => {
      const value = evaluate(facts);
      if (value instanceof EvaluationFault)
        return { kind: 'fault', reason: `${value.message} (at character ${value.at + 1})` };
      return value === true ? holds : fails;
    },
  };
}

function compileBool(text: string): Expression<ConditionFacts> | Extract<ConditionCheck, { kind: 'refused' }> {
  const result = compileExpression(text, conditionEnvironment);
  if (result.kind === 'refused' || result.type.kind === 'bool') return result;
  const reason = `A condition is true or false; this is ${typeName(result.type)}.`;
  return { kind: 'refused', problems: [problemAt(text, { at: result.at, reason, available: ['bool'] })] };
}

/** The first problem as the documents' checker wants it: `createPolicySet(documents, { checkCondition: conditionFault })`. */
export function conditionFault(text: string): ConditionFault | null {
  const check = checkCondition(text);
  if (check.kind === 'valid') return null;
  const [problem] = check.problems;
  if (problem === undefined) throw new Error('a refusal has a problem');
  const more = check.problems.length > 1 ? ` (and ${check.problems.length - 1} more)` : '';
  const hint = problem.suggestion === undefined ? '' : ` Did you mean ${problem.suggestion}?`;
  const reason = `line ${problem.line}, column ${problem.column}: ${problem.reason}${hint}${more}`;
  return problem.available === undefined ? { reason } : { reason, allowed: problem.available.join(', ') };
}
