import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Document, RuleDocument } from '../documents/document.ts';
import { parseDocument } from '../documents/parse.ts';
import type { Flow, Labels, Party } from '../model.ts';
import { createPolicySet, type PolicySet } from '../resolve/policy-set.ts';
import { questionTerms } from '../resolve/question.ts';
import { reasonText } from '../resolve/reason.ts';
import { generateDocuments, generateFlow, generateIdentities, seededRandom } from '../testing/generate.ts';
import { decide } from './decide.ts';

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

const apiVersion = 'bulkhead.dev/v1';
const segment = (name: string, spec: object = {}) => ({
  apiVersion,
  kind: 'Segment',
  metadata: { name },
  spec: { selector: { matchLabels: { app: name } }, ...spec },
});
const open = { posture: { ingress: 'allow', egress: 'allow' } };
const tier = (name: string, spec: object) => ({ apiVersion, kind: 'Tier', metadata: { name }, spec });
let policiesMade = 0;
const policy = (tierName: string, ...rules: readonly (Partial<RuleDocument> & Pick<RuleDocument, 'action'>)[]) => ({
  apiVersion,
  kind: 'Policy',
  metadata: { name: `p${++policiesMade}` },
  spec: { tier: tierName, rules: rules.map((rule, index) => ({ name: rule.action + index, ...rule })) },
});
const workload = (labels: Labels): Party => ({ kind: 'workload', labels });
const [a, b] = [workload({ app: 'a' }), workload({ app: 'b' })];
const outside: Party = { kind: 'address', address: '203.0.113.7' };
const host: Party = { kind: 'host' };
const tcp = (port: number) => ({ protocol: 6, port });

