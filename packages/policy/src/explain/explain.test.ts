import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decide } from '../decide/decide.ts';
import { type Document, documentKey } from '../documents/document.ts';
import { parseDocument } from '../documents/parse.ts';
import type { Flow, IdentityId } from '../model.ts';
import { createPolicySet, type PolicySet } from '../resolve/policy-set.ts';
import { reasonText } from '../resolve/reason.ts';
import { generateDocuments, generateFlow, generateIdentities, seededRandom } from '../testing/generate.ts';
import { generateKubernetesDocument, generatePodLabels } from '../testing/generate-kubernetes.ts';
import { clusterPolicy, namespace, networkPolicy, podOf } from '../testing/written.ts';
import { explain, rulesListedMax } from './explain.ts';
import { explanationText } from './text.ts';

function policySetOf(values: readonly unknown[]): PolicySet {
  const documents = values.map((value): Document => {
    const parsed = parseDocument(value, {});
    if (parsed.kind === 'refused') assert.fail(JSON.stringify(parsed.problems));
    return parsed.document;
  });
  const result = createPolicySet(documents, { checkCondition: () => null });
  if (result.kind === 'refused') assert.fail(JSON.stringify(result.problems));
  return result.policySet;
}

const segment = (name: string, spec: object) => ({
  apiVersion: 'bulkhead.dev/v1',
  kind: 'Segment',
  metadata: { name },
  spec,
});
const policy = (name: string, spec: object) => ({
  apiVersion: 'bulkhead.dev/v1',
  kind: 'Policy',
  metadata: { name },
  spec,
});

const orders = policySetOf([
  segment('web', { selector: { matchLabels: { app: 'web' } } }),
  segment('orders-db', { selector: { matchLabels: { app: 'db' } }, bind: { hosts: ['h1'] } }),
  policy('guard', {
    tier: 'security',
    rules: [
      { name: 'no-telnet', action: 'deny', to: { segment: 'orders-db' }, ports: [{ protocol: 'tcp', port: 23 }] },
    ],
  }),
  policy('orders', {
    rules: [
      {
        name: 'web-to-db',
        action: 'allow',
        from: { segment: 'web' },
        to: { segment: 'orders-db' },
        ports: [{ protocol: 'tcp', port: 5432 }],
      },
      {
        name: 'ask-db',
        action: 'ask',
        from: { any: true },
        to: { segment: 'orders-db' },
        ports: [{ protocol: 'tcp', port: 5432 }],
        applies: 'ingress',
      },
    ],
  }),
  policy('base', { tier: 'baseline', rules: [{ name: 'rest', action: 'allow', from: { segment: 'web' } }] }),
]);
const web = { kind: 'workload', name: 'web-1', labels: { app: 'web' } } as const;
const db = { kind: 'workload', name: 'db-1', labels: { app: 'db', 'bulkhead.dev/host': 'h1' } } as const;

test('the text names what decided on each side, and why the others lost', () => {
  const flow: Flow = { source: web, destination: db, protocol: 6, port: 5432 };
  assert.equal(
    explanationText(explain(orders, flow)),
    [
      'ask: web-1 to db-1, tcp 5432',
      '  egress of web-1: allow by application/orders/web-to-db',
      '    segments: web (posture deny)',
      '    application/orders/web-to-db (allow): decides',
      '    baseline/base/rest (allow): lost, its tier comes after that of application/orders/web-to-db',
      '    security/guard/no-telnet (deny): does not match, the port is another',
      '    application/orders/ask-db (ask): not used, it speaks only for the other side',
      '  ingress of db-1: ask by application/orders/ask-db',
      '    segments: orders-db (posture deny)',
      '    application/orders/ask-db (ask): decides',
      '    application/orders/web-to-db (allow): lost, application/orders/ask-db is more severe',
      '    baseline/base/rest (allow): lost, its tier comes after that of application/orders/ask-db',
      '    security/guard/no-telnet (deny): does not match, the port is another',
    ].join('\n'),
  );
});

test('a claim that no fact proves is said, and default deny names why', () => {
  const claimed = { ...db, labels: { app: 'db', 'bulkhead.dev/host': 'h2' } };
  const text = explanationText(
    explain(orders, {
      source: { kind: 'address', address: '192.0.2.1' },
      destination: claimed,
      protocol: 1,
      port: 8 * 256,
    }),
  );
  assert.match(
    text,
    /^deny: 192.0.2.1 to db-1, icmp type 8 code 0\n {2}egress of 192.0.2.1: allow by builtin:not-a-subject: only workloads have rules/,
  );
  assert.match(text, /ingress of db-1: deny by builtin:no-segment: no rule decides and it is in no segment/);
  assert.match(text, /not in orders-db, though its labels claim it: its host h2 is none that the segment is bound to/);
});

