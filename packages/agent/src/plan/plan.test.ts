import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KernelPortTable, VerdictAction } from '@bulkhead/kernel';
import fc from 'fast-check';
import {
  desiredOf,
  environment,
  identities,
  inside,
  learntPeers,
  networks,
  outside,
  ports,
  type Scene,
  scene,
  scenes,
} from '../testing/plan-scenes.ts';
import type { ContentContext } from './contents.ts';
import {
  noRefusals,
  type ActualKernel,
  type DesiredKernel,
  type Operation,
  type Refusals,
  type RulesetContent,
} from './model.ts';
import { plan } from './plan.ts';
import { applied, emptyKernel, judgements, single, withBasis } from './testing.ts';

/** Leads from scene to scene; after every operation no flow may be at a level that it has neither before nor after the plan. */
function checkScenes(steps: readonly Scene[]): void {
  const { store, context, closed, everything } = environment();
  let actual: ActualKernel = emptyKernel;
  let nextRuleset = 16;
  for (const current of steps) {
    const desired = desiredOf(store, closed, current);
    const made = plan({ desired, actual, refusals: noRefusals, nextRuleset, context, everything });
    nextRuleset = made.nextRuleset;
    const operations = [...made.phases.flat(), ...made.garbage].flatMap(single);
    assert.ok(operations.length <= 1000, 'bounded');
    const states = [actual];
    for (const operation of operations) states.push(applied(states.at(-1)!, operation));
    checkPrefixes(context, states, operations);
    checkJudgedAgain(context, states);
    actual = withBasis(states.at(-1)!, made);
    checkReached(actual, desired);
    const again = plan({ desired, actual, refusals: noRefusals, nextRuleset, context, everything });
    const once = withBasis(again.phases.flat().reduce(applied, actual), again);
    const twice = plan({ desired, actual: once, refusals: noRefusals, nextRuleset, context, everything });
    assert.deepEqual([twice.phases, twice.garbage], [[], []], 'nothing is left to do');
  }
}

function checkPrefixes(
  context: ContentContext,
  states: readonly ActualKernel[],
  operations: readonly Operation[],
): void {
  const before = judgements(context, states[0]!, inside, outside, ports);
  const after = judgements(context, states.at(-1)!, inside, outside, ports);
  for (const [index, state] of states.entries()) {
    for (const [flow, level] of judgements(context, state, inside, outside, ports)) {
      const bound = Math.max(before.get(flow) ?? 0, after.get(flow) ?? 0);
      const done = operations.slice(0, index).map((each) => each.kind);
      assert.ok(level <= bound, `${flow} at ${level} > ${bound} after ${done.join(' ')}`);
    }
  }
}

/**
 * A connection between endpoints counts as judged while both words are what they were: if they are at the end what they were at some
 * step, then what was judged at that step is what would be judged at the end.
 */
function checkJudgedAgain(context: ContentContext, states: readonly ActualKernel[]): void {
  const last = states.at(-1)!;
  const wordsOf = ({ endpoints }: ActualKernel, slots: readonly number[]): string | null => {
    const entries = slots.map((slot) => endpoints.get(slot));
    // No others have connections that are taken for judged.
    if (!entries.every((entry) => entry?.state === 'governed' || entry?.state === 'observed')) return null;
    return entries.map((entry) => `${entry!.identity} ${entry!.ruleset} ${entry!.epoch}`).join();
  };
  const after = judgements(context, last, inside, [], ports);
  for (const state of states) {
    for (const [flow, level] of judgements(context, state, inside, [], ports)) {
      const [, source, destination] = /^(\d) > 10\.1\.0\.(\d):/.exec(flow)!.map(Number);
      const slots = [source!, destination!];
      const words = wordsOf(state, slots);
      if (words === null || words !== wordsOf(last, slots)) continue;
      assert.equal(level, after.get(flow), `${flow} was judged under rows that are gone`);
    }
  }
}

test('no prefix of a plan allows what neither the old nor the new state allows, and plans converge', () => {
  fc.assert(
    fc.property(scenes, (steps) => {
      let current: Scene | undefined;
      checkScenes(
        steps.map(([drawn, parts]) => {
          current = { ...(current ?? drawn), ...Object.fromEntries(parts.map((name) => [name, drawn[name]])) };
          return current;
        }),
      );
    }),
    { numRuns: 120 },
  );
});

