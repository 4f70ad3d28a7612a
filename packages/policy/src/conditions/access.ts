/** Lists and maps: how they are written, and how their elements are reached. */
import { term } from './operators.ts';
import type { Applied } from './operators.ts';
import { EvaluationFault } from './term.ts';
import type { Run, Term } from './term.ts';
import { bool, joined, listOf, mapOf, nothing } from './types.ts';
import type { MapValue, Value, ValueType } from './types.ts';

/** `operand.field` of a map; a key that is missing is a fault. */
export function applyField<Facts>(operand: Term<Facts>, field: string, at: number): Applied<Facts> {
  if (operand.type.kind !== 'map')
    return { kind: 'refused', reason: `There is no field ${field} here`, available: ['map'] };
  const { run } = operand;
  const missing = new EvaluationFault(at, `There is no key ${JSON.stringify(field)}.`);
  const read: Run<Facts> = (frame) => {
    const map = run(frame) as MapValue;
    if (!Object.hasOwn(map, field)) throw missing;
    return map[field]!;
  };
  return term(operand.type.value, read, true);
}

/** `has(operand.field)`. */
export function applyHas<Facts>(operand: Term<Facts>, field: string): Applied<Facts> {
  if (operand.type.kind !== 'map')
    return { kind: 'refused', reason: 'has() is for the keys of a map', available: ['map'] };
  const { run } = operand;
  return term(bool, (frame) => Object.hasOwn(run(frame) as MapValue, field), operand.fails);
}

/** `operand[index]`. */
export function applyIndex<Facts>(operand: Term<Facts>, index: Term<Facts>, at: number): Applied<Facts> {
  const range = operand.run;
  const key = index.run;
  if (operand.type.kind === 'map' && index.type.kind === 'string') {
    if (typeof index.constant === 'string') return applyField(operand, index.constant, at);
    const missing = new EvaluationFault(at, 'There is no such key.');
    const read: Run<Facts> = (frame) => {
      const map = range(frame) as MapValue;
      const name = key(frame) as string;
      if (!Object.hasOwn(map, name)) throw missing;
      return map[name]!;
    };
    return term(operand.type.value, read, true);
  }
  if (operand.type.kind === 'list' && index.type.kind === 'int') {
    const outside = new EvaluationFault(at, 'The index lies outside the list.');
    const read: Run<Facts> = (frame) => {
      const element = (range(frame) as readonly Value[])[key(frame) as number];
      if (element === undefined) throw outside;
      return element;
    };
    return term(operand.type.element, read, true);
  }
  return { kind: 'refused', reason: 'There is no such index', available: ['list[int]', 'map[string]'] };
}

export function applyList<Facts>(elements: readonly Term<Facts>[]): Applied<Facts> {
  const type = common(elements);
  if (type === null) return { kind: 'refused', reason: 'The elements of a list have one type' };
  if (elements.every((element) => element.constant !== undefined)) {
    const constant = elements.map((element) => element.constant!);
    return { kind: 'term', type: listOf(type), run: () => constant, fails: false, constant };
  }
  const runs = elements.map((element) => element.run);
  const fails = elements.some((element) => element.fails);
  return term(listOf(type), (frame) => runs.map((run) => run(frame)), fails);
}

export function applyMap<Facts>(keys: readonly Term<Facts>[], values: readonly Term<Facts>[]): Applied<Facts> {
  const type = common(values);
  if (type === null) return { kind: 'refused', reason: 'The values of a map have one type' };
  const names = keys.map((key) => key.constant);
  if (!names.every((name) => typeof name === 'string') || new Set(names).size !== names.length) {
    return { kind: 'refused', reason: 'The keys of a map are different strings, written in the text' };
  }
  const entries = values.map((value, place) => [names[place]!, value.run] as const);
  const build: Run<Facts> = (frame) => {
    const map: Record<string, Value> = Object.create(null);
    for (const [name, run] of entries) map[name] = run(frame);
    return map;
  };
  const fails = values.some((value) => value.fails);
  return term(mapOf(type), build, fails);
}

function common<Facts>(terms: readonly Term<Facts>[]): ValueType | null {
  let type: ValueType | null = nothing;
  for (const one of terms) {
    if (type !== null) type = joined(type, one.type);
  }
  return type;
}
