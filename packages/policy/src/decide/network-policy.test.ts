import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Labels, namedPortPrefix, namespaceLabel, type Party } from '../model.ts';
import type { PolicySet } from '../resolve/policy-set.ts';
import { reasonText } from '../resolve/reason.ts';
import { namespace, networkPolicy, podOf, policy, policySetOf, segment, service } from '../testing/written.ts';
import { decide } from './decide.ts';

const outside: Party = { kind: 'address', address: '203.0.113.7' };
const host: Party = { kind: 'host' };

function reasons(set: PolicySet, source: Party, destination: Party, to = 'tcp 80'): string {
  const { action, egress, ingress } = decide(set, { source, destination, ...service(to) });
  return `${action} ${reasonText(egress.reason)} ${reasonText(ingress.reason)}`;
}

function allows(set: PolicySet, source: Party, destination: Party, to = 'tcp 80'): boolean {
  return decide(set, { source, destination, ...service(to) }).action === 'allow';
}

test('a namespace with a document is open until a policy selects a pod, per direction', () => {
  const open = policySetOf([namespace('x')]);
  const [a, b] = [podOf(open, 'x', { labels: { app: 'a' } }), podOf(open, 'x', { labels: { app: 'b' } })];
  assert.equal(reasons(open, a, b), 'allow posture:namespace/x posture:namespace/x');
  assert.equal(reasons(open, podOf(open, 'y'), a), 'deny builtin:no-segment posture:namespace/x');
  const selected = policySetOf([
    namespace('x'),
    networkPolicy('x/web', { podSelector: { matchLabels: { app: 'b' } } }),
  ]);
  assert.equal(reasons(selected, a, b), 'deny posture:namespace/x application/NetworkPolicy:x/web/ingress-isolation');
  assert.equal(reasons(selected, b, a), 'allow posture:namespace/x posture:namespace/x');
});

test("a pod's own machine gets to it though a policy isolates it, and it not to the machine", () => {
  const set = policySetOf([
    namespace('x'),
    networkPolicy('x/closed', { podSelector: {}, policyTypes: ['Ingress', 'Egress'] }),
  ]);
  const pod = podOf(set, 'x');
  assert.equal(
    reasons(set, host, pod),
    'allow builtin:not-a-subject application/NetworkPolicy:x/closed/ingress-from-node',
  );
  assert.equal(
    reasons(set, pod, host, 'udp 53'),
    'deny application/NetworkPolicy:x/closed/egress-isolation builtin:not-a-subject',
  );
});

test('a workload in a segment too has the strictest posture of both', () => {
  const wide = (posture: object) => segment('wide', { selector: {}, posture });
  const strict = policySetOf([namespace('x'), wide({ ingress: 'reject' })]);
  assert.equal(reasons(strict, podOf(strict, 'x'), podOf(strict, 'x')), 'deny posture:wide posture:wide');
  const open = policySetOf([namespace('x'), wide({ ingress: 'allow', egress: 'allow' })]);
  assert.equal(reasons(open, podOf(open, 'x'), podOf(open, 'x')), 'allow posture:wide posture:wide');
});

test('policy types: ingress where nothing is said, egress only with rules of it; rules of another type do nothing', () => {
  const directions = (spec: object): string => {
    const set = policySetOf([namespace('x'), networkPolicy('x/p', { podSelector: {}, ...spec })]);
    const pod = podOf(set, 'x');
    const { egress, ingress } = decide(set, { source: pod, destination: outside, ...service('tcp 80') });
    const into = decide(set, { source: outside, destination: pod, ...service('tcp 80') }).ingress;
    assert.equal(ingress.action, 'allow');
    return `${into.action === 'deny' ? 'ingress ' : ''}${egress.action === 'deny' ? 'egress' : ''}`;
  };
  const rule = { ports: [{ port: 1 }] };
  assert.equal(directions({}), 'ingress ');
  assert.equal(directions({ policyTypes: [] }), 'ingress ');
  assert.equal(directions({ egress: [] }), 'ingress ');
  assert.equal(directions({ egress: [rule] }), 'ingress egress');
  assert.equal(directions({ ingress: [rule], policyTypes: ['Egress'] }), 'egress');
  assert.equal(directions({ egress: [rule], policyTypes: ['Ingress'] }), 'ingress ');
  assert.equal(directions({ policyTypes: ['Ingress', 'Egress'], ingress: null, egress: null }), 'ingress egress');
  assert.equal(directions({ ingress: [{}], egress: [{}] }), '');
});

