/**
 * Checks a condition's tree against an environment and makes its closures, in one walk: every construct's typing rule stands beside
 * what it computes. Faults are collected, so that one apply shows all of them.
 */
import { applyField, applyHas, applyIndex, applyList, applyMap } from './access.ts';
import { namesUnder, nearest } from './environment.ts';
import type { Dependency, Environment } from './environment.ts';
import { compileLoop } from './loops.ts';
import { conjunction, conditional, disjunction } from './logic.ts';
import { applyFunction, applyMethod, functionNames, methodNames } from './functions.ts';
import { applyArithmetic, applyEquality, applyIn, applyOrdering } from './operators.ts';
import type { Applied } from './operators.ts';
import type { Syntax } from './syntax.ts';
import type { Term } from './term.ts';
import { bool, double, int, joined, string, typeName } from './types.ts';
import type { Value, ValueType } from './types.ts';

export interface Fault {
  readonly at: number;
  readonly reason: string;
  readonly available?: readonly string[];
  readonly suggestion?: string;
}

type Kind<K extends Syntax['kind']> = Extract<Syntax, { kind: K }>;

/** Variables of loops, innermost last: name → its type and its slot. */
type Scope = readonly { readonly name: string; readonly type: ValueType }[];

/** Null where a fault was noted. */
export class Checker<Facts> {
  readonly faults: Fault[] = [];
  readonly dependencies = new Set<Dependency>();
  readonly #environment: Environment<Facts>;
  /** Parts of the text that were looked at so far. */
  #parts = 0;

  constructor(environment: Environment<Facts>) {
    this.#environment = environment;
  }

  check(node: Syntax, scope: Scope = []): Term<Facts> | null {
    this.#parts += 1;
    switch (node.kind) {
      case 'literal':
        return literal(node.at, node.literal.type, node.literal.value);
      case 'name':
      case 'select':
        return this.#named(node, scope);
      case 'index':
        return this.#index(node, scope);
      case 'unary':
        return this.#unary(node, scope);
      case 'binary':
        return this.#binary(node, scope);
      case 'conditional':
        return this.#conditional(node, scope);
      case 'call':
        return this.#call(node, scope);
      case 'list':
        return this.#list(node, scope);
      case 'map':
        return this.#map(node, scope);
      case 'loop':
        return this.#loop(node, scope);
    }
  }