/** Few identities and plain rules, so that rules, identities and addresses of both ends often change together. */
const dense: fc.Arbitrary<Scene> = fc.record({
  rules: fc.array(
    fc
      .array(fc.constantFrom<VerdictAction>('allow', 'deny'), { minLength: 5, maxLength: 5 })
      .map((actions) =>
        actions.map(
          (action, index) =>
            [[0, 256, 257, 2, 2 ** 24][index]!, { ranges: [], otherwise: { action, rule: 1 } }] as const,
        ),
      ),
    { minLength: 8, maxLength: 8 },
  ),
  states: fc.array(
    fc.record({
      identity: fc.constantFrom(256, 257),
      state: fc.constantFrom<Scene['states'][number]['state']>('governed'),
    }),
    { minLength: 3, maxLength: 3 },
  ),
  remote: fc.constantFrom([], [['10.9.0.1', 256] as const], [['10.9.0.1', 257] as const]),
  cidrs: fc.constantFrom([], [['10.8.1.0/24', 2 ** 24] as const]),
  learnt: fc.constantFrom(
    [],
    [{ slot: 1, address: '10.8.1.200', peer: learntPeers[0]!, lapsed: false }],
    [{ slot: 1, address: '10.8.1.200', peer: learntPeers[1]!, lapsed: false }],
  ),
});

test('the same where rules and identities of both ends change together', () => {
  fc.assert(
    fc.property(fc.tuple(dense, dense, dense), (steps) => checkScenes(steps)),
    { numRuns: 250 },
  );
});

/** What everybody else gets stays, so that rows can change in place. */
const amended: fc.Arbitrary<Scene> = fc
  .tuple(dense, fc.array(fc.constantFrom<VerdictAction>('allow', 'ask', 'deny'), { minLength: 24, maxLength: 24 }))
  .map(([drawn, actions]) => ({
    ...drawn,
    rules: drawn.rules.map((_, index) => [
      [0, { ranges: [], otherwise: { action: index % 2 === 0 ? 'deny' : 'allow', rule: 1 } }] as const,
      ...[256, 257, 2 ** 24].flatMap((peer, place): (readonly [number, KernelPortTable])[] => {
        const action = actions[index * 3 + place]!;
        return action === 'ask' ? [] : [[peer, { ranges: [], otherwise: { action, rule: 1 } }]];
      }),
    ]),
  }));

test('the same where rows change in place, beside identities and addresses that move', () => {
  fc.assert(
    fc.property(fc.tuple(amended, amended, amended), (steps) => checkScenes(steps)),
    { numRuns: 120 },
  );
});

test('rulesets whose rows of single peers change keep their numbers', () => {
  fc.assert(
    fc.property(amended, amended, (first, second) => {
      const { store, context, closed, everything } = environment();
      const input = { refusals: noRefusals, context, everything };
      const desired = desiredOf(store, closed, first);
      const begun = plan({ ...input, desired, actual: emptyKernel, nextRuleset: 16 });
      const actual = withBasis(begun.phases.flat().reduce(applied, emptyKernel), begun);
      const changed = desiredOf(store, closed, { ...first, rules: second.rules });
      const made = plan({ ...input, desired: changed, actual, nextRuleset: begun.nextRuleset });
      assert.equal(made.nextRuleset, begun.nextRuleset);
      const kinds = made.phases.flat().map(({ kind }) => kind);
      assert.ok(
        kinds.every((kind) => ['set-rows', 'remove-rows', 'judge-endpoints'].includes(kind)),
        kinds.join(),
      );
    }),
    { numRuns: 200 },
  );
});