test('no peers are everybody, a peer of pods alone is of its own namespace, and both selectors must match', () => {
  const labels = { team: 'a' };
  const reached = (from: unknown): string => {
    const set = policySetOf([
      namespace('x', labels),
      namespace('y', labels),
      namespace('z'),
      networkPolicy('x/p', { podSelector: {}, ingress: [{ from }] }),
    ]);
    const subject = podOf(set, 'x');
    const pods = ['x', 'y', 'z'].flatMap((name) => [
      [`${name}+`, podOf(set, name, { labels: { app: 'web' } })] as const,
      [name, podOf(set, name)] as const,
    ]);
    const sources = [...pods, ['outside', outside] as const];
    const flow = { destination: subject, ...service('tcp 80') };
    return sources
      .filter(([, source]) => decide(set, { source, ...flow }).ingress.action === 'allow')
      .map(([name]) => name)
      .join(' ');
  };
  const web = { matchLabels: { app: 'web' } };
  const team = { matchLabels: labels };
  assert.equal(reached(null), 'x+ x y+ y z+ z outside');
  assert.equal(reached([]), 'x+ x y+ y z+ z outside');
  assert.equal(reached([{ podSelector: {} }]), 'x+ x');
  assert.equal(reached([{ podSelector: web }]), 'x+');
  assert.equal(reached([{ namespaceSelector: {} }]), 'x+ x y+ y z+ z');
  assert.equal(reached([{ namespaceSelector: team, podSelector: web }]), 'x+ y+');
  assert.equal(reached([{ namespaceSelector: team }, { podSelector: web }]), 'x+ x y+ y');
  assert.equal(reached([{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'z' } } }]), 'z+ z');
});

test('selectors: contradictions select nobody; NotIn and DoesNotExist match where the label is missing', () => {
  const huge = Array.from({ length: 5_000 }, (_, index) => `v${index}`);
  const selected = (podSelector: object): string => {
    const set = policySetOf([namespace('x'), networkPolicy('x/p', { podSelector })]);
    const sets: Record<string, Labels> = { none: {}, a: { app: 'a' }, v7: { app: 'v7' }, empty: { app: '' } };
    const isolated = Object.entries(sets).filter(
      ([, labels]) => !allows(set, podOf(set, 'x'), podOf(set, 'x', { labels })),
    );
    return isolated.map(([name]) => name).join(' ');
  };
  const expression = (operator: string, ...values: string[]) => ({
    matchExpressions: [{ key: 'app', operator, ...(values.length === 0 ? {} : { values }) }],
  });
  assert.equal(selected({}), 'none a v7 empty');
  assert.equal(selected({ matchLabels: {}, matchExpressions: [] }), 'none a v7 empty');
  assert.equal(selected(expression('NotIn', 'a')), 'none v7 empty');
  assert.equal(selected(expression('DoesNotExist')), 'none');
  assert.equal(selected(expression('Exists')), 'a v7 empty');
  assert.equal(selected(expression('In', '')), 'empty');
  assert.equal(selected(expression('In', ...huge)), 'v7');
  assert.equal(selected(expression('NotIn', ...huge)), 'none a empty');
  const both = [
    { key: 'app', operator: 'Exists' },
    { key: 'app', operator: 'DoesNotExist' },
  ];
  assert.equal(selected({ matchExpressions: both }), '');
  assert.equal(selected({ matchLabels: { app: 'a' }, ...expression('NotIn', 'a') }), '');
});

test('several policies allow the union of what each allows', () => {
  const set = policySetOf([
    namespace('x'),
    networkPolicy('x/a', { podSelector: {}, ingress: [{ ports: [{ port: 80 }] }] }),
    networkPolicy('x/b', { podSelector: {}, ingress: [{ ports: [{ port: 81 }] }] }),
    networkPolicy('x/c', { podSelector: {} }),
  ]);
  const pod = podOf(set, 'x');
  const at = (port: number): string => reasonText(decide(set, flowTo(pod, port)).ingress.reason);
  assert.equal(at(80), 'application/NetworkPolicy:x/a/ingress[0]');
  assert.equal(at(81), 'application/NetworkPolicy:x/b/ingress[0]');
  assert.equal(at(82), 'application/NetworkPolicy:x/a/ingress-isolation');
});

