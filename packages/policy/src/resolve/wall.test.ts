import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Document } from '../documents/document.ts';
import { parseDocument } from '../documents/parse.ts';
import type { Problem } from '../model.ts';
import { changePolicySet, createPolicySet, type PolicySetResult } from './policy-set.ts';
import { wallConfiguration } from './wall.ts';

function parsed(kind: string, name: string, spec: object): Document {
  const result = parseDocument({ apiVersion: 'bulkhead.dev/v1', kind, metadata: { name }, spec }, {});
  assert.ok(result.kind === 'ok', JSON.stringify(result));
  return result.document;
}

const segment = (name: string, dataset?: string): Document =>
  parsed('Segment', name, { selector: { matchLabels: { app: name } }, ...(dataset === undefined ? {} : { dataset }) });
const segments = [segment('buy-db', 'buy'), segment('sell-db', 'sell'), segment('dns')];
const options = { checkCondition: () => null, keepsWalls: true };

function problemsOf(result: PolicySetResult): readonly Problem[] {
  assert.ok(result.kind === 'refused');
  return result.problems;
}

describe('Wall documents', () => {
  const spec = { scope: 'history', classes: [['sell', 'buy']], sanitizers: [{ segment: 'dns' }] };

  test('become a configuration, the same in whatever order they came', () => {
    const documents = [
      ...segments,
      parsed('Wall', 'signals', spec),
      parsed('Wall', 'apart', { ...spec, scope: 'transaction' }),
    ];
    const [made, turned] = [createPolicySet(documents, options), createPolicySet(documents.toReversed(), options)];
    assert.ok(made.kind === 'ok' && turned.kind === 'ok');
    const configuration = wallConfiguration(made.policySet);
    assert.deepEqual(configuration, wallConfiguration(turned.policySet));
    assert.deepEqual(configuration, {
      walls: [
        {
          name: 'apart',
          scope: 'transaction',
          readings: ['never-both', 'roles-apart'],
          pairs: [['buy', 'sell']],
          sanitizers: ['dns'],
        },
        { name: 'signals', scope: 'history', readings: [], pairs: [['buy', 'sell']], sanitizers: ['dns'] },
      ],
      datasets: [
        ['buy-db', 'buy'],
        ['sell-db', 'sell'],
      ],
    });
  });

  test('are refused by whoever does not keep them', () => {
    const result = createPolicySet([...segments, parsed('Wall', 'signals', spec)], { checkCondition: () => null });
    assert.deepEqual(
      problemsOf(result).map(({ path, document }) => [path, document]),
      [['kind', 'Wall/signals']],
    );
  });

  test('name datasets and segments that are there, also when these go away', () => {
    const wrong = { scope: 'history', conflicts: [['buy', 'sel']], sanitizers: [{ segment: 'dms' }] };
    const result = createPolicySet([...segments, parsed('Wall', 'signals', wrong)], options);
    assert.deepEqual(
      problemsOf(result).map(({ path, reason }) => [path, reason]),
      [
        ['spec.conflicts[0][1]', 'there is no dataset "sel"; did you mean "sell"?'],
        ['spec.sanitizers[0].segment', 'there is no segment "dms"; did you mean "dns"?'],
      ],
    );
    const made = createPolicySet([...segments, parsed('Wall', 'signals', spec)], options);
    assert.ok(made.kind === 'ok');
    const unmarked = changePolicySet(made.policySet, { set: [segment('sell-db')] }, options);
    assert.deepEqual(
      problemsOf(unmarked).map(({ path }) => path),
      ['spec.classes[0][0]'],
    );
  });

  test('say something', () => {
    const wrong: readonly (readonly [object, string])[] = [
      [{ scope: 'history' }, 'spec'],
      [{ scope: 'history', classes: [['buy']] }, 'spec.classes[0]'],
      [{ scope: 'history', classes: [['buy', 'buy']] }, 'spec.classes[0]'],
      [{ scope: 'history', conflicts: [['a', 'b', 'c']] }, 'spec.conflicts[0]'],
      [{ scope: 'history', classes: [['a', 'b']], readings: ['never-both'] }, 'spec.readings'],
      [{ scope: 'for-ever', classes: [['a', 'b']] }, 'spec.scope'],
    ];
    for (const [spec, path] of wrong) {
      const result = parseDocument({ apiVersion: 'bulkhead.dev/v1', kind: 'Wall', metadata: { name: 'w' }, spec }, {});
      assert.ok(result.kind === 'refused');
      assert.deepEqual(
        result.problems.map((problem) => problem.path),
        [path],
      );
    }
  });

  test('of too many different lists of sanitizers are refused', () => {
    const many = Array.from({ length: 9 }, (_, index) => segment(`s${index}`));
    const walls = many.map(({ metadata: { name } }) =>
      parsed('Wall', name, { ...spec, sanitizers: [{ segment: name }] }),
    );
    const [problem] = problemsOf(createPolicySet([...segments, ...many, ...walls], options));
    assert.equal(problem!.path, 'spec.sanitizers');
  });
});
