import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { checkCondition, compileCondition } from './condition.ts';
import type { ConditionFacts, PartyFacts } from './facts.ts';
import { depthMax, textMax } from './syntax.ts';
import { zoneClock } from './zone.ts';

const party: PartyFacts = {
  kind: 'workload',
  workload: 'h1/docker/1',
  name: 'web-1',
  labels: { team: 'desk', env: 'prod', 'app.kubernetes.io/name': 'web' },
  segments: ['web', 'trading-desk'],
  class: 'microvm',
  boundary: 'hardware',
  image: 'registry/web:1',
  imageDigest: 'sha256:0a',
  host: 'h1',
  generation: 3,
  address: '10.0.0.7',
};
const clock = zoneClock('UTC')!;
const facts: ConditionFacts = {
  time: clock(Date.UTC(2026, 10, 20, 9, 5)),
  source: party,
  destination: { ...party, workload: 'h1/docker/2', name: 'db', class: 'shared', labels: {} },
  flow: { protocol: 'tcp', port: 5432, ratePerMinute: 3.5 },
  rule: { tier: 'application', policy: 'orders', name: 'desk-to-orders' },
};

function outcome(text: string, of: ConditionFacts = facts): string {
  const condition = compileCondition(text);
  assert.equal(condition.kind, 'condition', `${text}: ${JSON.stringify(condition)}`);
  return condition.kind === 'condition' ? condition.evaluate(of).kind : '';
}

function problem(text: string): { reason: string; column: number; suggestion?: string; available?: readonly string[] } {
  const check = checkCondition(text);
  assert.equal(check.kind, 'refused', `${text} was accepted`);
  return (check.kind === 'refused' ? check.problems[0] : undefined) ?? assert.fail('no problem');
}

test('the condition of the example holds', () => {
  const text =
    'time.hour >= 8 && time.hour < 18 && source.class == "microvm" && source.boundary == "hardware" && flow.ratePerMinute < 30';
  assert.equal(outcome(text), 'holds');
  assert.equal(outcome(text, { ...facts, time: clock(Date.UTC(2026, 10, 20, 18, 0)) }), 'fails');
  assert.equal(outcome(text, { ...facts, source: { ...party, boundary: 'none' } }), 'fails');
});

test('labels, segments and time are read', () => {
  for (const text of [
    'source.labels.team == "desk"',
    'source.labels["app.kubernetes.io/name"].startsWith("we")',
    'has(source.labels.team) && !has(destination.labels.team)',
    '"trading-desk" in source.segments',
    'source.segments.exists(s, s.matches("^trading-"))',
    'time.weekday == "friday" && time.date == "2026-11-20" && time.clock < "09:06"',
    'flow.protocol in ["tcp", "udp"] && flow.port in [5432, 5433]',
    'rule.name == "desk-to-orders" && source.generation > 1',
    'source.labels.nothing == "x" || true',
  ]) {
    assert.equal(outcome(text), 'holds', text);
  }
});

test('a missing key is a fault, not an answer; a side that settles the answer absorbs it', () => {
  assert.equal(outcome('destination.labels.team == "desk"'), 'fault');
  assert.equal(outcome('destination.labels.team == "desk" && false'), 'fails');
  assert.equal(outcome('destination.labels.__proto__ == "x"'), 'fault');
  assert.equal(outcome('"constructor" in destination.labels'), 'fails');
  assert.equal(outcome('100 / (source.generation - 3) > 1'), 'fault');
});

test('what does not exist is refused with its place, what exists there, and the nearest name', () => {
  const misspelt = problem('time.hour > 8 && source.lables.team == "x"');
  assert.equal(misspelt.column, 25);
  assert.equal(misspelt.suggestion, 'labels');
  assert.ok(misspelt.available?.includes('segments'));
  assert.equal(problem('sorce.name == "x"').suggestion, 'source');
  assert.equal(problem('source.name.startWith("x")').suggestion, 'startsWith');
  assert.equal(problem('soize(source.name) == 1').suggestion, 'size');
  assert.match(problem('source == destination').reason, /group of names/);
  assert.deepEqual(problem('source.boundary == "hardwear"').available, ['hardware', 'emulated', 'none']);
  assert.deepEqual(problem('time.weekday in ["sunday", "caturday"]').available?.length, 7);
});