function flowTo(destination: Party, port: number) {
  return { source: outside, destination, protocol: 6, port };
}

test('ports: TCP where no protocol is said, all of a protocol where no port is, ranges with both ends, SCTP', () => {
  const open = (...ports: object[]): string => {
    const set = policySetOf([namespace('x'), networkPolicy('x/p', { podSelector: {}, ingress: [{ ports }] })]);
    const pod = podOf(set, 'x');
    return ['tcp 79', 'tcp 80', 'tcp 82', 'tcp 83', 'udp 80', 'sctp 80', 'sctp 81', 'icmp 2048']
      .filter((to) => allows(set, pod, pod, to))
      .join(', ');
  };
  assert.equal(open(), 'tcp 79, tcp 80, tcp 82, tcp 83, udp 80, sctp 80, sctp 81, icmp 2048');
  assert.equal(open({}), 'tcp 79, tcp 80, tcp 82, tcp 83');
  assert.equal(open({ port: 80 }), 'tcp 80');
  assert.equal(open({ protocol: 'SCTP' }), 'sctp 80, sctp 81');
  assert.equal(open({ protocol: 'SCTP', port: 81 }, { protocol: 'UDP', port: 80 }), 'udp 80, sctp 81');
  assert.equal(open({ port: 80, endPort: 82 }), 'tcp 80, tcp 82');
  assert.equal(open({ protocol: 'SCTP', port: 80, endPort: 80 }), 'sctp 80');
});

test('a named port is what the destination says it is, by name and protocol', () => {
  const rules = { ports: [{ port: 'web' }, { protocol: 'UDP', port: 'dns' }, { protocol: 'SCTP', port: 'web' }] };
  const set = policySetOf([
    namespace('x'),
    networkPolicy('x/p', { podSelector: { matchLabels: { app: 'in' } }, ingress: [rules] }),
    networkPolicy('x/q', { podSelector: { matchLabels: { app: 'out' } }, egress: [rules], policyTypes: ['Egress'] }),
  ]);
  const caller = podOf(set, 'x', { labels: { app: 'out' }, ports: { web: 'tcp-9' } });
  const at = (ports: Labels, to: string): string => {
    const pod = podOf(set, 'x', { labels: { app: 'in' }, ports });
    const { egress, ingress } = decide(set, { source: caller, destination: pod, ...service(to) });
    assert.equal(egress.action, ingress.action);
    return egress.action;
  };
  assert.equal(at({ web: 'tcp-80' }, 'tcp 80'), 'allow');
  assert.equal(at({ web: 'tcp-8080' }, 'tcp 8080'), 'allow');
  assert.equal(at({ web: 'tcp-8080' }, 'tcp 80'), 'deny');
  assert.equal(at({ web: 'udp-80' }, 'tcp 80'), 'deny');
  assert.equal(at({ web: 'udp-80' }, 'udp 80'), 'deny');
  assert.equal(at({ dns: 'tcp-53_udp-53' }, 'udp 53'), 'allow');
  assert.equal(at({ dns: 'tcp-53_udp-53' }, 'tcp 53'), 'deny');
  assert.equal(at({ web: 'tcp-80_sctp-81' }, 'sctp 81'), 'allow');
  assert.equal(at({}, 'tcp 9'), 'deny');
  assert.equal(at({ web: 'tcp-0_tcp-65536_tcp-_-80_tcp-080' }, 'tcp 80'), 'deny');
  assert.equal(decide(set, { source: caller, destination: outside, ...service('tcp 9') }).egress.action, 'deny');
});