/** `action egress-reason ingress-reason`, without the changing names of policies. */
function verdict(
  set: PolicySet,
  source: Party,
  destination: Party,
  service: Pick<Flow, 'protocol' | 'port'> = tcp(80),
): string {
  const { action, egress, ingress } = decide(set, { source, destination, ...service });
  const short = (text: string): string => text.replace(/\/p[0-9]+\//, '/');
  return `${action} ${short(reasonText(egress.reason))} ${short(reasonText(ingress.reason))}`;
}

test('default deny: without segment, and by the posture of a segment', () => {
  const set = policySetOf([segment('a')]);
  assert.equal(verdict(set, a, b), 'deny posture:a builtin:no-segment');
});

test('a rule with both ends speaks for both, unless applies narrows it', () => {
  const rule = { action: 'allow', from: { segment: 'a' }, to: { segment: 'b' } } as const;
  const both = policySetOf([segment('a'), segment('b'), policy('application', rule)]);
  assert.equal(verdict(both, a, b), 'allow application/allow0 application/allow0');
  assert.equal(verdict(both, b, a), 'deny posture:b posture:a');
  const half = policySetOf([segment('a'), segment('b'), policy('application', { ...rule, applies: 'ingress' })]);
  assert.equal(verdict(half, a, b), 'deny posture:a application/allow0');
});

test('tiers are judged in order, and a tier document may stand between', () => {
  const set = (security: RuleDocument['action']) =>
    policySetOf([
      segment('a', open),
      segment('b', open),
      tier('between', { position: 150 }),
      policy('security', { action: security }),
      policy('between', { action: 'reject', ports: [{ protocol: 'tcp', port: 22 }] }),
      policy('platform', { action: 'allow', ports: [{ protocol: 'tcp', port: 80 }] }),
    ]);
  assert.equal(verdict(set('deny'), a, b, tcp(80)), 'allow platform/allow0 platform/allow0');
  assert.equal(verdict(set('allow'), a, b, tcp(22)), 'reject between/reject0 between/reject0');
  assert.equal(verdict(set('deny'), a, b, tcp(23)), 'deny security/deny0 security/deny0');
});

test('within a tier: deny, reject, ask, pass, allow; the order of the document counts in a listed tier alone', () => {
  const rules = (['allow', 'pass', 'ask', 'reject', 'deny'] as const).map((action) => ({ action }));
  for (let count = 1; count <= rules.length; count++) {
    const expected = rules[count - 1]!.action;
    const bySeverity = policySetOf([segment('a'), segment('b'), policy('security', ...rules.slice(0, count))]);
    const listed = policySetOf([
      tier('security', { position: 200, order: 'listed' }),
      segment('a'),
      segment('b'),
      policy('security', ...rules.slice(0, count)),
    ]);
    const text =
      expected === 'pass'
        ? 'deny posture:a posture:b'
        : `${expected} security/${expected}${count - 1} security/${expected}${count - 1}`;
    assert.equal(verdict(bySeverity, a, b), text);
    assert.equal(verdict(listed, a, b), 'allow security/allow0 security/allow0');
  }
});

test('pass takes a flow out of what its tier allows, and leaves it to the tiers below', () => {
  const set = policySetOf([
    segment('a'),
    segment('b'),
    policy('security', { action: 'allow' }, { action: 'pass', ports: [{ protocol: 'tcp', port: 80, endPort: 90 }] }),
    policy('application', { action: 'reject', ports: [{ protocol: 'tcp', port: 85 }] }),
  ]);
  assert.equal(verdict(set, a, b, tcp(79)), 'allow security/allow0 security/allow0');
  assert.equal(verdict(set, a, b, tcp(85)), 'reject application/reject0 application/reject0');
  assert.equal(verdict(set, a, b, tcp(86)), 'deny posture:a posture:b');
});

test('the ends combine as deny, then ask, then allow; of two denials the egress side gives the form', () => {
  const actions = ['allow', 'ask', 'deny', 'reject'] as const;
  const combined = actions.map((egress) =>
    actions.map((ingress) => {
      const set = policySetOf([
        segment('a'),
        segment('b'),
        policy('security', { action: egress, applies: 'egress' }, { action: ingress, applies: 'ingress' }),
      ]);
      return decide(set, { source: a, destination: b, ...tcp(80) }).action;
    }),
  );
  assert.deepEqual(combined, [
    ['allow', 'ask', 'deny', 'reject'],
    ['ask', 'ask', 'deny', 'reject'],
    ['deny', 'deny', 'deny', 'deny'],
    ['reject', 'reject', 'reject', 'reject'],
  ]);
});

test('a workload in several segments has the strictest posture', () => {
  const set = policySetOf([
    segment('a', open),
    segment('wide', { selector: {}, posture: { egress: 'reject', ingress: 'allow' } }),
  ]);
  assert.equal(verdict(set, a, b), 'reject posture:wide posture:wide');
  assert.equal(verdict(set, b, a), 'reject posture:wide posture:a');
});

test('only workloads are subjects: outside and host allow on their side', () => {
  const set = policySetOf([segment('a', open)]);
  assert.equal(verdict(set, a, outside), 'allow posture:a builtin:not-a-subject');
  assert.equal(verdict(set, outside, a), 'allow builtin:not-a-subject posture:a');
  assert.equal(verdict(set, host, a), 'allow builtin:not-a-subject posture:a');
});

test('an unknown workload is denied whatever the rules say', () => {
  const set = policySetOf([segment('a', open), policy('platform', { action: 'allow' })]);
  assert.equal(verdict(set, a, { kind: 'unknown' }), 'deny builtin:unknown builtin:unknown');
  assert.equal(verdict(set, { kind: 'unknown' }, host), 'deny builtin:unknown builtin:not-a-subject');
});

test('names may be asked of the host, unless a rule says otherwise', () => {
  const dns = [{ protocol: 17, port: 53 }, tcp(53)];
  const set = policySetOf([segment('a')]);
  for (const service of dns)
    assert.equal(verdict(set, a, host, service), 'allow builtin:resolver builtin:not-a-subject');
  assert.equal(verdict(set, b, host, dns[0]), 'allow builtin:resolver builtin:not-a-subject');
  assert.equal(verdict(set, a, host, { protocol: 17, port: 54 }), 'deny posture:a builtin:not-a-subject');
  assert.equal(verdict(set, a, outside, dns[0]), 'deny posture:a builtin:not-a-subject');
  const denied = policySetOf([segment('a'), policy('baseline', { action: 'deny', to: { host: true } })]);
  assert.equal(verdict(denied, a, host, dns[0]), 'deny baseline/deny0 builtin:not-a-subject');
});

test('networks: exceptions, segments with networks, and identity before address', () => {
  const address = (text: string): Party => ({ kind: 'address', address: text });
  const set = policySetOf([
    segment('a'),
    {
      apiVersion,
      kind: 'Segment',
      metadata: { name: 'lab' },
      spec: { networks: [{ cidr: 'fd00::/8', except: ['fd00::/64'] }] },
    },
    policy('application', {
      action: 'allow',
      from: { segment: 'a' },
      to: [{ cidr: '10.0.0.0/8', except: ['10.1.0.0/16'] }, { segment: 'lab' }],
    }),
  ]);
  const allowed = (party: Party): boolean =>
    decide(set, { source: a, destination: party, ...tcp(80) }).egress.action === 'allow';
  assert.deepEqual(
    ['10.0.0.1', '10.1.0.1', '11.0.0.1', 'fd01::1', 'fd00::1'].map((text) => allowed(address(text))),
    [true, false, false, true, false],
  );
  assert.equal(allowed(host), false);
  assert.equal(allowed(b), false);
});

test('a published port is judged as ingress from the outside address', () => {
  const set = policySetOf([
    segment('a'),
    policy('application', {
      action: 'allow',
      from: { cidr: '203.0.113.0/24' },
      to: { segment: 'a' },
      ports: [{ protocol: 'tcp', port: 443 }],
    }),
  ]);
  assert.equal(verdict(set, outside, a, tcp(443)), 'allow builtin:not-a-subject application/allow0');
  assert.equal(
    verdict(set, { kind: 'address', address: '198.51.100.1' }, a, tcp(443)),
    'deny builtin:not-a-subject posture:a',
  );
});

test('a segment bound to images and hosts takes no one on their word', () => {
  const image = `sha256:${'a'.repeat(64)}`;
  const set = policySetOf([segment('a', { ...open, bind: { images: [image], hosts: ['h1'] } })]);
  const labels = (facts: Labels): Party => workload({ app: 'a', ...facts });
  const proven = labels({ 'bulkhead.dev/image': image, 'bulkhead.dev/host': 'h1' });
  assert.equal(verdict(set, proven, outside), 'allow posture:a builtin:not-a-subject');
  for (const facts of [
    {},
    { 'bulkhead.dev/image': image },
    { 'bulkhead.dev/image': image, 'bulkhead.dev/host': 'h2' },
  ]) {
    assert.equal(verdict(set, labels(facts), outside), 'deny builtin:no-segment builtin:not-a-subject');
  }
});

test('isolation that a segment demands and nobody measured closes the workload', () => {
  const measured = (kind: string, boundary: string): Party =>
    workload({ app: 'a', 'bulkhead.dev/class': kind, 'bulkhead.dev/boundary': boundary });
  const outcome = (isolation: object, party: Party): string => {
    const set = policySetOf([
      segment('a', { posture: { egress: 'allow', isolation } }),
      policy('platform', { action: 'allow' }),
    ]);
    return verdict(set, party, outside).split(' ').slice(0, 2).join(' ');
  };
  assert.equal(outcome({ class: 'sandbox' }, measured('sandbox', 'none')), 'allow platform/allow0');
  assert.equal(outcome({ class: 'sandbox' }, measured('shared', 'none')), 'deny builtin:isolation');
  assert.equal(outcome({ class: 'microvm' }, measured('microvm', 'hardware')), 'allow platform/allow0');
  assert.equal(outcome({ class: 'microvm' }, measured('microvm', 'emulated')), 'deny builtin:isolation');
  assert.equal(outcome({ class: 'sandbox' }, measured('microvm', 'emulated')), 'deny builtin:isolation');
  assert.equal(
    outcome({ class: 'microvm', allowEmulated: true }, measured('microvm', 'emulated')),
    'allow platform/allow0',
  );
  assert.equal(
    outcome({ class: 'shared', boundary: 'hardware' }, measured('shared', 'none')),
    'deny builtin:isolation',
  );
  assert.equal(outcome({ class: 'shared' }, a), 'deny builtin:isolation');
});

test('the question of a rule, with its defaults; other terms have another digest', () => {
  const terms = (rule: object, spec: object = {}) => {
    const set = policySetOf([
      {
        apiVersion,
        kind: 'Policy',
        metadata: { name: 'q' },
        spec: { rules: [{ name: 'r', action: 'ask', ...rule }], ...spec },
      },
    ]);
    return questionTerms(set, { tier: 'application', policy: 'q', rule: 'r' });
  };
  const { digest, ...plain } = terms({})!;
  assert.deepEqual(plain, {
    when: null,
    timeZone: 'UTC',
    otherwise: 'deny',
    timeoutMs: 2_000,
    unreachable: 'deny',
    remember: { scope: 'connection', forSeconds: 0 },
    approve: null,
    pending: 'hold',
  });
  assert.deepEqual(terms({ approve: { by: 'approver', within: '10m' } })?.approve, {
    by: 'approver',
    withinSeconds: 600,
  });
  assert.equal(terms({ to: { host: true }, live: 'reset' })?.digest, digest);
  for (const other of [
    terms({ when: 'true' }),
    terms({ hold: { timeoutMs: 5 } }),
    terms({}, { timeZone: 'Europe/Vienna' }),
  ])
    assert.notEqual(other?.digest, digest);
  assert.equal(terms({ action: 'allow' }), null);
});

test('the order of documents has no meaning', () => {
  fc.assert(
    fc.property(fc.integer(), fc.nat(8), fc.nat(12), (seed, segments, policies) => {
      const random = seededRandom(seed);
      const documents = generateDocuments(random, { segments, policies });
      const shuffled = documents.map((document) => [random(1_000), document] as const).sort(([x], [y]) => x - y);
      const [one, other] = [policySetOf(documents), policySetOf(shuffled.map(([, document]) => document))];
      const identities = generateIdentities(random, 6);
      for (let count = 0; count < 50; count++) {
        const flow = generateFlow(random, identities);
        assert.deepEqual(decide(one, flow), decide(other, flow));
      }
    }),
    { numRuns: 200 },
  );
});
