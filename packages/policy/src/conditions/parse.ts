/**
 * From text to `Syntax` by recursive descent over CEL's grammar, with the depth and the number of nodes bounded. Macros are
 * recognised here, as CEL demands: `has`, and the loops `all`, `exists`, `exists_one`, `filter`, `map`.
 */
import { scan } from './scan.ts';
import type { Token } from './scan.ts';
import { SyntaxFault, depthMax, loopMacros, nodesMax, textMax } from './syntax.ts';
import type { BinaryOperator, LoopMacro, Syntax, UnaryOperator } from './syntax.ts';

/** Throws `SyntaxFault` only. */
export function parseCondition(text: string): Syntax {
  if (text.length > textMax) throw new SyntaxFault(textMax, `A condition has at most ${textMax} characters.`);
  return new Parser(scan(text)).parse();
}

/** Binary operators from the loosest to the tightest. All associate to the left. */
const levels: readonly (readonly BinaryOperator[])[] = [
  ['||'],
  ['&&'],
  ['==', '!=', '<', '<=', '>', '>=', 'in'],
  ['+', '-'],
  ['*', '/', '%'],
];

class Parser {
  readonly #tokens: readonly Token[];
  #next = 0;
  #depth = 0;
  #nodes = 0;

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  parse(): Syntax {
    if (this.#peek().kind === 'end') throw new SyntaxFault(0, 'The condition is empty.');
    const tree = this.#expression();
    const rest = this.#peek();
    if (rest.kind !== 'end')
      throw new SyntaxFault(rest.at, `Expected an operator or the end, found ${describe(rest)}.`);
    return tree;
  }

  #expression(): Syntax {
    const leave = this.#enter();
    const condition = this.#binary(0);
    const at = this.#peek().at;
    if (!this.#take('?')) return leave(condition);
    const accepted = this.#binary(0);
    this.#expect(':', 'A conditional is written  condition ? value : otherwise');
    const otherwise = this.#expression();
    return leave(this.#node({ kind: 'conditional', at, condition, accepted, otherwise }));
  }

  #binary(level: number): Syntax {
    const operators = levels[level];
    if (operators === undefined) return this.#unary();
    let left = this.#binary(level + 1);
    for (;;) {
      const token = this.#peek();
      const operator = token.kind === 'symbol' ? operators.find((candidate) => candidate === token.symbol) : undefined;
      if (operator === undefined) return left;
      this.#next += 1;
      const right = this.#binary(level + 1);
      left = this.#node({ kind: 'binary', at: token.at, operator, left, right });
    }
  }

  /** CEL allows a row of `!` or a row of `-`, not a mixture. */
  #unary(): Syntax {
    const token = this.#peek();
    const operator: UnaryOperator | null =
      token.kind === 'symbol' && (token.symbol === '!' || token.symbol === '-') ? token.symbol : null;
    if (operator === null) return this.#member();
    const places: number[] = [];
    while (this.#peekIs(operator)) {
      places.push(this.#peek().at);
      this.#next += 1;
      if (places.length > depthMax) throw new SyntaxFault(token.at, 'The condition is nested too deeply.');
    }
    let operand = this.#member();
    for (const at of places.toReversed()) operand = this.#node({ kind: 'unary', at, operator, operand });
    return operand;
  }

  #member(): Syntax {
    let operand = this.#primary();
    for (;;) {
      const at = this.#peek().at;
      if (this.#take('.')) {
        const name = this.#peek();
        if (name.kind !== 'name')
          throw new SyntaxFault(name.at, `Expected a name after the dot, found ${describe(name)}.`);
        this.#next += 1;
        operand = this.#take('(')
          ? this.#method(operand, name.name, name.at)
          : this.#node({ kind: 'select', at: name.at, operand, field: name.name, test: false });
      } else if (this.#take('[')) {
        const index = this.#expression();
        this.#expect(']', 'An index is closed with ]');
        operand = this.#node({ kind: 'index', at, operand, index });
      } else return operand;
    }
  }