test('an ipBlock stands for addresses outside and for pods by their addresses, without its exceptions', () => {
  const set = policySetOf([
    namespace('x'),
    networkPolicy('x/p', {
      podSelector: {},
      // The bits after the length mean nothing.
      ingress: [{ from: [{ ipBlock: { cidr: '10.1.2.3/8', except: ['10.1.0.0/16', '10.2.0.0/16'] } }] }],
    }),
    networkPolicy('x/six', { podSelector: {}, ingress: [{ from: [{ ipBlock: { cidr: 'fd00::/8' } }] }] }),
  ]);
  const pod = podOf(set, 'x');
  const from = (source: Party): boolean =>
    decide(set, { source, destination: pod, ...service('tcp 80') }).ingress.action === 'allow';
  const addresses = ['10.0.0.1', '10.1.0.1', '10.2.255.255', '10.3.0.0', '11.0.0.1', 'fd00::1', 'fe00::1'];
  const expected = [true, false, false, true, false, true, false];
  assert.deepEqual(
    addresses.map((address) => from({ kind: 'address', address })),
    expected,
  );
  assert.deepEqual(
    addresses.map((address) => from(podOf(set, 'other', { addresses: [address] }))),
    expected,
  );
  assert.equal(from(podOf(set, 'other', { addresses: ['192.0.2.1', 'fd00::5'] })), true);
  assert.equal(from(podOf(set, 'other')), false);
});

test('a network of a Policy stands for addresses outside alone, beside an ipBlock of the same network', () => {
  const set = policySetOf([
    namespace('x'),
    networkPolicy('x/p', { podSelector: {}, ingress: [{ from: [{ ipBlock: { cidr: '10.0.0.0/8' } }] }] }),
    policy('deny', [{ name: 'r', action: 'deny', from: { cidr: '10.0.0.0/8' } }]),
  ]);
  const pod = podOf(set, 'x', { addresses: ['10.0.0.5'] });
  assert.equal(allows(set, pod, pod), true);
  assert.equal(allows(set, { kind: 'address', address: '10.0.0.5' }, pod), false);
});

test('rules of a Policy beside a NetworkPolicy: a denial is a denial, an allowance comes before what the other closes', () => {
  const set = (action: string) =>
    policySetOf([
      namespace('x'),
      networkPolicy('x/p', { podSelector: {}, ingress: [{ ports: [{ port: 80 }] }] }),
      policy('ours', [{ name: 'r', action, applies: 'ingress', ports: [{ protocol: 'tcp', port: 80, endPort: 81 }] }]),
    ]);
  const outcome = (action: string): string => {
    const given = set(action);
    const pod = podOf(given, 'x');
    return [80, 81, 82].map((port) => decide(given, flowTo(pod, port)).ingress.action).join(' ');
  };
  assert.equal(outcome('allow'), 'allow allow deny');
  assert.equal(outcome('deny'), 'deny deny deny');
  assert.equal(outcome('ask'), 'ask ask deny');
  // What is passed on is not closed by this tier; the namespace is open.
  assert.equal(outcome('pass'), 'allow allow deny');
});

test('with order: listed our rules come first as listed, then what is allowed, then what is closed', () => {
  const set = policySetOf([
    {
      apiVersion: 'bulkhead.dev/v1',
      kind: 'Tier',
      metadata: { name: 'application' },
      spec: { position: 300, order: 'listed' },
    },
    namespace('x'),
    networkPolicy('x/p', { podSelector: {}, ingress: [{ ports: [{ port: 80 }] }] }),
    policy('ours', [
      { name: 'allow-81', action: 'allow', ports: [{ protocol: 'tcp', port: 81 }] },
      { name: 'deny', action: 'deny', ports: [{ protocol: 'tcp', port: 81, endPort: 82 }] },
    ]),
  ]);
  const pod = podOf(set, 'x');
  assert.deepEqual(
    [80, 81, 82, 83].map((port) => reasonText(decide(set, flowTo(pod, port)).ingress.reason)),
    [
      'application/NetworkPolicy:x/p/ingress[0]',
      'application/ours/allow-81',
      'application/ours/deny',
      'application/NetworkPolicy:x/p/ingress-isolation',
    ],
  );
});

test('a pod is in the namespace that its label says, and in no other', () => {
  const set = policySetOf([namespace('x'), networkPolicy('x/p', { podSelector: {} })]);
  const bare: Party = { kind: 'workload', labels: { [`${namedPortPrefix}web`]: 'tcp-80' } };
  assert.equal(decide(set, { source: bare, destination: bare, ...service('tcp 80') }).ingress.action, 'deny');
  const prototype: Party = { kind: 'workload', labels: { [namespaceLabel]: 'constructor' } };
  assert.equal(reasons(set, prototype, prototype), 'deny builtin:no-segment builtin:no-segment');
});
