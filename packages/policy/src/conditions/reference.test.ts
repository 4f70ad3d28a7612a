/** Generated conditions: our answer is the answer of @bufbuild/cel, an independent implementation; a fault stays a fault. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCelError, isCelList, isCelMap, run } from '@bufbuild/cel';
import fc from 'fast-check';
import type { Environment, Variable } from './environment.ts';
import { compileExpression } from './expression.ts';
import { EvaluationFault } from './term.ts';
import { bool, double, int, listOf, mapOf, string } from './types.ts';
import type { Value, ValueType } from './types.ts';

interface World {
  readonly i: number;
  readonly j: number;
  readonly d: number;
  readonly s: string;
  readonly t: string;
  readonly b: boolean;
  readonly ni: readonly number[];
  readonly ns: readonly string[];
  readonly m: Readonly<Record<string, string>>;
}

const types: Record<keyof World, ValueType> = {
  i: int,
  j: int,
  d: double,
  s: string,
  t: string,
  b: bool,
  ni: listOf(int),
  ns: listOf(string),
  m: mapOf(string),
};
const environment: Environment<World> = new Map(
  (Object.keys(types) as (keyof World)[]).map((name): [string, Variable<World>] => [
    name,
    { type: types[name], dependsOn: null, read: (world) => world[name] as Value },
  ]),
);

// No characters beyond the BMP: the reference orders "" behind "😀". Those are tested against UTF-8 below.
const word = fc.constantFrom('', 'a', 'ab', 'prod', 'ü', 'z\uE000', 'a/b', '8', '-3', '1.5');
const small = fc.integer({ min: -9, max: 9 });
const world: fc.Arbitrary<World> = fc.record({
  i: fc.oneof(small, fc.maxSafeInteger()),
  j: small,
  d: fc.oneof(fc.double({ noNaN: false }), small),
  s: word,
  t: word,
  b: fc.boolean(),
  ni: fc.array(small, { maxLength: 4 }),
  ns: fc.array(word, { maxLength: 4 }),
  m: fc.dictionary(fc.constantFrom('a', 'b', 'team', '__proto__', 'constructor'), word, { noNullPrototype: true }),
});

const literal = (text: string): string => JSON.stringify(text);
const call = (parts: readonly string[], ...values: fc.Arbitrary<string>[]): fc.Arbitrary<string> =>
  fc.tuple(...values).map((texts) => parts.reduce((text, part, place) => text + part + (texts[place] ?? ''), ''));

/** Texts by type. Variables of loops are x (string) and n (int); outside of their loop they are refused, and that is fine. */
const texts = fc.letrec<Record<'bool' | 'int' | 'double' | 'string' | 'ints' | 'strings', string>>((tie) => {
  const [B, I, D, S, NI, NS] = [tie('bool'), tie('int'), tie('double'), tie('string'), tie('ints'), tie('strings')];
  const depth = { maxDepth: 4, depthSize: 'small' as const };
  const compare = fc.constantFrom('==', '!=', '<', '<=', '>', '>=').map((operator) => ` ${operator} `);
  return {
    bool: fc.oneof(
      depth,
      fc.constantFrom('b', 'true', 'false', 'has(m.a)', 'm["a"] == s', 'm.team == t', 's in m'),
      call(['(', ' && ', ')'], B, B),
      call(['(', ' || ', ')'], B, B),
      call(
        ['!', ''],
        B.map((text) => `(${text})`),
      ),
      call(['(', ' ? ', ' : ', ')'], B, B, B),
      call(['(', '', '', ')'], I, compare, I),
      call(['(', '', '', ')'], S, compare, S),
      call(['(', '', '', ')'], D, compare, D),
      call(['(', ' == ', ')'], NI, NI),
      call(['(', ' != ', ')'], NS, NS),
      call(['(', ' in ', ')'], I, NI),
      call(['(', ' in ', ')'], S, NS),
      call(['', '.startsWith(', ')'], S, S),
      call(['', '.endsWith(', ')'], S, S),
      call(['', '.contains(', ')'], S, S),
      call(['', '.exists(x, ', ')'], NS, B),
      call(['', '.all(x, ', ')'], NS, B),
      call(['', '.exists_one(n, ', ')'], NI, B),
      call(['', '.exists(n, ', ' < n)'], NI, I),
      call(['', '.all(n, 6 / n < ', ')'], NI, I),
      call(['m.exists(x, ', ')'], B),
      call(['', '.matches("^[a-z]+(b|d)?$")'], S),
    ),
    int: fc.oneof(
      depth,
      fc.constantFrom('i', 'j', 'n', 'size(s)', 'ni.size()', 'size(m)'),
      small.map(String),
      call(['(', ' + ', ')'], I, I),
      call(['(', ' - ', ')'], I, I),
      call(['(', ' * ', ')'], I, I),
      call(['(', ' / ', ')'], I, I),
      call(['(', ' % ', ')'], I, I),
      call(['-(', ')'], I),
      call(['', '[', ']'], NI, I),
      call(['(', ' ? ', ' : ', ')'], B, I, I),
      call(['int(', ')'], S),
      call(['int(', ')'], D),
    ),
    double: fc.oneof(
      depth,
      fc.constantFrom('d', '1.5', '0.0', '2e3'),
      call(['(', ' + ', ')'], D, D),
      call(['(', ' / ', ')'], D, D),
      call(['-(', ')'], D),
      call(['double(', ')'], I),
    ),
    string: fc.oneof(
      depth,
      fc.constantFrom('s', 't', 'x', 'm["b"]'),
      word.map(literal),
      call(['(', ' + ', ')'], S, S),
      call(['string(', ')'], I),
      call(['', '[', ']'], NS, I),
      call(['(', ' ? ', ' : ', ')'], B, S, S),
    ),
    ints: fc.oneof(
      depth,
      fc.constantFrom('ni', '[]'),
      call(['[', ', ', ']'], I, I),
      call(['(', ' + ', ')'], NI, NI),
      call(['', '.filter(n, ', ')'], NI, B),
      call(['', '.map(n, n * ', ')'], NI, I),
      call(['', '.map(x, size(x) > 1, ', ')'], NS, I),
    ),
    strings: fc.oneof(
      depth,
      fc.constantFrom('ns', '[]'),
      call(['[', ', ', ']'], S, S),
      call(['', '.filter(x, ', ')'], NS, B),
      call(['', '.map(x, x + ', ')'], NS, S),
    ),
  };
});

