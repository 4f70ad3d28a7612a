/**
 * A checked part of a condition: its type and the closure that computes it. Closures never see a value of another type than the
 * checker promised them, and the work of one evaluation is bounded by `stepsMax`.
 */
import type { Value, ValueType } from './types.ts';

/** Work of one evaluation: one step is a turn of a loop, or about 16 characters or elements looked at: milliseconds in all. */
export const stepsMax = 50_000;
/** Longest string and longest list that a condition may build. */
export const stringMax = 4_096;
export const elementsMax = 4_096;

/** One evaluation in progress. */
export interface Frame<Facts> {
  facts: Facts;
  steps: number;
  /** Variables of the loops around, by depth. */
  readonly locals: Value[];
}

export type Run<Facts> = (frame: Frame<Facts>) => Value;

export interface Term<Facts> {
  readonly at: number;
  readonly type: ValueType;
  readonly run: Run<Facts>;
  /** Whether an evaluation may end in a fault here. What cannot fail needs no guard around it. */
  readonly fails: boolean;
  /** The value, if it is written in the text. */
  readonly constant?: Value;
}

/** An evaluation that has no answer: a missing key, a division by zero. Made once per place in the text, when it is compiled. */
export class EvaluationFault extends Error {
  readonly at: number;
  constructor(at: number, reason: string) {
    super(reason);
    this.at = at;
  }
}

/** Ends an evaluation whatever stands around it: unlike other faults, `false && …` does not absorb it. */
export class StepsFault extends EvaluationFault {}

export const stepsFault = new StepsFault(0, 'The condition takes too many steps for these facts.');

export function charge<Facts>(frame: Frame<Facts>, steps: number): void {
  frame.steps += steps;
  if (frame.steps > stepsMax) throw stepsFault;
}

/** For operators that absorb faults: passes on what must not be absorbed. */
export function absorbable(error: unknown): EvaluationFault {
  if (error instanceof EvaluationFault && !(error instanceof StepsFault)) return error;
  throw error;
}
