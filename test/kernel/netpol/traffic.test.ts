/**
 * NetworkPolicy on real traffic: in every step of every case each pod's own stack speaks to each other pod over TCP, UDP and SCTP, and
 * what arrives must be what the case says. A pod's word to itself never leaves it, so the diagonal is left out.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createPolicySet, documentLabelKeys } from '@bulkhead/policy';
import {
  documentsOf,
  type NetpolCase,
  type NetpolStep,
  podLabels,
  readNetpolCases,
  servicesOf,
} from '../../policy/netpol-cases.ts';
import { Cluster, type Probe } from './cluster.ts';

const counts = { cases: 0, steps: 0, probes: 0 };
const cases = readNetpolCases();

if (cases === null)
  test('no NetworkPolicy cases', { skip: 'BULKHEAD_NETPOL_CASES does not name the file with them' }, () => {});
else describe('real traffic', () => describeTraffic(cases));

function describeTraffic(all: readonly NetpolCase[]): void {
  let cluster: Cluster;
  before(() => {
    cluster = Cluster.open();
  });
  after(async () => {
    await cluster[Symbol.asyncDispose]();
    console.log(
      `counted: ${counts.cases} NetworkPolicy cases on real traffic, ${counts.steps} steps, ${counts.probes} probes`,
    );
  });
  for (const given of all)
    test(`case ${given.id}: ${given.description}`, async () => {
      for (const [index, step] of given.steps.entries()) await runStep(cluster, step, `step ${index}`);
      counts.cases++;
    });
}

async function runStep(cluster: Cluster, step: NetpolStep, where: string): Promise<void> {
  const documents = documentsOf(step);
  const resolved = createPolicySet(documents, { checkCondition: () => null });
  if (resolved.kind === 'refused') assert.fail(JSON.stringify(resolved.problems));
  const keys = new Set(documents.flatMap(documentLabelKeys));
  const keyOf = ({ ns, name }: NetpolStep['pods'][number]): string => `${ns}/${name}`;
  const pods = step.pods.map((pod) => ({ key: keyOf(pod), ip: pod.ip, labels: podLabels(step, pod, keys) }));
  await cluster.govern(resolved.policySet, pods);
  const services = servicesOf(step);
  const probes = services.flatMap(({ protocol, port }) =>
    pods.flatMap(({ key: from }) =>
      pods.flatMap(({ key: to }): Probe[] => (from === to ? [] : [{ from, to, protocol, port }])),
    ),
  );
  const arrived = await cluster.probe(probes);
  for (const { key, protocol, port } of services) {
    const wanted = step.combined[key]!.map((row, at) => `${row.slice(0, at)}-${row.slice(at + 1)}`);
    const found = pods.map(({ key: from }) =>
      pods
        .map(({ key: to }) => {
          const probe = probes.find(
            (each) => each.from === from && each.to === to && each.protocol === protocol && each.port === port,
          );
          return probe === undefined ? '-' : arrived.get(probe) === true ? '.' : 'X';
        })
        .join(''),
    );
    assert.deepEqual(found, wanted, `${where}, ${key}`);
  }
  counts.steps++;
  counts.probes += probes.length;
}
