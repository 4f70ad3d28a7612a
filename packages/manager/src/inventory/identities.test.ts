import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { identityFirst, identityMax } from '@bulkhead/policy';
import { planIdentities, relevantLabels } from './identities.ts';
import {
  allocateIdentity,
  emptyInventory,
  labelsText,
  releaseIdentity,
  removeWorkload,
  setWorkload,
} from './inventory-state.ts';
import { workloadReport } from '../testing/link-fixture.ts';
import type { Labels } from '@bulkhead/policy';
import type { InventoryState } from './inventory-state.ts';

const labelKeys = ['app', 'tier', 'zone', 'build'];
const labels = fc.dictionary(fc.constantFrom(...labelKeys), fc.constantFrom('a', 'b', 'c'));
const keys = fc.subarray(labelKeys).map((list) => new Set(list));

type Step =
  | { readonly kind: 'set'; readonly workload: string; readonly labels: Labels }
  | { readonly kind: 'remove'; readonly workload: string }
  | { readonly kind: 'keys'; readonly keys: ReadonlySet<string> }
  | { readonly kind: 'release' };
const workload = fc.constantFrom('h/1', 'h/2', 'h/3', 'h/4', 'h/5');
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ kind: fc.constant('set' as const), workload, labels }),
  fc.record({ kind: fc.constant('remove' as const), workload }),
  fc.record({ kind: fc.constant('keys' as const), keys }),
  fc.constant({ kind: 'release' as const }),
);

/** Applies what the plan says, as the ledger's commands would. */
function assign(
  state: InventoryState,
  wanted: readonly (readonly [string, Labels])[],
  relevant: ReadonlySet<string>,
  confirmed: number,
): void {
  const plan = planIdentities(state, wanted, relevant, confirmed);
  assert.ok(plan.kind === 'planned');
  for (const [identity, set] of plan.allocated) {
    assert.ok(!state.identities.has(identity), 'a number in use is not given again');
    assert.ok((state.released.get(identity) ?? 0) <= confirmed, 'nor one that some host may still enforce');
    allocateIdentity(state, identity, set);
  }
  for (const [id, given] of wanted) {
    setWorkload(state, {
      report: workloadReport(id, { labels: given }),
      host: 'h',
      labels: given,
      identity: plan.identityOf.get(id)!,
      addresses: [],
      problems: [],
    });
  }
}

test('one identity for each distinct set of relevant labels, and references are counted, whatever happens', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const state = emptyInventory();
      let relevant: ReadonlySet<string> = new Set(['app']);
      let revision = 0;
      for (const now of steps) {
        revision += 1;
        if (now.kind === 'set') assign(state, [[now.workload, now.labels]], relevant, 0);
        else if (now.kind === 'remove') removeWorkload(state, now.workload);
        else if (now.kind === 'keys') {
          relevant = now.keys;
          assign(
            state,
            [...state.workloads].map(([id, entry]) => [id, entry.labels] as const),
            relevant,
            0,
          );
        } else {
          for (const [identity, entry] of state.identities)
            if (entry.references === 0) releaseIdentity(state, identity, revision);
        }
        const byText = new Map<string, number>();
        const references = new Map<number, number>();
        for (const entry of state.workloads.values()) {
          const text = labelsText(relevantLabels(entry.labels, relevant));
          const identity = byText.get(text);
          assert.ok(identity === undefined || identity === entry.identity, 'equal sets share an identity');
          byText.set(text, entry.identity);
          references.set(entry.identity, (references.get(entry.identity) ?? 0) + 1);
          assert.equal(
            labelsText(state.identities.get(entry.identity)!.labels),
            text,
            'the identity says exactly the relevant labels',
          );
          assert.ok(entry.identity >= identityFirst && entry.identity <= identityMax);
        }
        assert.equal(new Set(byText.values()).size, byText.size, 'different sets have different identities');
        for (const [identity, entry] of state.identities) assert.equal(entry.references, references.get(identity) ?? 0);
      }
    }),
    { numRuns: 500 },
  );
});

test('numbers go round the end, past those in use and those not confirmed as removed', () => {
  const state = emptyInventory();
  state.nextIdentity = identityMax;
  allocateIdentity(state, identityFirst, { app: 'used' });
  allocateIdentity(state, identityFirst + 1, { app: 'gone' });
  releaseIdentity(state, identityFirst + 1, 70);
  state.nextIdentity = identityMax;
  const wanted = ['x', 'y'].map((app) => [`h/${app}`, { app }] as const);
  const early = planIdentities(state, wanted, new Set(['app']), 69);
  assert.deepEqual(early.kind === 'planned' && early.allocated.map(([identity]) => identity), [
    identityMax,
    identityFirst + 2,
  ]);
  const late = planIdentities(state, wanted, new Set(['app']), 70);
  assert.deepEqual(late.kind === 'planned' && late.allocated.map(([identity]) => identity), [
    identityMax,
    identityFirst + 1,
  ]);
});

test('a label such as __proto__ is a label like any other', () => {
  const hostile = JSON.parse('{"__proto__": "x", "constructor": "y"}') as Labels;
  assert.deepEqual(Object.keys(relevantLabels(hostile, new Set(['app']))), []);
  assert.notEqual(labelsText(hostile), labelsText({}));
});