test('a wrong type is refused', () => {
  for (const text of [
    'time.hour',
    '"yes"',
    'time.hour == "8"',
    'source.name + 1 == "x"',
    'flow.ratePerMinute == 3',
    'source.segments',
    '!time.hour',
    'time.hour && true',
    'source.name.contains(1)',
    'source.name.matches(source.class)',
    'source.name.matches("(")',
    '[1, "a"] == []',
    'source.segments.exists(time, true)',
    'has(source.name)',
    'null == null',
    '1u == 1u',
    'b"a" == b"a"',
    'dyn(1) == 1',
    '',
    'source.segments.map(s, s)',
    'time.hour > 8 ? true : 1',
    'a{b: 1}',
    '{"a": 1, "a": 2}["a"] == 1',
    'source.name.matches("a{999}b{999}")',
  ]) {
    problem(text);
  }
});

test('all faults of a text are reported', () => {
  const check = checkCondition('sorce.name == "a" && time.our > 1');
  assert.equal(check.kind === 'refused' && check.problems.length, 2);
});

function dependencies(text: string): string[] {
  const check = checkCondition(text);
  return check.kind === 'valid' ? [...check.dependencies].sort() : assert.fail(text);
}

test('what a condition depends on is noted', () => {
  assert.deepEqual(dependencies('"web" in source.segments && flow.port == 1'), []);
  assert.deepEqual(dependencies('source.name == "a" && time.hour > 1 && flow.ratePerMinute < 1'), [
    'rate',
    'time',
    'workload',
  ]);
});

test('any text is refused or accepted, never a crash, and quickly', () => {
  const piece = fc.constantFrom('(', ')', '[', ']', '!', '-', 'a.', 'time.hour', '?', ':', '&&', '||', '"', "'", '1', '.exists(x,', ',', '\\', '{', 'in', '=='); // prettier-ignore
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string({ unit: 'binary' }),
        fc.array(piece, { maxLength: 60 }).map((parts) => parts.join(' ')),
      ),
      (text) => {
        assert.ok(['valid', 'refused'].includes(checkCondition(text).kind));
      },
    ),
    { numRuns: 3_000 },
  );
  for (const piece of ['(', '[', '!', '-', '!(', 'a?', 'a.b(', '{"a":', '[1].map(x,', '1+', 'true?true:', '-1*']) {
    const started = performance.now();
    checkCondition(piece.repeat(Math.floor(textMax / piece.length)));
    assert.ok(performance.now() - started < 500, piece);
  }
  assert.equal(checkCondition(`${'('.repeat(depthMax - 1)}true${')'.repeat(depthMax - 1)}`).kind, 'valid');
  assert.equal(checkCondition(`${'('.repeat(depthMax)}true${')'.repeat(depthMax)}`).kind, 'refused');
});

test('the work of one evaluation is bounded, and running out of it is absorbed by nothing', () => {
  const many = {
    ...facts,
    source: { ...party, segments: Array.from({ length: 400 }, (_, place) => `segment-${place}`) },
  };
  const nested = 'source.segments.all(a, source.segments.all(b, source.segments.all(c, a + b + c != "x")))';
  for (const text of [
    nested,
    `${nested} || true`,
    `source.segments.exists(z, ${nested.replaceAll('a,', 'd,').replaceAll('a ', 'd ')})`,
  ]) {
    const started = performance.now();
    assert.equal(outcome(text, many), 'fault', text);
    assert.ok(performance.now() - started < 500, text);
  }
});

