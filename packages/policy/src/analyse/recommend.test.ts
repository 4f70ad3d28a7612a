import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decide, peersMatch } from '../decide/decide.ts';
import type { Document } from '../documents/document.ts';
import { parseDocument } from '../documents/parse.ts';
import type { Flow, Labels, Party } from '../model.ts';
import { resolvePeers } from '../resolve/peers.ts';
import { createPolicySet, type PolicySet } from '../resolve/policy-set.ts';
import { portsMatch, resolvePorts } from '../resolve/ports.ts';
import { findRule } from '../resolve/question.ts';
import { addressBits, parsePrefix, prefixContains } from '../select/prefix.ts';
import {
  generateIdentities,
  generateParty,
  generateSegment,
  generateService,
  pick,
  type Random,
  seededRandom,
} from '../testing/generate.ts';
import { createFlowTable } from './flow-table.ts';
import { joinedNetworks } from './networks-joined.ts';
import { recommend, withDocuments } from './recommend.ts';
import type { RecordedFlow } from './simulation.ts';
import type { Universe } from './universe.ts';

const apiVersion = 'bulkhead.dev/v1';

function policySetOf(values: readonly unknown[]): PolicySet {
  const documents = values.map((value): Document => {
    const parsed = parseDocument(value, {});
    return parsed.kind === 'refused' ? assert.fail(JSON.stringify(parsed.problems)) : parsed.document;
  });
  const result = createPolicySet(documents, { checkCondition: () => null });
  return result.kind === 'refused' ? assert.fail(JSON.stringify(result.problems)) : result.policySet;
}

const recordedFlow = (flow: Flow, verdict: RecordedFlow['verdict'] = 'allow'): RecordedFlow => ({
  ...flow,
  verdict,
  asked: false,
  egressReason: 'application/was/it',
  ingressReason: 'application/was/it',
});

const universeOf = (labels: readonly Labels[]): Universe => ({
  workloads: labels.map((own, index) => ({ labels: own, count: 2, examples: [`w${index}`] })),
  hosts: [],
  addresses: [],
});

/** Parties that a rule can mean: an address has a name now and then, a workload some label. */
function generateNameable(random: Random, identities: ReturnType<typeof generateIdentities>): Party {
  for (;;) {
    const party = generateParty(random, identities);
    if (party.kind === 'unknown') continue;
    if (party.kind === 'address' && random(3) === 0) return { ...party, names: [`n${random(3)}.example.com`] };
    const telling = party.kind !== 'workload' || ['app', 'tier', 'env'].some((key) => party.labels[key] !== undefined);
    if (telling) return party;
  }
}

const isBlocked = (set: PolicySet, flow: Flow): boolean => {
  const { egress, ingress } = decide(set, flow);
  return [egress, ingress].some(({ reason }) => reason.kind === 'builtin' && reason.name === 'isolation');
};

test('a recommendation allows what was seen, and nothing that no flow stands for', () => {
  const seen = { allowed: 0, supported: 0 };
  fc.assert(
    fc.property(fc.integer(), fc.nat(4), (seed, segments) => {
      const random = seededRandom(seed);
      const set = policySetOf(Array.from({ length: segments }, (_, index) => generateSegment(random, `s${index}`)));
      const identities = generateIdentities(random, 6);
      const services = Array.from({ length: 4 }, () => generateService(random)).filter(
        ({ protocol, port }) => protocol !== 47 && (port > 0 || protocol === 1 || protocol === 58),
      );
      const table = createFlowTable();
      const flows: Flow[] = [];
      for (let count = 0; count < 25 && services.length > 0; count++) {
        const flow = {
          source: generateNameable(random, identities),
          destination: generateNameable(random, identities),
          ...pick(random, services),
        };
        if (isBlocked(set, flow)) continue;
        const verdict = random(4) === 0 ? 'deny' : 'allow';
        table.add(recordedFlow(flow, verdict));
        if (verdict === 'allow') flows.push(flow);
      }
      const result = recommend(set, table.flows(), universeOf([...identities.values()]), {
        segment: null,
        name: 'seen',
      });
      assert.deepEqual([result.leftOut, result.broken, result.flowsCovered], [[], [], result.flows]);
      const proposed = withDocuments(set, result.documents, true);
      for (const flow of flows) {
        seen.allowed++;
        assert.equal(decide(proposed, flow).action, 'allow', JSON.stringify(flow));
      }
      for (let count = 0; count < 200 && services.length > 0; count++) {
        const flow = {
          source: generateNameable(random, identities),
          destination: generateNameable(random, identities),
          ...(random(2) === 0 ? pick(random, services) : generateService(random)),
        };
        for (const { reason, action } of [decide(proposed, flow).egress, decide(proposed, flow).ingress]) {
          if (reason.kind !== 'rule' || action !== 'allow') continue;
          seen.supported++;
          assert.ok(isSupported(proposed, reason, flow, flows), JSON.stringify([flow, reason]));
        }
      }
    }),
    { numRuns: 200 },
  );
  assert.ok(seen.allowed > 1_000 && seen.supported > 1_000, JSON.stringify(seen));
});