test('every explanation agrees with decide: the deciding rule is listed as such, and no other is', () => {
  fc.assert(
    fc.property(fc.integer(), fc.nat(8), fc.nat(10), (seed, segments, policies) => {
      const random = seededRandom(seed);
      const kubernetes = Array.from({ length: policies }, (_, index) => generateKubernetesDocument(random, index));
      const documents = [...generateDocuments(random, { segments, policies }), ...kubernetes];
      const set = policySetOf([...new Map(documents.map((document) => [documentKey(document), document])).values()]);
      const pods = Array.from({ length: 6 }, (_, index) => [index as IdentityId, generatePodLabels(random)] as const);
      const identities = new Map([...generateIdentities(random, 6), ...pods]);
      for (let count = 0; count < 20; count++) {
        const flow = generateFlow(random, identities);
        const explanation = explain(set, flow);
        assert.deepEqual(explanation.verdict, decide(set, flow));
        for (const side of [explanation.egress, explanation.ingress]) {
          const deciding = side.rules.filter(({ outcome }) => outcome.kind === 'decides');
          const { reason } = side.verdict;
          assert.deepEqual(
            deciding.map(({ tier, policy, rule }) => `${tier}/${policy}/${rule}`),
            reason.kind === 'rule' ? [reasonText(reason)] : [],
          );
          if (reason.kind === 'posture') assert.ok(side.segments.some(({ segment }) => segment === reason.segment));
          assert.ok(side.rules.length <= rulesListedMax);
          assert.ok(explanationText(explanation).length > 0);
        }
      }
    }),
    { numRuns: 300 },
  );
});

test('documents of Kubernetes, named ports and staged policies in the text', () => {
  const set = policySetOf([
    namespace('shop', { team: 'a' }),
    clusterPolicy('guard', {
      tier: 'Admin',
      priority: 10,
      subject: { namespaces: {} },
      egress: [{ name: 'shops-as-they-say', action: 'Pass', to: [{ namespaces: { matchLabels: { team: 'a' } } }] }],
    }),
    clusterPolicy('later', {
      tier: 'Admin',
      priority: 20,
      subject: { namespaces: {} },
      egress: [{ name: 'nothing-else', action: 'Deny', to: [{ namespaces: {} }] }],
    }),
    networkPolicy('shop/web', { podSelector: {}, ingress: [{ ports: [{ port: 'http' }] }] }),
    policy('soon', { mode: 'staged', rules: [{ name: 'closed', action: 'deny', to: { any: true } }] }),
  ]);
  const [source, destination] = [podOf(set, 'shop'), podOf(set, 'shop', { ports: { http: 'tcp-8080' } })];
  const flow = { source: { ...source, name: 'a' }, destination: { ...destination, name: 'b' }, protocol: 6 };
  assert.equal(
    explanationText(explain(set, { ...flow, port: 8080 })),
    [
      'allow: a to b, tcp 8080',
      '  egress of a: allow by posture:namespace/shop: no rule decides, and the namespace shop is open to what no policy selects',
      '    namespace: shop (open where no policy selects)',
      '    security/ClusterNetworkPolicy:guard/shops-as-they-say (pass): passes to the next tier',
      '    security/ClusterNetworkPolicy:later/nothing-else (deny): lost, security/ClusterNetworkPolicy:guard/shops-as-they-say is of a policy that comes before it',
      '    application/NetworkPolicy:shop/web/ingress[0] (allow): not used, it speaks only for the other side (port http is tcp 8080 there)',
      '    application/NetworkPolicy:shop/web/ingress-isolation (deny): not used, it speaks only for the other side',
      '  ingress of b: allow by application/NetworkPolicy:shop/web/ingress[0]',
      '    namespace: shop (open where no policy selects)',
      '    application/NetworkPolicy:shop/web/ingress[0] (allow): decides (port http is tcp 8080 there)',
      '    application/NetworkPolicy:shop/web/ingress-isolation (deny): lost, it closes what nothing else of its tier allows, and application/NetworkPolicy:shop/web/ingress[0] does',
      '    security/ClusterNetworkPolicy:guard/shops-as-they-say (pass): not used, it speaks only for the other side',
      '    security/ClusterNetworkPolicy:later/nothing-else (deny): not used, it speaks only for the other side',
      '    application/NetworkPolicy:shop/web/ingress-from-node (allow): does not match, the other party is none of its peers',
      '  staged policies would make it deny: egress deny by application/soon/closed, ingress deny by application/soon/closed',
    ].join('\n'),
  );
});

test('a host, its guard, and an address with the names that were learnt', () => {
  const set = policySetOf([
    segment('front', { hosts: { all: true } }),
    policy('p', { rules: [{ name: 'names', action: 'deny', to: { dns: '*.example.com' } }] }),
  ]);
  const host = { kind: 'host', labels: { 'bulkhead.dev/host': 'h1' } } as const;
  const outside = { kind: 'address', address: '192.0.2.1', names: ['api.example.com'] } as const;
  assert.match(
    explanationText(explain(set, { source: outside, destination: host, protocol: 6, port: 22 })),
    /ingress of the host h1: allow by builtin:lock-out-guard: it keeps the host within reach, before all rules\n {4}segments: front/,
  );
  assert.match(
    explanationText(explain(set, { source: host, destination: outside, protocol: 6, port: 443 })),
    /^deny: the host h1 to 192.0.2.1 \(api.example.com\), tcp 443\n {2}egress of the host h1: deny by application\/p\/names/,
  );
});