/** Their ints are bigints; a value with an int that we cannot hold exactly is outside the comparison. */
function ours(value: unknown): unknown {
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : 'inexact';
  if (isCelList(value) || Array.isArray(value)) return [...value].map(ours);
  if (isCelMap(value)) return Object.fromEntries([...value].map(([key, entry]) => [key, ours(entry)]));
  return value;
}

function bindings(all: World): Record<string, unknown> {
  return { ...all, i: BigInt(all.i), j: BigInt(all.j), ni: all.ni.map(BigInt), m: new Map(Object.entries(all.m)) };
}

test('generated conditions: the same answers as the reference evaluator', (context) => {
  const counts = { refused: 0, compared: 0, faults: 0, narrower: 0 };
  fc.assert(
    fc.property(fc.oneof(texts.bool, texts.int, texts.string, texts.ints, texts.strings), world, (text, facts) => {
      const expression = compileExpression(text, environment);
      if (expression.kind === 'refused') {
        counts.refused += 1;
        return;
      }
      const actual = expression.evaluate(facts);
      const reference = run(text, bindings(facts) as Parameters<typeof run>[1]);
      if (actual instanceof EvaluationFault) {
        // Our ints are narrower than 64 bits, and texts like 1e400 or 0x are read more strictly: a fault, never another answer.
        const narrow = /±9007199254740991|no number/.test(actual.message);
        assert.ok(
          isCelError(reference) || narrow,
          `${text}: ${actual.message}; the reference says ${String(reference)}`,
        );
        counts[isCelError(reference) ? 'faults' : 'narrower'] += 1;
        return;
      }
      assert.ok(!isCelError(reference), `${text}: ${JSON.stringify(actual)}; the reference says ${String(reference)}`);
      assert.deepStrictEqual(actual, ours(reference), text);
      counts.compared += 1;
    }),
    { numRuns: 20_000 },
  );
  context.diagnostic(JSON.stringify(counts));
  assert.ok(counts.compared > 4_000, JSON.stringify(counts));
});

test('strings are ordered and counted by code points', () => {
  const [less, size] = [compileExpression('s < t', environment), compileExpression('size(s)', environment)];
  assert.ok(less.kind === 'expression' && size.kind === 'expression');
  const strings = fc.string({ unit: fc.constantFrom('a', 'ü', '\uE000', '\uFFFD', '😀', '\u{10FFFF}') });
  fc.assert(
    fc.property(strings, strings, world, (s, t, facts) => {
      // The order of UTF-8's bytes is the order of code points.
      assert.equal(less.evaluate({ ...facts, s, t }), Buffer.compare(Buffer.from(s), Buffer.from(t)) < 0);
      assert.equal(size.evaluate({ ...facts, s, t }), [...s].length);
    }),
  );
});
