/**
 * CEL's official conformance tests. Conditions are a part of CEL, so a test may be refused; what is not refused must come out as
 * the test says. A fault where the test has a value counts as refused at evaluation: it can never be taken for an answer.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  getCheckingSuite,
  getComprehensionSuite,
  getConformanceSuite,
  getParsingSuite,
} from '@bufbuild/cel-spec/testdata/tests.js';
import type { IncrementalTest, IncrementalTestSuite } from '@bufbuild/cel-spec/testdata/tests.js';
import type { Environment, Variable } from './environment.ts';
import { compileExpression } from './expression.ts';
import { parseCondition } from './parse.ts';
import { EvaluationFault } from './term.ts';
import { bool, double, int, listOf, mapOf, string, typeName } from './types.ts';
import type { Value, ValueType } from './types.ts';

type Facts = Readonly<Record<string, Value>>;
type Outcome = 'passed' | 'refused' | 'refused at evaluation' | 'wrong';
type CelType = NonNullable<
  Extract<IncrementalTest['original']['typeEnv'][number]['declKind'], { case: 'ident' }>['value']['type']
>;
type CelValue = Extract<IncrementalTest['original']['resultMatcher'], { case: 'value' }>['value'];

function allTests(suite: IncrementalTestSuite): IncrementalTest[] {
  return [...suite.tests, ...suite.suites.flatMap(allTests)];
}

function typeOf(type: CelType | undefined): ValueType | null {
  const kind = type?.typeKind;
  if (kind?.case === 'primitive') return { 1: bool, 2: int, 4: double, 5: string }[kind.value as number] ?? null;
  if (kind?.case === 'listType') {
    const element = typeOf(kind.value.elemType);
    return element === null ? null : listOf(element);
  }
  if (kind?.case === 'mapType') {
    const [key, value] = [typeOf(kind.value.keyType), typeOf(kind.value.valueType)];
    return key?.kind !== 'string' || value === null ? null : mapOf(value);
  }
  return null;
}

/** Undefined: the value has no form in conditions. */
function valueOf(value: CelValue | undefined): Value | undefined {
  switch (value?.kind.case) {
    case 'boolValue':
    case 'stringValue':
    case 'doubleValue':
      return value.kind.value;
    case 'int64Value':
      return Number.isSafeInteger(Number(value.kind.value)) ? Number(value.kind.value) : undefined;
    case 'listValue': {
      const elements = value.kind.value.values.map(valueOf);
      return elements.includes(undefined) ? undefined : (elements as Value[]);
    }
    case 'mapValue': {
      const entries = value.kind.value.entries.map((entry) => [valueOf(entry.key), valueOf(entry.value)] as const);
      if (entries.some(([key, entry]) => typeof key !== 'string' || entry === undefined)) return undefined;
      return Object.fromEntries(entries as [string, Value][]);
    }
    default:
      return undefined;
  }
}

function environmentOf(
  original: IncrementalTest['original'],
): { environment: Environment<Facts>; facts: Facts } | null {
  const environment = new Map<string, Variable<Facts>>();
  const facts: Record<string, Value> = {};
  for (const { name, declKind } of original.typeEnv) {
    const type = declKind.case === 'ident' ? typeOf(declKind.value.type) : null;
    if (type === null) return null;
    const bound = original.bindings[name]?.kind;
    const value = bound?.case === 'value' ? valueOf(bound.value) : undefined;
    if (value !== undefined) facts[name] = value;
    environment.set(name, { type, dependsOn: null, read: (all) => all[name] ?? assert.fail(`${name} is not bound`) });
  }
  return { environment, facts };
}

function normal(value: Value): unknown {
  if (typeof value !== 'object') return value;
  if (Array.isArray(value)) return value.map(normal);
  return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, normal(entry)]));
}

function outcomeOf({ original }: IncrementalTest): Outcome {
  const world = environmentOf(original);
  if (world === null || original.disableMacros || original.container !== '') return 'refused';
  const expression = compileExpression(original.expr, world.environment);
  const expected = original.resultMatcher;
  const wantsFault = expected.case === 'evalError' || expected.case === 'anyEvalErrors';
  if (expression.kind === 'refused') return 'refused';
  if (original.checkOnly) return 'passed';
  const actual = expression.evaluate(world.facts);
  if (actual instanceof EvaluationFault) return wantsFault ? 'passed' : 'refused at evaluation';
  if (wantsFault) return 'wrong';
  const wanted =
    expected.case === 'value' ? expected.value : expected.case === 'typedResult' ? expected.value.result : undefined;
  const value = expected.case === undefined ? true : valueOf(wanted);
  if (value === undefined) return 'wrong';
  try {
    assert.deepStrictEqual(normal(actual), normal(value));
    return 'passed';
  } catch {
    return 'wrong';
  }
}

function tally(
  tests: readonly IncrementalTest[],
  judge: (one: IncrementalTest) => Outcome,
): Record<Outcome, number> & { wrongOnes: string[] } {
  const counts = { passed: 0, refused: 0, 'refused at evaluation': 0, wrong: 0, wrongOnes: [] as string[] };
  for (const one of tests) {
    const outcome = judge(one);
    counts[outcome] += 1;
    if (outcome === 'wrong') counts.wrongOnes.push(one.original.expr);
  }
  return counts;
}

function report(name: string, counts: ReturnType<typeof tally>, total: number): string {
  const ran = counts.passed + counts.wrong;
  return `${name}: ${total} tests, ${ran} within the language, ${counts.passed} passed, ${counts.wrong} wrong, ${counts.refused} refused when checked, ${counts['refused at evaluation']} at evaluation`;
}

test('the official conformance tests: no wrong answer', (context) => {
  const tests = allTests(getConformanceSuite());
  const counts = tally(tests, outcomeOf);
  context.diagnostic(report('conformance', counts, tests.length));
  assert.deepEqual(counts.wrongOnes, []);
  assert.ok(counts.passed >= 400, `${counts.passed} passed`);
});

test('the official checker tests: what is accepted has the type that cel-go gives it', (context) => {
  for (const [name, suite] of [
    ['checker', getCheckingSuite()],
    ['comprehensions', getComprehensionSuite()],
  ] as const) {
    const tests = allTests(suite);
    const counts = tally(tests, ({ original, type, error }) => {
      const expression = compileExpression(original.expr, new Map());
      if (expression.kind === 'refused') return error === undefined ? 'refused' : 'passed';
      // cel-go calls the contents of an empty list or map dyn; our maps have string keys only.
      const ours = typeName(expression.type).replaceAll('nothing', 'dyn').replace('map(string, dyn)', 'map(dyn, dyn)');
      return error === undefined && type === ours ? 'passed' : 'wrong';
    });
    context.diagnostic(report(name, counts, tests.length));
    assert.deepEqual(counts.wrongOnes, []);
  }
});

test('the official parser tests: what cel-go refuses is refused', (context) => {
  const tests = allTests(getParsingSuite());
  const counts = tally(tests, ({ original, ast, error }) => {
    try {
      parseCondition(original.expr);
    } catch {
      return ast === undefined ? 'passed' : 'refused';
    }
    // cel-go bounds its recursion elsewhere than we do, and keeps a name for the accumulator that our loops do not have.
    return ast !== undefined || /recursion|depth|accumulator/i.test(error ?? '') ? 'passed' : 'wrong';
  });
  context.diagnostic(report('parser', counts, tests.length));
  assert.deepEqual(counts.wrongOnes, []);
});
