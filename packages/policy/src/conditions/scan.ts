/**
 * From text to tokens, by the lexis of CEL (https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax). Bytes, unsigned
 * and 64-bit literals that a JavaScript number cannot hold exactly are refused here.
 */
import { SyntaxFault } from './syntax.ts';
import type { Literal } from './syntax.ts';

export type Token =
  | { readonly kind: 'literal'; readonly at: number; readonly end: number; readonly literal: Literal }
  | { readonly kind: 'name'; readonly at: number; readonly end: number; readonly name: string }
  | { readonly kind: 'symbol'; readonly at: number; readonly end: number; readonly symbol: string }
  | { readonly kind: 'end'; readonly at: number; readonly end: number };

/** Words that CEL keeps for itself; none can be a name. */
const reserved = new Set(
  'as break const continue else for function if import let loop package namespace return var void while null'.split(
    ' ',
  ),
);
const symbols = ['||', '&&', '==', '!=', '<=', '>=', ...'<>+-*/%!?:.,()[]{}'];

const blank = /(?:[ \t\n\r\f]|\/\/[^\n]*(?:\n|$))+/y;
const word = /[A-Za-z_][A-Za-z0-9_]*/y;
const number = /(?:0[xX][0-9a-fA-F]+|[0-9]+)[uU]?|[0-9]/y;
const float = /(?:[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+)/y;
const quote = /([rRbB]{0,2})("""|'''|"|')/y;

export function scan(text: string): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  for (;;) {
    at += match(blank, text, at)?.length ?? 0;
    if (at >= text.length) {
      tokens.push({ kind: 'end', at: text.length, end: text.length });
      return tokens;
    }
    const token = scanString(text, at) ?? scanNumber(text, at) ?? scanWord(text, at) ?? scanSymbol(text, at);
    if (token === null) throw new SyntaxFault(at, `The character ${quoted(text, at)} has no meaning here.`);
    tokens.push(token);
    at = token.end;
  }
}

function match(pattern: RegExp, text: string, at: number): string | null {
  pattern.lastIndex = at;
  return pattern.exec(text)?.[0] ?? null;
}

function quoted(text: string, at: number): string {
  return JSON.stringify(String.fromCodePoint(text.codePointAt(at) ?? 0));
}

function scanSymbol(text: string, at: number): Token | null {
  const symbol = symbols.find((candidate) => text.startsWith(candidate, at));
  if (symbol !== undefined) return { kind: 'symbol', at, end: at + symbol.length, symbol };
  const single = { '=': '==', '&': '&&', '|': '||' }[text.charAt(at)];
  if (single !== undefined) throw new SyntaxFault(at, `Write ${single} here.`, [single]);
  return null;
}

function scanWord(text: string, at: number): Token | null {
  const found = match(word, text, at);
  if (found === null) return null;
  const end = at + found.length;
  if (found === 'true' || found === 'false') {
    return { kind: 'literal', at, end, literal: { type: 'bool', value: found === 'true' } };
  }
  if (found === 'in') return { kind: 'symbol', at, end, symbol: 'in' };
  if (reserved.has(found))
    throw new SyntaxFault(at, `"${found}" is a reserved word and cannot be used in a condition.`);
  return { kind: 'name', at, end, name: found };
}

function scanNumber(text: string, at: number): Token | null {
  const fraction = match(float, text, at);
  if (fraction !== null) {
    const value = Number(fraction);
    if (!Number.isFinite(value)) throw new SyntaxFault(at, 'This number is too large.');
    return endOfNumber(text, { kind: 'literal', at, end: at + fraction.length, literal: { type: 'double', value } });
  }
  const whole = match(number, text, at);
  if (whole === null) return null;
  if (/[uU]$/.test(whole)) {
    throw new SyntaxFault(at, `Unsigned numbers are not used in conditions; write ${whole.slice(0, -1)}.`);
  }
  const value = Number(whole);
  if (!Number.isSafeInteger(value))
    throw new SyntaxFault(at, 'Whole numbers in conditions lie within ±9007199254740991.');
  return endOfNumber(text, { kind: 'literal', at, end: at + whole.length, literal: { type: 'int', value } });
}

/** `8h` or `1.` would otherwise fall apart into two tokens and a puzzling message. */
function endOfNumber(text: string, token: Token): Token {
  if (/[A-Za-z0-9_]/.test(text.charAt(token.end))) {
    throw new SyntaxFault(token.at, 'This is neither a number nor a name.');
  }
  return token;
}

function scanString(text: string, at: number): Token | null {
  quote.lastIndex = at;
  const opening = quote.exec(text);
  if (opening === null) return null;
  const [whole, prefix = '', mark = ''] = opening;
  if (/b/i.test(prefix)) throw new SyntaxFault(at, 'Bytes are not used in conditions; write a string.');
  if (prefix.length > 1) throw new SyntaxFault(at, 'A string has at most one prefix.');
  const raw = prefix !== '';
  let value = '';
  let here = at + whole.length;
  while (!text.startsWith(mark, here)) {
    if (here >= text.length) throw new SyntaxFault(at, `This string does not end; close it with ${mark}`);
    const character = text.charAt(here);
    if (mark.length === 1 && (character === '\n' || character === '\r')) {
      throw new SyntaxFault(at, `This string does not end on its line; close it with ${mark}`);
    }
    if (character === '\\' && !raw) {
      const escaped = readEscape(text, here);
      value += escaped.value;
      here = escaped.end;
    } else {
      value += character;
      here += 1;
    }
  }
  if (!value.isWellFormed()) throw new SyntaxFault(at, 'This string is not well-formed Unicode.');
  return { kind: 'literal', at, end: here + mark.length, literal: { type: 'string', value } };
}

const plainEscapes: Readonly<Record<string, string>> = {
  a: '\u0007',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
  '\\': '\\',
  '?': '?',
  '"': '"',
  "'": "'",
  '`': '`',
};
const codeEscape = /\\(?:[xX]([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2}))/y;

function readEscape(text: string, at: number): { value: string; end: number } {
  const plain = plainEscapes[text.charAt(at + 1)];
  if (plain !== undefined) return { value: plain, end: at + 2 };
  codeEscape.lastIndex = at;
  const found = codeEscape.exec(text);
  if (found === null) {
    throw new SyntaxFault(
      at,
      `There is no escape ${text.slice(at, at + 2)}; write \\\\ for a backslash, or r'…' for a raw string.`,
    );
  }
  const [whole, byte, short, long, octal] = found;
  const code = octal === undefined ? Number.parseInt(byte ?? short ?? long ?? '', 16) : Number.parseInt(octal, 8);
  if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
    throw new SyntaxFault(at, `${whole} is no Unicode character.`);
  return { value: String.fromCodePoint(code), end: at + whole.length };
}
