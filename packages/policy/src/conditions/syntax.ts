/**
 * The tree of a condition: the part of CEL (https://cel.dev) that conditions may use, and the limits that bound what one costs to
 * read. What CEL has beyond it is refused with a position, never taken for something else.
 */

/** Longest condition, UTF-16 units. */
export const textMax = 4096;
/** Most nodes of one condition's tree. */
export const nodesMax = 1000;
/** Deepest nesting of brackets, operators and conditionals. */
export const depthMax = 40;

export const unaryOperators = ['!', '-'] as const;
export const binaryOperators = ['||', '&&', '==', '!=', '<', '<=', '>', '>=', 'in', '+', '-', '*', '/', '%'] as const;
export type UnaryOperator = (typeof unaryOperators)[number];
export type BinaryOperator = (typeof binaryOperators)[number];

/** Macros with a variable. `exists_one` is also written `existsOne`. */
export const loopMacros = ['all', 'exists', 'exists_one', 'filter', 'map'] as const;
export type LoopMacro = (typeof loopMacros)[number];

/** `at` is the offset in the text, UTF-16 units, at which an editor should point. */
export type Syntax =
  | { readonly kind: 'literal'; readonly at: number; readonly literal: Literal }
  | { readonly kind: 'name'; readonly at: number; readonly name: string }
  /** `operand.field`, or `has(operand.field)` when `test`. */
  | {
      readonly kind: 'select';
      readonly at: number;
      readonly operand: Syntax;
      readonly field: string;
      readonly test: boolean;
    }
  | { readonly kind: 'index'; readonly at: number; readonly operand: Syntax; readonly index: Syntax }
  | { readonly kind: 'unary'; readonly at: number; readonly operator: UnaryOperator; readonly operand: Syntax }
  | {
      readonly kind: 'binary';
      readonly at: number;
      readonly operator: BinaryOperator;
      readonly left: Syntax;
      readonly right: Syntax;
    }
  | {
      readonly kind: 'conditional';
      readonly at: number;
      readonly condition: Syntax;
      readonly accepted: Syntax;
      readonly otherwise: Syntax;
    }
  /** `name(arguments)`, or `target.name(arguments)`. */
  | {
      readonly kind: 'call';
      readonly at: number;
      readonly name: string;
      readonly target: Syntax | null;
      readonly arguments: readonly Syntax[];
    }
  | { readonly kind: 'list'; readonly at: number; readonly elements: readonly Syntax[] }
  | { readonly kind: 'map'; readonly at: number; readonly entries: readonly (readonly [Syntax, Syntax])[] }
  /** `body` is the predicate; `transform` is what `map` makes of an element, and null with every other macro. */
  | {
      readonly kind: 'loop';
      readonly at: number;
      readonly macro: LoopMacro;
      readonly range: Syntax;
      readonly variable: string;
      readonly variableAt: number;
      readonly body: Syntax | null;
      readonly transform: Syntax | null;
    };

export type Literal =
  | { readonly type: 'bool'; readonly value: boolean }
  | { readonly type: 'int'; readonly value: number }
  | { readonly type: 'double'; readonly value: number }
  | { readonly type: 'string'; readonly value: string };

/** A fault in a condition's text, where it is, and what would be right there. */
export interface ConditionProblem {
  /** UTF-16 units from the start of the text. */
  readonly offset: number;
  readonly line: number;
  readonly column: number;
  readonly reason: string;
  /** The names or forms that exist at this place. */
  readonly available?: readonly string[];
  /** The existing name nearest to what was written. */
  readonly suggestion?: string;
}

/** Thrown inside the parser only; `parseCondition` returns it as a problem. */
export class SyntaxFault extends Error {
  readonly at: number;
  readonly available: readonly string[] | undefined;
  constructor(at: number, reason: string, available?: readonly string[]) {
    super(reason);
    this.at = at;
    this.available = available;
  }
}

/** Line and column (from 1) of an offset in a text. */
export function positionIn(text: string, offset: number): { line: number; column: number } {
  const before = text.slice(0, offset);
  const lineStart = before.lastIndexOf('\n') + 1;
  return { line: before.split('\n').length, column: offset - lineStart + 1 };
}