/** Whether a flow was seen between the same two peers of the rule, on its ports. */
function isSupported(
  set: PolicySet,
  reason: { readonly tier: string; readonly policy: string; readonly rule: string },
  flow: Flow,
  flows: readonly Flow[],
): boolean {
  const { from, to, ports } = findRule(set, reason)!.document!;
  const single = (peers: typeof to) => (Array.isArray(peers) ? peers : [peers!]).map((peer) => resolvePeers(peer));
  const about = (one: Flow): boolean => portsMatch(resolvePorts(ports), one, one.destination);
  return single(from).some((source) =>
    single(to).some(
      (destination) =>
        peersMatch(set, source, flow.source) &&
        peersMatch(set, destination, flow.destination) &&
        flows.some(
          (one) => about(one) && peersMatch(set, source, one.source) && peersMatch(set, destination, one.destination),
        ),
    ),
  );
}

const segment = (name: string): object => ({
  apiVersion,
  kind: 'Segment',
  metadata: { name },
  spec: { selector: { matchLabels: { app: name } } },
});
const workload = (labels: Labels): Party => ({ kind: 'workload', labels });

function shopFlows() {
  const table = createFlowTable();
  const see = (source: Party, destination: Party, port: number, count = 1): void =>
    table.add(recordedFlow({ source, destination, protocol: 6, port }), count);
  for (const pod of ['1', '2', '3']) {
    const web = workload({ app: 'web', pod: `web-${pod}` });
    for (const port of [8080, 8081, 8082, 9000]) see(web, workload({ app: 'api', pod: 'api-1' }), port, 10);
    see({ kind: 'address', address: `192.0.2.${pod}` }, web, 443, 5);
  }
  see(workload({ app: 'api', pod: 'api-1' }), workload({ app: 'db', pod: 'db-1' }), 5432, 100);
  see(workload({ app: 'web', pod: 'web-1' }), workload({ app: 'db', pod: 'db-1' }), 5432, 2);
  for (const job of ['mail', 'bill'])
    see(workload({ team: 'batch', job }), workload({ app: 'api', pod: 'api-1' }), 8080);
  see(
    workload({ app: 'api', pod: 'api-1' }),
    { kind: 'address', address: '198.51.100.7', names: ['pay.example.com'] },
    443,
    4,
  );
  return table.flows();
}
const shopUniverse = universeOf([
  ...['1', '2', '3'].map((pod) => ({ app: 'web', pod: `web-${pod}` })),
  { app: 'api', pod: 'api-1' },
  { app: 'db', pod: 'db-1' },
  { team: 'batch', job: 'mail' },
  { team: 'batch', job: 'bill' },
  { team: 'other', job: 'mail' },
]);

