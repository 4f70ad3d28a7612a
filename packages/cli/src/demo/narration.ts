/** How the demo reads in a terminal: one block a step, a line a fact, and at the end what came out as declared. */
import type { Paint, Tone } from '../output/paint.ts';
import { duration } from '../output/units.ts';

/** One fact of a step, in the order in which it happened. */
export type Fact =
  | { readonly kind: 'tried'; readonly text: string }
  | { readonly kind: 'returned'; readonly text: string; readonly tone: Tone }
  | { readonly kind: 'wire'; readonly text: string; readonly tone: Tone }
  | { readonly kind: 'why'; readonly text: string }
  | { readonly kind: 'note'; readonly text: string }
  /** What the step declared, and whether it came out so. */
  | { readonly kind: 'expected'; readonly text: string; readonly met: boolean; readonly actual: string };

export interface StepResult {
  readonly number: number;
  readonly title: string;
  readonly story: string;
  readonly facts: readonly Fact[];
  readonly tookMs: number;
}

export const stepMet = (result: StepResult): boolean => {
  const declared = result.facts.filter((fact) => fact.kind === 'expected');
  return declared.length > 0 && declared.every((fact) => fact.met);
};

const names: Readonly<Record<Fact['kind'], string>> = {
  tried: 'tried',
  returned: 'came back',
  wire: 'the wire',
  why: 'why',
  note: '',
  expected: 'declared',
};
const nameWidth = 10;
const widthMax = 100;

/** Breaks at spaces; a word that is longer than the line stays whole. */
export function wrap(text: string, width: number): readonly string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && [...line].length + 1 + [...word].length > width) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line];
}

export function stepHeading(
  number: number,
  title: string,
  story: string,
  paint: Paint,
  columns = 80,
): readonly string[] {
  const width = Math.min(columns, widthMax);
  const head = `── ${number}  ${title} `;
  return [
    '',
    paint('strong', head) + paint('dim', '─'.repeat(Math.max(3, width - [...head].length))),
    ...wrap(story, width - 2).map((line) => `  ${paint('dim', line)}`),
  ];
}

export function factLines(fact: Fact, paint: Paint, columns = 80): readonly string[] {
  const width = Math.min(columns, widthMax) - nameWidth - 4;
  const name = paint('dim', names[fact.kind].padEnd(nameWidth));
  const [first = '', ...rest] = wrap(textOf(fact), width);
  const tone = toneOf(fact);
  const put = (line: string): string => (tone === undefined ? line : paint(tone, line));
  return [`  ${name}  ${put(first)}`, ...rest.map((line) => `  ${' '.repeat(nameWidth)}  ${put(line)}`)];
}

function textOf(fact: Fact): string {
  if (fact.kind !== 'expected') return fact.text;
  return fact.met ? `✓ ${fact.text}` : `✗ ${fact.text}; it was: ${fact.actual}`;
}

function toneOf(fact: Fact): Tone | undefined {
  switch (fact.kind) {
    case 'returned':
    case 'wire':
      return fact.tone;
    case 'expected':
      return fact.met ? 'good' : 'bad';
    case 'why':
      return 'accent';
    case 'tried':
    case 'note':
      return undefined;
    default:
      return fact satisfies never;
  }
}

export function summaryLines(results: readonly StepResult[], paint: Paint): readonly string[] {
  const met = results.filter(stepMet).length;
  const width = Math.max(0, ...results.map((result) => result.title.length));
  const all = met === results.length;
  return [
    '',
    ...results.map((result) => {
      const ok = stepMet(result);
      const mark = paint(ok ? 'good' : 'bad', ok ? '✓' : '✗');
      return `  ${mark} ${String(result.number).padStart(2)}  ${result.title.padEnd(width)}  ${paint('dim', duration(result.tookMs))}`;
    }),
    '',
    paint(all ? 'good' : 'bad', `  ${met} of ${results.length} steps came out as declared`),
  ];
}
