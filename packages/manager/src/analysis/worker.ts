/** A thread that analyses: one request after the other, by the documents of whatever revision it names. */
import { parentPort, workerData } from 'node:worker_threads';
import {
  changePolicySet,
  checkInvariants,
  createSimulation,
  diffPolicies,
  explain,
  explanationText,
  recommend,
} from '@bulkhead/policy';
import { explainFlow } from './explain-flow.ts';
import { withNamedAddresses } from './named-addresses.ts';
import { PolicySets } from './policy-sets.ts';
import type { InvariantReport, PolicyDifference, PolicySet, Universe } from '@bulkhead/policy';
import type { AnalysisAnswers, AnalysisRequest, Basis, WorkerAnswer, WorkerOptions } from './messages.ts';

const port = parentPort;
if (port === null) throw new Error('worker.ts runs as a worker');
const sets = new PolicySets((workerData as WorkerOptions).path);

function setOf({ revision, set, removed }: Basis): PolicySet {
  const before = sets.at(revision);
  if (set.length === 0 && removed.length === 0) return before;
  // The manager has checked it already, conditions too.
  const result = changePolicySet(before, { set, removed }, { checkCondition: () => null });
  if (result.kind === 'ok') return result.policySet;
  throw new Error(result.problems.map(({ document, path, reason }) => `${document} ${path}: ${reason}`).join('; '));
}

function compare(before: PolicySet, after: PolicySet, universe: Universe): PolicyDifference {
  return diffPolicies(before, after, withNamedAddresses(universe, [before, after]));
}

function prove(set: PolicySet, universe: Universe): InvariantReport {
  return checkInvariants(set, withNamedAddresses(universe, [set]));
}

function answer(request: AnalysisRequest): AnalysisAnswers[keyof AnalysisAnswers] {
  switch (request.kind) {
    case 'explain': {
      const explanation = explain(sets.at(request.revision), request.flow);
      return { explanation, text: explanationText(explanation) };
    }
    case 'explain-flow': {
      const candidates = request.revisions.map((revision) => ({ revision, set: () => sets.at(revision) }));
      return explainFlow(request.flow, candidates);
    }
    case 'diff':
      return compare(setOf(request.before), setOf(request.after), request.universe);
    case 'simulate': {
      const simulation = createSimulation(setOf(request.proposed));
      simulation.add(request.flows);
      return simulation.result();
    }
    case 'prove':
      return prove(setOf(request.basis), request.universe);
    case 'recommend':
      return recommend(setOf(request.basis), request.flows, request.universe, request.options);
  }
}

port.on('message', (request: AnalysisRequest) => {
  let reply: WorkerAnswer;
  try {
    reply = { kind: 'answer', value: answer(request) };
  } catch (error) {
    reply = { kind: 'failed', reason: error instanceof Error ? error.message : String(error) };
  }
  port.postMessage(reply);
});