test('rules are about segments, shared labels, networks and names; one that breaks an invariant is left out', () => {
  const never = {
    apiVersion,
    kind: 'Invariant',
    metadata: { name: 'web-keeps-off-db' },
    spec: { never: { from: { segment: 'web' }, to: { segment: 'db' } } },
  };
  const set = policySetOf([...['web', 'api', 'db'].map(segment), never]);
  const { documents, rules, leftOut } = recommend(set, shopFlows(), shopUniverse, { segment: null, name: 'seen' });
  const tcp = (port: number, endPort?: number) => ({
    protocol: 'tcp',
    port,
    ...(endPort === undefined ? {} : { endPort }),
  });
  assert.deepEqual(documents[0]?.spec.rules, [
    {
      name: 'web-to-api',
      action: 'allow',
      from: { segment: 'web' },
      to: { segment: 'api' },
      ports: [tcp(8080, 8082), tcp(9000)],
    },
    { name: 'api-to-db', action: 'allow', from: { segment: 'api' }, to: { segment: 'db' }, ports: [tcp(5432)] },
    {
      name: '192.0.2.1-32-and-1-to-web',
      action: 'allow',
      from: [{ cidr: '192.0.2.1/32' }, { cidr: '192.0.2.2/31' }],
      to: { segment: 'web' },
      ports: [tcp(443)],
    },
    {
      name: 'api-to-pay.example.com',
      action: 'allow',
      from: { segment: 'api' },
      to: { dns: 'pay.example.com' },
      ports: [tcp(443)],
    },
    {
      name: 'batch-to-api',
      action: 'allow',
      from: { selector: { matchLabels: { team: 'batch' } } },
      to: { segment: 'api' },
      ports: [tcp(8080)],
    },
  ]);
  assert.deepEqual(
    rules.map(({ rule, flows }) => `${rule} ${flows}`),
    ['web-to-api 120', 'api-to-db 100', '192.0.2.1-32-and-1-to-web 15', 'api-to-pay.example.com 4', 'batch-to-api 2'],
  );
  assert.deepEqual(
    leftOut.map(({ why, flows, rule }) => [why, flows, rule?.name]),
    [['it would break the invariant web-keeps-off-db', 2, 'web-to-db']],
  );
});

test('for one segment the rules are about its connections alone, and stand beside the others', () => {
  const set = policySetOf(['web', 'api', 'db'].map(segment));
  const { documents, flows } = recommend(set, shopFlows(), shopUniverse, { segment: 'db', name: 'db' });
  assert.equal(flows, 102);
  assert.deepEqual(
    documents.flatMap(({ spec }) => spec.rules.map(({ from, to }) => [from, to])),
    [[[{ segment: 'web' }, { segment: 'api' }], { segment: 'db' }]],
  );
});

test('networks are joined without taking in anything else, unless they would be too many', () => {
  assert.deepEqual(joinedNetworks(['10.0.0.0', '10.0.0.1', '10.0.0.3', '10.0.0.2', '10.0.0.4'], 9), [
    '10.0.0.0/30',
    '10.0.0.4/32',
  ]);
  assert.deepEqual(joinedNetworks(['10.0.0.1', '10.0.0.9', '172.16.0.1'], 2), ['10.0.0.0/28', '172.16.0.1/32']);
  const octet = fc.nat(255);
  const address = fc.tuple(fc.constantFrom(10, 11), fc.nat(3), octet).map(([a, b, c]) => `${a}.0.${b}.${c}`);
  fc.assert(
    fc.property(fc.array(address, { minLength: 1, maxLength: 60 }), fc.integer({ min: 1, max: 20 }), (list, most) => {
      const networks = joinedNetworks(list, most).map((cidr) => {
        const parsed = parsePrefix(cidr);
        return parsed.kind === 'prefix' ? parsed.prefix.bits : assert.fail(cidr);
      });
      assert.ok(networks.length <= most);
      const all = list.map((one) => addressBits(one)!);
      for (const bits of all) assert.equal(networks.filter((network) => prefixContains(network, bits)).length, 1);
      for (const network of networks) assert.ok(all.some((bits) => prefixContains(network, bits)));
    }),
  );
});
