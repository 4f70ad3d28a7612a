/**
 * The NetworkPolicy cases, through `decide()` and through the tables that are compiled for the kernel. The steps of a case are changes
 * of one policy set and of one compiler, as they are in an agent.
 */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import {
  changePolicySet,
  createPolicySet,
  decide,
  type Direction,
  type Document,
  documentKey,
  documentLabelKeys,
  documentName,
  emptyPolicySet,
  type Flow,
  type Labels,
  type PolicySet,
} from '@bulkhead/policy';
import {
  documentsOf,
  type NetpolCase,
  type NetpolStep,
  podLabels,
  readNetpolCases,
  servicesOf,
} from './netpol-cases.ts';
import { type PairJudge, TableWorld } from './table-world.ts';

const options = { checkCondition: () => null };
const counts = { cases: 0, steps: 0, pairs: 0 };

const cases = readNetpolCases();
if (cases === null)
  test('no NetworkPolicy cases', { skip: 'BULKHEAD_NETPOL_CASES does not name the file with them' }, () => {});
for (const given of cases ?? []) test(`case ${given.id}: ${given.description}`, () => runCase(given));

after(() => {
  const { steps, pairs } = counts;
  console.log(
    `counted: ${counts.cases} NetworkPolicy cases, ${steps} steps, ${pairs} pairs, each by decide() and by tables`,
  );
});

function runCase({ steps }: NetpolCase): void {
  const world = new TableWorld();
  let set = emptyPolicySet;
  for (const [index, step] of steps.entries()) {
    const documents = documentsOf(step);
    set = changedTo(set, documents);
    const keys = new Set(documents.flatMap(documentLabelKeys));
    const pods = step.pods.map((pod) => podLabels(step, pod, keys));
    const fresh = createPolicySet(documents, options);
    assert.equal(fresh.kind, 'ok');
    if (fresh.kind !== 'ok') return;
    const tables = world.moved(set, pods, keys);
    checkStep(`step ${index}, decide`, step, pods, decideJudge(set));
    checkStep(`step ${index}, decide on a new set`, step, pods, decideJudge(fresh.policySet));
    checkStep(`step ${index}, tables`, step, pods, tables);
    counts.steps++;
    counts.pairs += servicesOf(step).length * pods.length ** 2;
  }
  counts.cases++;
}

function changedTo(before: PolicySet, documents: readonly Document[]): PolicySet {
  const keys = new Set(documents.map(documentKey));
  const known = Object.values(before.documents).flatMap((ofKind): readonly Document[] => [...ofKind.values()]);
  const removed = known
    .filter((document) => !keys.has(documentKey(document)))
    .map((document) => ({ kind: document.kind, name: documentName(document) }));
  const result = changePolicySet(before, { set: documents, removed }, options);
  if (result.kind === 'refused') assert.fail(JSON.stringify(result.problems));
  return result.policySet;
}

function decideJudge(set: PolicySet): PairJudge {
  return (source, destination, service) => {
    const party = (labels: Labels): Flow['source'] => ({ kind: 'workload', labels });
    const { egress, ingress } = decide(set, { source: party(source), destination: party(destination), ...service });
    return { egress: egress.action, ingress: ingress.action };
  };
}

function checkStep(where: string, step: NetpolStep, pods: readonly Labels[], judge: PairJudge): void {
  for (const { key, protocol, port } of servicesOf(step)) {
    const rows = pods.map((source) => pods.map((destination) => judge(source, destination, { protocol, port })));
    const matrix = (allowed: (pair: ReturnType<PairJudge>) => boolean): readonly string[] =>
      rows.map((row) => row.map((pair) => (allowed(pair) ? '.' : 'X')).join(''));
    const side = (direction: Direction) => matrix((pair) => pair[direction] === 'allow');
    const both = matrix(({ egress, ingress }) => egress === 'allow' && ingress === 'allow');
    assert.deepEqual(side('ingress'), step.ingress[key], `${where}, ingress ${key}`);
    assert.deepEqual(side('egress'), step.egress[key], `${where}, egress ${key}`);
    assert.deepEqual(both, step.combined[key], `${where}, ${key}`);
  }
}