test('no pattern takes long: automata, not backtracking', () => {
  const subject = { ...facts, source: { ...party, name: `${'a'.repeat(1000)}!`, class: 'ab'.repeat(500) } };
  for (const pattern of [
    '^(a+)+$',
    '^(a|aa)+$',
    '(a*)*[bc]',
    '^(([a-z])+.)+[A-Z]([a-z])+$',
    '(a|b)*a(a|b){14}[cd]',
    '(?:a?){60}[bc]',
  ]) {
    const condition = compileCondition(`source.name.matches("${pattern}") || source.class.matches("${pattern}")`);
    assert.ok(condition.kind === 'condition', pattern);
    const started = performance.now();
    condition.evaluate(subject);
    assert.ok(performance.now() - started < 500, `${pattern} took ${performance.now() - started} ms`);
  }
});

test('time is that of the zone, over changes of its clocks', () => {
  const vienna = zoneClock('Europe/Vienna')!;
  assert.deepEqual(
    [vienna(Date.UTC(2026, 2, 29, 0, 59)).clock, vienna(Date.UTC(2026, 2, 29, 1, 0)).clock],
    ['01:59', '03:00'],
  );
  assert.deepEqual(
    [vienna(Date.UTC(2026, 9, 25, 0, 59)).clock, vienna(Date.UTC(2026, 9, 25, 1, 0)).clock],
    ['02:59', '02:00'],
  );
  assert.equal(vienna(Date.UTC(2026, 11, 31, 23, 30)).date, '2027-01-01');
  assert.equal(zoneClock('Nowhere/City'), null);
  fc.assert(
    fc.property(fc.integer({ min: Date.UTC(1980, 0, 1), max: Date.UTC(2080, 0, 1) }), (at) => {
      const now = clock(at);
      const date = new Date(at);
      const day = ['sunday', 'monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday'][date.getUTCDay()];
      assert.deepEqual([`${now.date}T${now.clock}`, now.weekday], [date.toISOString().slice(0, 16), day]);
      assert.deepEqual(
        [now.year, now.month, now.day],
        [date.getUTCFullYear(), date.getUTCMonth() + 1, date.getUTCDate()],
      );
      assert.deepEqual([now.hour, now.minute], [date.getUTCHours(), date.getUTCMinutes()]);
    }),
  );
});

test('a typical condition takes less than 5 microseconds', (context) => {
  const condition = compileCondition(
    'time.hour >= 8 && time.hour < 18 && source.class == "microvm" && source.boundary == "hardware" && flow.ratePerMinute < 30 && source.labels.team == "desk"',
  );
  assert.ok(condition.kind === 'condition');
  for (let count = 0; count < 100_000; count += 1) condition.evaluate(facts);
  const started = performance.now();
  const rounds = 500_000;
  for (let count = 0; count < rounds; count += 1) condition.evaluate(facts);
  const perSecond = Math.round((rounds / (performance.now() - started)) * 1_000);
  context.diagnostic(`${perSecond} evaluations/s`);
  assert.ok(perSecond > 200_000, `${perSecond}`);
});

test('what one evaluation reads is bounded, however much stands in a loop', () => {
  const labels = Object.fromEntries(Array.from({ length: 128 }, (_, index) => [`key-${index}`, 'v']));
  const bodies = {
    lookUps: Array.from({ length: 110 }, (_, index) => `source.labels[a] != "z${index}"`).join(' && '),
    sizes: Array.from({ length: 110 }, (_, index) => `size(source.labels) != ${1000 + index}`).join(' && '),
    loops: Array.from({ length: 60 }, () => 'source.labels.exists(x, true)').join(' && '),
  };
  for (const [name, body] of Object.entries(bodies)) {
    let reads = 0;
    const counted = new Proxy(labels, {
      get: (target, key) => ((reads += 1), Reflect.get(target, key)),
      ownKeys: (target) => ((reads += 128), Reflect.ownKeys(target)),
    });
    const text = `source.labels.all(a, source.labels.all(b, source.labels.all(c, ${body})))`;
    assert.equal(outcome(text, { ...facts, source: { ...party, labels: counted } }), 'fault', name);
    assert.ok(reads < 1_000_000, `${name}: ${reads} reads`);
  }
});