  #primary(): Syntax {
    const token = this.#peek();
    this.#next += 1;
    if (token.kind === 'literal') return this.#node({ kind: 'literal', at: token.at, literal: token.literal });
    if (token.kind === 'name') {
      if (this.#take('(')) return this.#call(token.name, token.at);
      if (this.#peekIs('{')) throw new SyntaxFault(token.at, 'Messages are not used in conditions.');
      return this.#node({ kind: 'name', at: token.at, name: token.name });
    }
    if (token.kind === 'symbol' && token.symbol === '(') {
      const inner = this.#expression();
      this.#expect(')', 'A bracket is closed with )');
      return inner;
    }
    if (token.kind === 'symbol' && token.symbol === '[') {
      return this.#node({ kind: 'list', at: token.at, elements: this.#listUntil(']') });
    }
    if (token.kind === 'symbol' && token.symbol === '{') return this.#map(token.at);
    throw new SyntaxFault(token.at, `Expected a value, found ${describe(token)}.`);
  }

  #map(at: number): Syntax {
    const entries: [Syntax, Syntax][] = [];
    while (!this.#take('}')) {
      const key = this.#expression();
      this.#expect(':', 'A map is written  {key: value, …}');
      entries.push([key, this.#expression()]);
      if (!this.#take(',') && !this.#peekIs('}')) throw this.#unexpected('Expected , or }');
    }
    return this.#node({ kind: 'map', at, entries });
  }

  #call(name: string, at: number): Syntax {
    const values = this.#arguments();
    if (name !== 'has') return this.#node({ kind: 'call', at, name, target: null, arguments: values });
    const [field] = values;
    if (values.length !== 1 || field?.kind !== 'select' || field.test) {
      throw new SyntaxFault(at, 'has() takes one field, as in has(source.labels.team).');
    }
    return { ...field, test: true };
  }

  #method(target: Syntax, name: string, at: number): Syntax {
    const values = this.#arguments();
    const macro = name === 'existsOne' ? 'exists_one' : loopMacros.find((candidate) => candidate === name);
    if (macro === undefined) return this.#node({ kind: 'call', at, name, target, arguments: values });
    return this.#loop(macro, target, values, at);
  }

  #loop(macro: LoopMacro, range: Syntax, values: readonly Syntax[], at: number): Syntax {
    const [variable, second, third] = values;
    const form = macro === 'map' ? 'map(x, value) or map(x, condition, value)' : `${macro}(x, condition)`;
    const complete = values.length === 2 || (macro === 'map' && values.length === 3);
    if (!complete || second === undefined) throw new SyntaxFault(at, `This macro is written  ${form}`);
    if (variable?.kind !== 'name') {
      throw new SyntaxFault(variable?.at ?? at, `The first argument is the name of a variable: ${form}`);
    }
    const parts =
      macro === 'map'
        ? { body: third === undefined ? null : second, transform: third ?? second }
        : { body: second, transform: null };
    return this.#node({ kind: 'loop', at, macro, range, variable: variable.name, variableAt: variable.at, ...parts });
  }

  #arguments(): Syntax[] {
    if (this.#take(')')) return [];
    const values = [this.#expression()];
    while (this.#take(',')) values.push(this.#expression());
    this.#expect(')', 'Arguments are separated by commas and closed with )');
    return values;
  }

  #listUntil(closing: string): Syntax[] {
    const values: Syntax[] = [];
    while (!this.#take(closing)) {
      values.push(this.#expression());
      if (!this.#take(',') && !this.#peekIs(closing)) throw this.#unexpected(`Expected , or ${closing}`);
    }
    return values;
  }

  #node(node: Syntax): Syntax {
    this.#nodes += 1;
    if (this.#nodes > nodesMax) throw new SyntaxFault(node.at, `A condition has at most ${nodesMax} parts.`);
    return node;
  }

  #enter(): (result: Syntax) => Syntax {
    this.#depth += 1;
    if (this.#depth > depthMax) throw new SyntaxFault(this.#peek().at, 'The condition is nested too deeply.');
    return (result) => {
      this.#depth -= 1;
      return result;
    };
  }

  #peek(): Token {
    const token = this.#tokens[Math.min(this.#next, this.#tokens.length - 1)];
    if (token === undefined) throw new Error('the scanner gives at least the end token');
    return token;
  }

  #peekIs(symbol: string): boolean {
    const token = this.#peek();
    return token.kind === 'symbol' && token.symbol === symbol;
  }

  #take(symbol: string): boolean {
    const found = this.#peekIs(symbol);
    if (found) this.#next += 1;
    return found;
  }

  #expect(symbol: string, form: string): void {
    if (!this.#take(symbol)) throw this.#unexpected(form);
  }

  #unexpected(form: string): SyntaxFault {
    const token = this.#peek();
    return new SyntaxFault(token.at, `${form}; found ${describe(token)}.`);
  }
}

function describe(token: Token): string {
  switch (token.kind) {
    case 'end':
      return 'the end';
    case 'symbol':
      return token.symbol;
    case 'name':
      return token.name;
    case 'literal':
      return JSON.stringify(token.literal.value);
  }
}
