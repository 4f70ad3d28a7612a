/** Colours, by what they mean. Whether there are any is decided once, for the stream that is written to. */

export type Tone = 'good' | 'bad' | 'warn' | 'ask' | 'dim' | 'strong' | 'accent';
export type Paint = (tone: Tone, text: string) => string;

const codes: Readonly<Record<Tone, readonly [number, number]>> = {
  good: [32, 39],
  bad: [31, 39],
  warn: [33, 39],
  ask: [35, 39],
  dim: [2, 22],
  strong: [1, 22],
  accent: [36, 39],
};

export const plain: Paint = (_tone, text) => text;

export const coloured: Paint = (tone, text) => {
  const [on, off] = codes[tone];
  return text === '' ? '' : `\u001B[${on}m${text}\u001B[${off}m`;
};

/** https://no-color.org: NO_COLOR with any value but '' switches colours off; FORCE_COLOR on, also where no terminal is. */
export function choosePaint(
  stream: { readonly isTTY?: boolean | undefined },
  environment: Readonly<Record<string, string | undefined>>,
): Paint {
  if (environment['NO_COLOR'] !== undefined && environment['NO_COLOR'] !== '') return plain;
  if (environment['FORCE_COLOR'] !== undefined && environment['FORCE_COLOR'] !== '0') return coloured;
  if (environment['TERM'] === 'dumb') return plain;
  return stream.isTTY === true ? coloured : plain;
}

// oxlint-disable-next-line no-control-regex -- the escape character is what is looked for
const escapes = /\u001B\[[0-9;]*m/g;

export const withoutColours = (text: string): string => text.replaceAll(escapes, '');

/** Columns that the text takes on a terminal. Enough for what we print: no wide or combining characters are in names. */
export const visibleWidth = (text: string): number => [...withoutColours(text)].length;

// oxlint-disable-next-line no-control-regex -- control characters are what is looked for
const controls = /[\u0000-\u0008\u000B-\u001F\u007F-\u009F\u200E\u200F\u202A-\u202E\u2066-\u2069]/g;

/**
 * Text that came from elsewhere (container names, labels, errors of others) must not steer the terminal: control characters and
 * changes of writing direction are shown as their code.
 */
export const harmless = (text: string): string =>
  text.replaceAll(controls, (character) => `\\u${character.codePointAt(0)!.toString(16).padStart(4, '0')}`);

// oxlint-disable-next-line no-control-regex -- the escape character is what is looked for
const ownColours = /(\u001B\[(?:1|2|22|31|32|33|35|36|39)m)/;

/** A line with our own colours in it, and everything else that could steer the terminal made harmless. */
export const steady = (line: string): string =>
  line
    .split(ownColours)
    .map((part, index) => (index % 2 === 1 ? part : harmless(part)))
    .join('');