  #fault(at: number, reason: string, more: Partial<Pick<Fault, 'available' | 'suggestion'>> = {}): null {
    this.faults.push({ at, reason, ...more });
    return null;
  }

  #unknown(at: number, what: string, word: string, available: readonly string[]): null {
    const suggestion = nearest(word, available);
    return this.#fault(
      at,
      `${what} does not exist.`,
      suggestion === undefined ? { available } : { available, suggestion },
    );
  }

  #applied(at: number, applied: Applied<Facts>, ...operands: readonly Term<Facts>[]): Term<Facts> | null {
    if (applied.kind === 'term') {
      const { type, run, fails, constant } = applied;
      return { at, type, run, fails, ...(constant === undefined ? {} : { constant }) };
    }
    const found =
      operands.length === 0 ? 'nothing' : [...new Set(operands.map((operand) => typeName(operand.type)))].join(' and ');
    const reason = applied.reason.replace(/[.]$/, '');
    return this.#fault(
      at,
      `${reason} (found ${found}).`,
      applied.available === undefined ? {} : { available: applied.available },
    );
  }

  /** A loop's variable, a name of the environment, or the key of a map. */
  #named(node: Kind<'name'> | Kind<'select'>, scope: Scope): Term<Facts> | null {
    const slot = node.kind === 'name' ? scope.findLastIndex((variable) => variable.name === node.name) : -1;
    const local = scope[slot];
    if (local !== undefined)
      return { at: node.at, type: local.type, run: (frame) => frame.locals[slot]!, fails: false };
    const path = dottedPath(node, scope);
    const variable = path === null ? undefined : this.#environment.get(path);
    if (variable !== undefined && path !== null) return this.#variable(node, path);
    if (path !== null && namesUnder(this.#environment, path).length > 0) {
      return this.#fault(node.at, `${path} is a group of names, not a value; pick one of them.`, {
        available: namesUnder(this.#environment, path),
      });
    }
    if (node.kind === 'name') return this.#unknown(node.at, `The name ${node.name}`, node.name, this.#roots(scope));
    const parent = dottedPath(node.operand, scope);
    const siblings = parent === null || this.#environment.has(parent) ? [] : namesUnder(this.#environment, parent);
    if (siblings.length > 0) return this.#unknown(node.at, `The name ${parent}.${node.field}`, node.field, siblings);
    return this.#key(node, scope);
  }

  #roots(scope: Scope): string[] {
    return [...new Set([...scope.map((variable) => variable.name), ...namesUnder(this.#environment, '')])].sort();
  }

  #variable(node: Kind<'name'> | Kind<'select'>, path: string): Term<Facts> | null {
    const variable = this.#environment.get(path)!;
    if (node.kind === 'select' && node.test) {
      return this.#fault(node.at, `${path} always exists; has() is for the keys of a map.`);
    }
    if (variable.dependsOn !== null) this.dependencies.add(variable.dependsOn);
    const { read } = variable;
    return { at: node.at, type: variable.type, run: (frame) => read(frame.facts), fails: false };
  }

  #key(node: Kind<'select'>, scope: Scope): Term<Facts> | null {
    const operand = this.check(node.operand, scope);
    if (operand === null) return null;
    const applied = node.test ? applyHas(operand, node.field) : applyField(operand, node.field, node.at);
    return this.#applied(node.at, applied, operand);
  }

  #index(node: Kind<'index'>, scope: Scope): Term<Facts> | null {
    const operand = this.check(node.operand, scope);
    const index = this.check(node.index, scope);
    if (operand === null || index === null) return null;
    return this.#applied(node.at, applyIndex(operand, index, node.at), operand, index);
  }

  #unary(node: Kind<'unary'>, scope: Scope): Term<Facts> | null {
    const operand = this.check(node.operand, scope);
    if (operand === null) return null;
    const { run, type, fails } = operand;
    if (node.operator === '!' && type.kind === 'bool')
      return { at: node.at, type, run: (frame) => run(frame) !== true, fails };
    if (node.operator === '-' && type.kind === 'int') {
      return { at: node.at, type, run: (frame) => 0 - (run(frame) as number), fails, ...negated(operand) };
    }
    if (node.operator === '-' && type.kind === 'double') {
      return { at: node.at, type, run: (frame) => -(run(frame) as number), fails };
    }
    const available = node.operator === '!' ? ['bool'] : ['int', 'double'];
    return this.#fault(node.at, `${node.operator} is not defined for ${typeName(type)}.`, { available });
  }

  #binary(node: Kind<'binary'>, scope: Scope): Term<Facts> | null {
    const left = this.check(node.left, scope);
    const right = this.check(node.right, scope);
    if (left === null || right === null) return null;
    switch (node.operator) {
      case '&&':
      case '||': {
        const wrong = [left, right].find((side) => side.type.kind !== 'bool');
        if (wrong !== undefined) {
          return this.#fault(wrong.at, `${node.operator} combines bool values; this is ${typeName(wrong.type)}.`, {
            available: ['bool'],
          });
        }
        return node.operator === '&&' ? conjunction(node.at, left, right) : disjunction(node.at, left, right);
      }
      case '==':
      case '!=':
        return this.#applied(node.at, applyEquality(node.operator === '!=', left, right), left, right);
      case '<':
      case '<=':
      case '>':
      case '>=':
        return this.#applied(node.at, applyOrdering(node.operator, left, right), left, right);
      case 'in':
        return this.#applied(node.at, applyIn(left, right), left, right);
      default:
        return this.#applied(node.at, applyArithmetic(node.operator, left, right, node.at), left, right);
    }
  }

  #conditional(node: Kind<'conditional'>, scope: Scope): Term<Facts> | null {
    const condition = this.check(node.condition, scope);
    const accepted = this.check(node.accepted, scope);
    const otherwise = this.check(node.otherwise, scope);
    if (condition === null || accepted === null || otherwise === null) return null;
    if (condition.type.kind !== 'bool') {
      return this.#fault(condition.at, `What stands before ? is a bool; this is ${typeName(condition.type)}.`, {
        available: ['bool'],
      });
    }
    const type = joined(accepted.type, otherwise.type);
    if (type === null) {
      return this.#fault(
        node.at,
        `Both values of a conditional have one type (found ${typeName(accepted.type)} and ${typeName(otherwise.type)}).`,
      );
    }
    return conditional(node.at, type, condition, accepted, otherwise);
  }

  #call(node: Kind<'call'>, scope: Scope): Term<Facts> | null {
    const target = node.target === null ? undefined : this.check(node.target, scope);
    const values = node.arguments.map((argument) => this.check(argument, scope));
    const known: readonly string[] =
      node.target === null
        ? [...functionNames, 'has']
        : [...methodNames, 'all', 'exists', 'exists_one', 'filter', 'map'];
    if (!known.includes(node.name)) {
      const what = node.target === null ? `The function ${node.name}()` : `The method .${node.name}()`;
      return this.#unknown(node.at, what, node.name, [...known].sort());
    }
    const [first, second] = values;
    if (target === null || values.includes(null)) return null;
    const wanted = target === undefined || node.name !== 'size' ? 1 : 0;
    if (values.length !== wanted || second !== undefined) {
      return this.#fault(
        node.at,
        `${node.name} takes ${wanted} argument${wanted === 1 ? '' : 's'}, found ${values.length}.`,
      );
    }
    if (target === undefined) {
      const name = functionNames.find((candidate) => candidate === node.name)!;
      return this.#applied(node.at, applyFunction(name, first!, node.at), first!);
    }
    const name = methodNames.find((candidate) => candidate === node.name)!;
    if (name === 'size') return this.#applied(node.at, applyFunction(name, target, node.at), target);
    return this.#applied(node.at, applyMethod(name, target, first!), target, first!);
  }

  #list(node: Kind<'list'>, scope: Scope): Term<Facts> | null {
    const elements = node.elements.map((element) => this.check(element, scope));
    if (!allChecked(elements)) return null;
    return this.#applied(node.at, applyList(elements), ...elements);
  }

  #map(node: Kind<'map'>, scope: Scope): Term<Facts> | null {
    const keys = node.entries.map(([key]) => this.check(key, scope));
    const values = node.entries.map(([, value]) => this.check(value, scope));
    if (!allChecked(keys) || !allChecked(values)) return null;
    return this.#applied(node.at, applyMap(keys, values), ...keys, ...values);
  }

  #loop(node: Kind<'loop'>, scope: Scope): Term<Facts> | null {
    const range = this.check(node.range, scope);
    if (range === null) return null;
    if (range.type.kind !== 'list' && range.type.kind !== 'map') {
      return this.#fault(node.at, `.${node.macro}() goes over a list or a map; this is ${typeName(range.type)}.`, {
        available: ['list', 'map'],
      });
    }
    if (this.#roots(scope).includes(node.variable)) {
      return this.#fault(node.variableAt, `The name ${node.variable} has a meaning already; choose another.`);
    }
    const element = range.type.kind === 'list' ? range.type.element : string;
    const inner = [...scope, { name: node.variable, type: element }];
    const before = this.#parts;
    const body = node.body === null ? undefined : this.check(node.body, inner);
    const transform = node.transform === null ? undefined : this.check(node.transform, inner);
    if (body === null || transform === null) return null;
    if (body !== undefined && body.type.kind !== 'bool') {
      return this.#fault(body.at, `The condition of .${node.macro}() is a bool; this is ${typeName(body.type)}.`, {
        available: ['bool'],
      });
    }
    const { at, macro } = node;
    return compileLoop({ at, macro, slot: scope.length, range, element, body, transform, parts: this.#parts - before });
  }
}

function allChecked<Facts>(terms: readonly (Term<Facts> | null)[]): terms is readonly Term<Facts>[] {
  return !terms.includes(null);
}

function literal<Facts>(at: number, kind: 'bool' | 'int' | 'double' | 'string', value: Value): Term<Facts> {
  const type = { bool, int, double, string }[kind];
  return { at, type, run: () => value, fails: false, constant: value };
}

/** `-3` is a literal too, so that `x in [-3, 4]` is a list of literals. */
function negated<Facts>(operand: Term<Facts>): { constant?: Value } {
  return typeof operand.constant === 'number' ? { constant: 0 - operand.constant } : {};
}

/** `a.b.c` as text if it starts with a name that is no loop's variable. */
function dottedPath(node: Syntax, scope: Scope): string | null {
  if (node.kind === 'name') return scope.some((variable) => variable.name === node.name) ? null : node.name;
  if (node.kind !== 'select') return null;
  const parent = dottedPath(node.operand, scope);
  return parent === null ? null : `${parent}.${node.field}`;
}
