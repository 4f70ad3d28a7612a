/**
 * Regular expressions in RE2's syntax, as CEL demands, on an automaton: the time of a match grows with pattern × text, never
 * exponentially. JavaScript's own engine backtracks and is never used on a pattern that somebody else wrote.
 */
import { RE2JS } from '@bufbuild/re2';

/** Longest pattern, UTF-16 units, and the largest automaton, instructions (`x{100}` unfolds). */
export const patternMax = 256;
export const instructionsMax = 250;
/** Cached states of one pattern (about 1 KiB each); beyond them the library simulates, which is slower and still linear. */
export const statesMax = 1_000;
/** Longest text that is matched; the values of labels have 512 at most. */
export const subjectMax = 1024;

export type Pattern =
  | {
      readonly kind: 'pattern';
      readonly subjectMax: number;
      readonly test: (text: string) => boolean;
      /** The work of a match on a text of this length, in evaluation steps. */
      readonly steps: (length: number) => number;
    }
  | { readonly kind: 'refused'; readonly reason: string };

export function compilePattern(source: string): Pattern {
  if (source.length > patternMax) return { kind: 'refused', reason: `A pattern has at most ${patternMax} characters` };
  // Each counted repetition multiplies; the automaton would be built before its size could be looked at.
  const unfolded = [...source.matchAll(/\{(\d+)(?:,(\d*))?\}/g)].reduce(
    (size, [, least = '', most = '']) => size * Math.max(1, Number(least), Number(most)),
    1,
  );
  if (unfolded > instructionsMax) {
    return { kind: 'refused', reason: `The repetitions of this pattern unfold to more than ${instructionsMax} parts` };
  }
  let expression: RE2JS;
  try {
    expression = new RE2JS(source);
  } catch (error) {
    return {
      kind: 'refused',
      reason: `This pattern is not in RE2's syntax: ${error instanceof Error ? error.message : String(error)}`,
    };
  }
  const automaton = expression.re2();
  automaton.dfa.stateLimit = statesMax;
  const instructions = automaton.prog.numInst();
  if (instructions > instructionsMax) {
    return {
      kind: 'refused',
      reason: `This pattern needs ${instructions} states; at most ${instructionsMax} are allowed`,
    };
  }
  return {
    kind: 'pattern',
    subjectMax,
    test: (text) => expression.test(text),
    steps: (length) => 1 + ((length * instructions) >> 2),
  };
}