test('what is refused never allows more than what was wanted', () => {
  const refused = fc.record({
    slots: fc.uniqueArray(fc.integer({ min: 1, max: 4 }), { maxLength: 1 }),
    peers: fc.uniqueArray(fc.constantFrom(...identities, 2 ** 24), { maxLength: 1 }),
    addresses: fc.uniqueArray(fc.constantFrom('10.9.0.1', '10.8.1.2', inside[0]!), { maxLength: 1 }),
    cidrs: fc.uniqueArray(fc.constantFrom(...networks), { maxLength: 2 }),
    learnt: fc.uniqueArray(fc.integer({ min: 0, max: 3 }), { maxLength: 2 }),
    content: fc.option(fc.integer({ min: 0, max: 3 })),
  });
  fc.assert(
    fc.property(scene, refused, (drawn, { slots, peers: refusedPeers, addresses, cidrs, learnt, content }) => {
      const { store, context, closed, everything } = environment();
      // Whoever is only observed passes wherever the other end lets it, also to addresses of nobody.
      const states = drawn.states.map(
        (each) => ({ ...each, state: each.state === 'observed' ? 'held' : each.state }) as const,
      );
      const desired = desiredOf(store, closed, { ...drawn, states });
      const target = content === null ? undefined : [...desired.endpoints.values()][content];
      const contents = new Set(target?.content === null || target === undefined ? [] : [target.content]);
      const refusals = {
        ...{
          slots: new Set(slots),
          peers: new Set(refusedPeers),
          addresses: new Set(addresses),
          cidrs: new Set(cidrs),
          learnt: new Set([...desired.learnt.keys()].filter((_, index) => learnt.includes(index))),
        },
        ...{ contents, transitions: true, amendments: true },
      };
      const reach = (refusing: Refusals): ReadonlyMap<string, number> => {
        const made = plan({ desired, actual: emptyKernel, refusals: refusing, nextRuleset: 16, context, everything });
        return judgements(context, made.phases.flat().reduce(applied, emptyKernel), inside, outside, ports);
      };
      const wanted = reach(noRefusals);
      for (const [flow, level] of reach(refusals)) {
        // What an endpoint sends to itself never leaves it.
        if (!wanted.has(flow)) continue;
        assert.ok(level <= (wanted.get(flow) ?? 0), `${flow} at ${level} > ${wanted.get(flow)}`);
      }
    }),
    { numRuns: 500 },
  );
});

test('two ends that change identity at the same time meet under neither the old nor the new rules', () => {
  const rows = (...allowed: readonly number[]): readonly (readonly [number, KernelPortTable])[] =>
    [0, 1, 2, ...identities].map((peer) => [
      peer,
      { ranges: [], otherwise: { action: allowed.includes(peer) ? 'allow' : 'deny', rule: 1 } },
    ]);
  // Egress and ingress of 256 … 259. 256 becomes 257, 258 becomes 259; allowed would be 257 to 258, which never exist together.
  const rules = [rows(258, 1), rows(), rows(258, 2), rows(), rows(), rows(257, 1), rows(), rows(257, 2)];
  const state = 'governed' as const;
  const before = [256, 258, 256].map((identity) => ({ identity, state }));
  const after = [257, 259, 256].map((identity) => ({ identity, state }));
  checkScenes([
    { rules, states: before, remote: [], cidrs: [], learnt: [] },
    { rules, states: after, remote: [], cidrs: [], learnt: [] },
  ]);
});

function checkReached(actual: ActualKernel, desired: DesiredKernel): void {
  assert.deepEqual([...actual.endpoints.keys()].sort(), [...desired.endpoints.keys()].sort());
  assert.deepEqual(actual.addresses.size, desired.addresses.size);
  assert.deepEqual(new Map([...actual.cidrs].sort()), new Map([...desired.cidrs].sort()));
  assert.deepEqual(actual.learnt, desired.learnt);
  for (const [slot, target] of desired.endpoints) {
    const entry = actual.endpoints.get(slot)!;
    assert.deepEqual([entry.state, entry.identity], [target.state, target.identity]);
    if (target.content === null) continue;
    for (const direction of ['egress', 'ingress'] as const) {
      for (const [peer, content] of actual.rulesets.get(entry.ruleset)![direction]) {
        const wanted: RulesetContent['egress'] = target.content[direction];
        if (wanted.has(peer)) assert.equal(content, wanted.get(peer) ?? wanted.get(0));
      }
    }
  }
}
