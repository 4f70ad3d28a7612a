/** The macros with a variable: `all`, `exists`, `exists_one`, `filter`, `map`. Every turn is charged, by how much runs in it. */
import { attempt } from './logic.ts';
import type { LoopMacro } from './syntax.ts';
import { charge } from './term.ts';
import type { EvaluationFault, Frame, Run, Term } from './term.ts';
import { bool, listOf } from './types.ts';
import type { MapValue, Value, ValueType } from './types.ts';

export interface Loop<Facts> {
  readonly at: number;
  readonly macro: LoopMacro;
  /** Where the variable's value is kept during the loop. */
  readonly slot: number;
  /** A list, or a map whose keys are gone through. */
  readonly range: Term<Facts>;
  readonly element: ValueType;
  readonly body: Term<Facts> | undefined;
  readonly transform: Term<Facts> | undefined;
  /** How many parts of the text run in each turn. */
  readonly parts: number;
}

const always = (): boolean => true;

/** Loops may always fail: a turn is charged. */
export function compileLoop<Facts>(loop: Loop<Facts>): Term<Facts> {
  const { at, slot } = loop;
  const elements = elementsOf(loop.range);
  const body = loop.body?.run ?? always;
  const cost = 1 + (loop.parts >> 4);
  switch (loop.macro) {
    case 'all':
      return { at, type: bool, run: settling(false, elements, slot, body, cost), fails: true };
    case 'exists':
      return { at, type: bool, run: settling(true, elements, slot, body, cost), fails: true };
    case 'exists_one':
      return { at, type: bool, run: (frame) => selected(frame, elements, slot, body, cost).length === 1, fails: true };
    case 'filter':
      return {
        at,
        type: listOf(loop.element),
        run: (frame) => selected(frame, elements, slot, body, cost),
        fails: true,
      };
    case 'map': {
      const transform = loop.transform;
      if (transform === undefined) throw new Error('map has a transform');
      return { at, type: listOf(transform.type), run: mapping(elements, slot, body, transform.run, cost), fails: true };
    }
  }
}

function elementsOf<Facts>(range: Term<Facts>): (frame: Frame<Facts>) => readonly Value[] {
  const { run } = range;
  if (range.type.kind === 'list') return (frame) => run(frame) as readonly Value[];
  return (frame) => {
    const keys = Object.keys(run(frame) as MapValue);
    charge(frame, keys.length >> 4);
    return keys;
  };
}

type Elements<Facts> = (frame: Frame<Facts>) => readonly Value[];

/** `exists` is settled by a true, `all` by a false; a settling turn absorbs the faults of the others. */
function settling<Facts>(
  by: boolean,
  elements: Elements<Facts>,
  slot: number,
  body: Run<Facts>,
  cost: number,
): Run<Facts> {
  return (frame) => {
    let fault: EvaluationFault | null = null;
    for (const element of elements(frame)) {
      charge(frame, cost);
      frame.locals[slot] = element;
      const turn = attempt(body, frame);
      if (turn === by) return by;
      if (typeof turn !== 'boolean') fault ??= turn;
    }
    if (fault !== null) throw fault;
    return !by;
  };
}

function selected<Facts>(
  frame: Frame<Facts>,
  elements: Elements<Facts>,
  slot: number,
  body: Run<Facts>,
  cost: number,
): Value[] {
  const result: Value[] = [];
  for (const element of elements(frame)) {
    charge(frame, cost);
    frame.locals[slot] = element;
    if (body(frame) === true) result.push(element);
  }
  return result;
}

function mapping<Facts>(
  elements: Elements<Facts>,
  slot: number,
  body: Run<Facts>,
  transform: Run<Facts>,
  cost: number,
): Run<Facts> {
  return (frame) => {
    const result: Value[] = [];
    for (const element of elements(frame)) {
      charge(frame, cost);
      frame.locals[slot] = element;
      if (body(frame) === true) result.push(transform(frame));
    }
    return result;
  };
}
