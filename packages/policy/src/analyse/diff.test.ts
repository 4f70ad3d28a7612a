import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decide } from '../decide/decide.ts';
import type { Document } from '../documents/document.ts';
import { parseDocument } from '../documents/parse.ts';
import { changePolicySet, createPolicySet, type PolicySet, type PolicySetResult } from '../resolve/policy-set.ts';
import {
  generateDocuments,
  generatedTiers,
  generatePolicy,
  generateSegment,
  generateService,
  pick,
  type Random,
  seededRandom,
} from '../testing/generate.ts';
import { generateKubernetesDocument, generateNamespace } from '../testing/kubernetes.ts';
import { diffPolicies, kindOf } from './diff.ts';
import type { DifferenceGroup } from './difference.ts';
import { differenceText } from './difference-text.ts';
import { PartySetReader } from './party-set-reader.ts';
import { portSetHas } from './port-set.ts';
import { generateUniverse } from './testing/generate-universe.ts';
import type { Universe } from './universe.ts';

function resolved(result: PolicySetResult): PolicySet {
  if (result.kind === 'refused') assert.fail(JSON.stringify(result.problems));
  return result.policySet;
}

/** A set, and one in which some policies or segments are others. */
function generateChange(random: Random, documents: readonly Document[]): readonly [PolicySet, PolicySet] {
  const options = { checkCondition: () => null };
  const before = resolved(createPolicySet(documents, options));
  const names = [...before.segments.keys()];
  const set: Document[] = Array.from({ length: random(3) }, (_, index) =>
    generatePolicy(random, `p${index}`, names, generatedTiers, { staged: true }),
  );
  const kind = random(6);
  if (kind < 2) set.push(generateKubernetesDocument(random));
  else if (kind < 3) set.push(generateNamespace(random));
  if (names.length > 0 && random(3) === 0) set.push(generateSegment(random, pick(random, names), { hosts: true }));
  return [before, resolved(changePolicySet(before, { set }, options))];
}

test('a difference says of every pair and port exactly what decide says', () => {
  let changes = 0;
  fc.assert(
    fc.property(fc.integer(), fc.nat(5), fc.nat(6), (seed, segments, policies) => {
      const random = seededRandom(seed);
      const [before, after] = generateChange(
        random,
        generateDocuments(random, { segments, policies, kubernetes: random(5), hosts: true, staged: true }),
      );
      const { universe, parties } = generateUniverse(random);
      const difference = diffPolicies(before, after, universe);
      if (difference.kind === 'too-large') assert.fail('five identities are not many');
      assert.equal(difference.omitted, 0);
      const reader = new PartySetReader([before, after]);
      for (const source of parties) {
        for (const destination of parties) {
          for (let count = 0; count < 12; count++) {
            const service = generateService(random);
            const flow = { source, destination, ...service };
            const [was, is] = [decide(before, flow).action, decide(after, flow).action];
            const groups: readonly DifferenceGroup[] = difference.groups.filter(
              ({ from, to, ports }) =>
                portSetHas(ports, service.protocol, service.port) &&
                reader.has(from, source) &&
                reader.has(to, destination),
            );
            if (was !== is) changes++;
            assert.deepEqual(
              groups.map((group) => [group.kind, group.before, group.after]),
              was === is ? [] : [[kindOf(was, is), was, is]],
              JSON.stringify(flow),
            );
          }
        }
      }
    }),
    { numRuns: 100 },
  );
  assert.ok(changes > 2_000, `only ${changes} changed verdicts were looked at`);
});

const segment = (name: string) => ({
  apiVersion: 'bulkhead.dev/v1',
  kind: 'Segment',
  metadata: { name },
  spec: { selector: { matchLabels: { app: name } } },
});
const allow = (rules: readonly object[]) => ({
  apiVersion: 'bulkhead.dev/v1',
  kind: 'Policy',
  metadata: { name: 'orders' },
  spec: { rules },
});

test('the text speaks of segments and ranges, not of workloads', () => {
  const web = { from: { segment: 'web' }, to: { segment: 'orders-db' } };
  const tcp = (port: number, endPort = port) => [{ protocol: 'tcp', port, endPort }];
  const [before, after] = [
    [{ name: 'a', action: 'allow', ...web, ports: tcp(5432) }],
    [
      { name: 'a', action: 'ask', ...web, ports: tcp(5432) },
      { name: 'b', action: 'allow', ...web, ports: tcp(8000, 8010) },
      {
        name: 'out',
        action: 'allow',
        from: { segment: 'web' },
        to: { cidr: '192.0.2.0/24', except: ['192.0.2.8/29'] },
      },
    ],
  ].map((rules) =>
    resolved(
      createPolicySet(
        [segment('web'), segment('orders-db'), segment('empty'), allow(rules)].map((value) => {
          const parsed = parseDocument(value, {});
          return parsed.kind === 'refused' ? assert.fail(JSON.stringify(parsed.problems)) : parsed.document;
        }),
        { checkCondition: () => null },
      ),
    ),
  ) as [PolicySet, PolicySet];
  const universe: Universe = {
    workloads: [
      { labels: { app: 'web' }, count: 3, examples: ['web-1', 'web-2', 'web-3'] },
      { labels: { app: 'orders-db' }, count: 1, examples: ['db-1'] },
    ],
    hosts: [],
    addresses: [],
  };
  assert.equal(
    differenceText(diffPolicies(before, after, universe)),
    [
      'gained: web -> orders-db: tcp 8000-8010',
      '  was deny (egress: posture:web, ingress: posture:orders-db)',
      '  now allow (egress: application/orders/b, ingress: application/orders/b)',
      'gained: web -> 192.0.2.0/24 but 192.0.2.8/29: everything',
      '  was deny (egress: posture:web)',
      '  now allow (egress: application/orders/out, ingress: builtin:not-a-subject)',
      'changed: web -> orders-db: tcp 5432',
      '  was allow (egress: application/orders/a, ingress: application/orders/a)',
      '  now ask (egress: application/orders/a, ingress: application/orders/a)',
      '2 of 49 pairs change; looked at: 4 workloads, 0 named hosts, every outside address (4 pieces), ' +
        '2 hypothetical workloads, together 7 classes',
    ].join('\n'),
  );
  assert.match(differenceText(diffPolicies(after, after, universe)), /^no connection gets another verdict\n0 of 49/);
});
