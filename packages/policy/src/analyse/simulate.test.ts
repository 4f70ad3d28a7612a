import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decide } from '../decide/decide.ts';
import type { Flow } from '../model.ts';
import { createPolicySet, type PolicySet } from '../resolve/policy-set.ts';
import { reasonText } from '../resolve/reason.ts';
import {
  generateDocuments,
  generateFlow,
  generateIdentities,
  generatePolicy,
  generatedTiers,
  type Random,
  seededRandom,
} from '../testing/generate.ts';
import { createFlowTable } from './flow-table.ts';
import { PartySetReader } from './party-set-reader.ts';
import { simulate } from './simulate.ts';
import type { RecordedFlow, SimulationResult } from './simulation.ts';

function generateSet(random: Random): PolicySet {
  const documents = [
    ...generateDocuments(random, {
      segments: random(5),
      policies: random(6),
      kubernetes: random(5),
      hosts: true,
      staged: true,
    }),
    generatePolicy(random, 'one-more', [], generatedTiers),
  ];
  const result = createPolicySet(documents, { checkCondition: () => null });
  if (result.kind === 'refused') assert.fail(JSON.stringify(result.problems));
  return result.policySet;
}

/** The flow as an agent records it: a question ends one way or the other. */
function recorded(random: Random, set: PolicySet, flow: Flow): RecordedFlow {
  const { action, egress, ingress } = decide(set, flow);
  const asked = action === 'ask';
  const verdict = action === 'ask' ? (random(2) === 0 ? 'allow' : 'deny') : action;
  return {
    ...flow,
    verdict,
    asked,
    egressReason: reasonText(egress.reason),
    ingressReason: reasonText(ingress.reason),
  };
}

function totals({ flows, same, changed, undecided, otherReason }: SimulationResult): object {
  return { flows, same, changed, undecided, otherReason };
}

test('a simulation says of every recorded flow what decide says', () => {
  fc.assert(
    fc.property(fc.integer(), (seed) => {
      const random = seededRandom(seed);
      const [before, proposed] = [generateSet(random), generateSet(random)];
      const identities = generateIdentities(random, 6);
      const table = createFlowTable();
      const expected = { flows: 0, same: 0, changed: 0, undecided: 0, otherReason: 0 };
      const wanted: { flow: RecordedFlow; count: number; fate: string; proposed: string }[] = [];
      for (let made = 0; made < 60; made++) {
        const flow = recorded(random, before, generateFlow(random, identities));
        const count = 1 + random(3);
        table.add(flow, count);
        const now = decide(proposed, flow);
        const fate =
          now.action === flow.verdict ? 'same' : now.action === 'ask' && flow.asked ? 'undecided' : 'changed';
        expected.flows += count;
        expected[fate] += count;
        const reasons = [reasonText(now.egress.reason), reasonText(now.ingress.reason)];
        const otherReason = flow.egressReason !== reasons[0] || flow.ingressReason !== reasons[1];
        if (fate === 'same' && otherReason) expected.otherReason += count;
        if (fate !== 'same') wanted.push({ flow, count, fate, proposed: now.action });
      }
      const reader = new PartySetReader([proposed]);
      const result = simulate(proposed, table.flows());
      assert.deepEqual(totals(result), expected);
      assert.equal(result.flowsOmitted, 0);
      assert.equal(result.changesTracked, result.changes.length);
      assert.equal(
        result.changes.reduce((sum, { flows }) => sum + flows, 0),
        expected.changed + expected.undecided,
      );
      for (const { flow, fate, proposed: action } of wanted) {
        const now = decide(proposed, flow);
        const found = result.changes.filter(
          (change) =>
            change.fate === fate &&
            change.recorded === flow.verdict &&
            change.proposed === action &&
            change.protocol === flow.protocol &&
            change.port === flow.port &&
            change.recordedReasons.egress === flow.egressReason &&
            change.recordedReasons.ingress === flow.ingressReason &&
            change.proposedReasons.egress === reasonText(now.egress.reason) &&
            change.proposedReasons.ingress === reasonText(now.ingress.reason),
        );
        assert.equal(found.length, 1);
        if (flow.source.kind === 'workload') assert.ok(reader.has(found[0]!.from, flow.source));
      }
    }),
    { numRuns: 150 },
  );
});

test('flows in several batches and parties in any order give one result', () => {
  const random = seededRandom(7);
  const [before, proposed] = [generateSet(random), generateSet(random)];
  const identities = generateIdentities(random, 6);
  const flows = Array.from({ length: 200 }, () => recorded(random, before, generateFlow(random, identities)));
  const table = createFlowTable();
  for (const flow of flows) table.add(flow);
  const reversed = createFlowTable();
  for (const flow of flows.toReversed()) reversed.add(structuredClone(flow));
  assert.equal(reversed.flows().parties.length, table.flows().parties.length);
  assert.deepEqual(totals(simulate(proposed, reversed.flows())), totals(simulate(proposed, table.flows())));
});
