/** The admin policies of Kubernetes, after what its own conformance tests ask of them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Direction, Labels, Party } from '../model.ts';
import type { PolicySet } from '../resolve/policy-set.ts';
import { reasonText } from '../resolve/reason.ts';
import {
  adminPolicy,
  baselinePolicy,
  clusterPolicy,
  namespace,
  networkPolicy,
  podOf,
  policy,
  policySetOf,
  segment,
  service,
  tier,
} from '../testing/written.ts';
import { decide } from './decide.ts';

const houses = ['red', 'green', 'blue', 'gold'] as const;
const named = (name: string) => ({ matchLabels: { 'kubernetes.io/metadata.name': name } });
const world = houses.map((name) => namespace(name, { house: name }));
const outside = (address: string, ...names: string[]): Party => ({ kind: 'address', address, names });

/** What decides at red's end of a connection with the other namespace. */
function at(set: PolicySet, direction: Direction, far: string | Party, to: string): string {
  const [red, other] = [podOf(set, 'red'), typeof far === 'string' ? podOf(set, far) : far];
  const [source, destination] = direction === 'egress' ? [red, other] : [other, red];
  const { action, reason } = decide(set, { source, destination, ...service(to) })[direction];
  return `${action} ${reasonText(reason)}`;
}

/** The same policy of ordered rules in each version of the API; `ports` and `allow` are written in each version's way. */
const forms = {
  admin: (spec: object) => adminPolicy('p', { priority: 15, ...spec }),
  baseline: baselinePolicy,
  cluster: (spec: object) => clusterPolicy('p', { tier: 'Admin', priority: 15, ...spec }),
  clusterBaseline: (spec: object) => clusterPolicy('p', { tier: 'Baseline', priority: 15, ...spec }),
};

for (const [form, document] of Object.entries(forms)) {
  const isCluster = form.startsWith('cluster');
  const allow = isCluster ? 'Accept' : 'Allow';
  const ports = (...given: readonly (readonly [string, number, number?])[]) => {
    const list = given.map(([protocol, port, end]) => {
      const upper = protocol.toUpperCase();
      if (isCluster) {
        const number = end === undefined ? { number: port } : { range: { start: port, end } };
        return { [protocol]: { destinationPort: number } };
      }
      return end === undefined
        ? { portNumber: { protocol: upper, port } }
        : { portRange: { protocol: upper, start: port, end } };
    });
    return isCluster ? { protocols: list } : { ports: list };
  };

  test(`${form}: of its rules the first that matches decides; egress and ingress are apart; the rest stays open`, () => {
    const peers = (name: string) => [{ namespaces: named(name) }];
    const rules = (end: 'from' | 'to') => [
      { name: `${end}-green`, action: allow, [end]: peers('green') },
      { name: `${end}-green-denied`, action: 'Deny', [end]: peers('green') },
      {
        name: `${end}-blue-80`,
        action: 'Deny',
        [end]: peers('blue'),
        ...ports(['tcp', 80], ['udp', 53], ['sctp', 9003]),
      },
      { name: `${end}-gold-range`, action: allow, [end]: peers('gold'), ...ports(['tcp', 8000, 8080]) },
      { name: `${end}-gold-rest`, action: 'Deny', [end]: peers('gold') },
    ];
    const set = policySetOf([
      ...world,
      document({ subject: { namespaces: named('red') }, ingress: rules('from'), egress: rules('to') }),
    ]);
    const reference = reasonText(
      decide(set, { source: podOf(set, 'red'), destination: podOf(set, 'green'), ...service('tcp 80') }).egress.reason,
    ).replace('to-green', '');
    for (const [direction, end] of [
      ['egress', 'to'],
      ['ingress', 'from'],
    ] as const) {
      const decided = (far: string, to: string) => at(set, direction, far, to).replace(`${reference}${end}-`, '');
      assert.equal(decided('green', 'tcp 80'), 'allow green');
      assert.equal(decided('green', 'icmp 2048'), 'allow green');
      assert.equal(decided('blue', 'tcp 80'), 'deny blue-80');
      assert.equal(decided('blue', 'udp 53'), 'deny blue-80');
      assert.equal(decided('blue', 'sctp 9003'), 'deny blue-80');
      assert.equal(decided('blue', 'tcp 81'), 'allow posture:namespace/red');
      assert.equal(decided('gold', 'tcp 7999'), 'deny gold-rest');
      assert.equal(decided('gold', 'tcp 8000'), 'allow gold-range');
      assert.equal(decided('gold', 'tcp 8080'), 'allow gold-range');
      assert.equal(decided('gold', 'udp 8000'), 'deny gold-rest');
      assert.equal(decided('red', 'tcp 80'), 'allow posture:namespace/red');
    }
  });

  test(`${form}: pods by namespace and own labels; with rules of one direction the other stays open; a pod may meet itself`, () => {
    const labels = { app: 'db' };
    const pods = { namespaceSelector: {}, podSelector: { matchLabels: labels } };
    const set = policySetOf([
      ...world,
      document({ subject: { pods }, ingress: [{ action: 'Deny', from: [{ pods }] }] }),
    ]);
    const [db, web] = [podOf(set, 'red', { labels }), podOf(set, 'red')];
    const verdict = (source: Party, destination: Party) =>
      decide(set, { source, destination, ...service('tcp 80') }).action;
    assert.equal(verdict(db, db), 'deny');
    assert.equal(verdict(db, web), 'allow');
    assert.equal(verdict(web, db), 'allow');
  });

  test(`${form}: named ports are the destination's, of whatever protocol`, () => {
    const namedPorts = isCluster ? { protocols: [{ destinationNamedPort: 'web' }] } : { ports: [{ namedPort: 'web' }] };
    const set = policySetOf([
      ...world,
      document({
        subject: { namespaces: named('red') },
        egress: [{ action: 'Deny', to: [{ namespaces: {} }], ...namedPorts }],
      }),
    ]);
    const verdict = (given: Labels, to: string) =>
      decide(set, { source: podOf(set, 'red'), destination: podOf(set, 'blue', { ports: given }), ...service(to) })
        .action;
    assert.equal(verdict({ web: 'tcp-8080' }, 'tcp 8080'), 'deny');
    assert.equal(verdict({ web: 'tcp-80_udp-443' }, 'udp 443'), 'deny');
    assert.equal(verdict({ web: 'tcp-80_udp-443' }, 'tcp 443'), 'allow');
    assert.equal(verdict({ other: 'tcp-80' }, 'tcp 80'), 'allow');
  });

  test(`${form}: networks stand for pods too, nodes for hosts by their labels, domain names for what the pod learnt`, () => {
    const set = policySetOf([
      ...world,
      document({
        subject: { namespaces: named('red') },
        egress: [
          { name: 'network', action: allow, to: [{ networks: ['10.0.0.0/24', '2001:db8::/32'] }] },
          { name: 'nodes', action: allow, to: [{ nodes: { matchLabels: { zone: 'a' } } }] },
          { name: 'names', action: allow, to: [{ domainNames: ['*.example.com', 'Exact.Example.ORG.'] }] },
          { name: 'rest', action: 'Deny', to: [{ networks: ['0.0.0.0/0', '::/0'] }, { nodes: {} }] },
        ],
      }),
    ]);
    const rule = (far: Party): string => at(set, 'egress', far, 'tcp 443').split('/').at(-1)!;
    assert.equal(rule(outside('10.0.0.9')), 'network');
    assert.equal(rule(podOf(set, 'blue', { addresses: ['10.0.0.9'] })), 'network');
    assert.equal(rule(podOf(set, 'blue', { addresses: ['10.0.1.9'] })), 'rest');
    assert.equal(rule(outside('2001:db8::1')), 'network');
    assert.equal(rule(outside('192.0.2.1')), 'rest');
    assert.equal(rule({ kind: 'host', labels: { zone: 'a' } }), 'nodes');
    assert.equal(rule({ kind: 'host', labels: { zone: 'b' } }), 'rest');
    assert.equal(rule(outside('192.0.2.1', 'api.example.com')), 'names');
    assert.equal(rule(outside('192.0.2.1', 'a.b.example.com')), 'names');
    assert.equal(rule(outside('192.0.2.1', 'example.com')), 'rest');
    assert.equal(rule(outside('192.0.2.1', 'notexample.com')), 'rest');
    assert.equal(rule(outside('192.0.2.1', 'exact.example.org')), 'names');
    assert.equal(rule(outside('192.0.2.1', 'www.exact.example.org')), 'rest');
  });
}

test('a lower number comes first; a tie is settled by the names, whatever order the documents are given in', () => {
  const cnp = (name: string, priority: number, action: string) =>
    clusterPolicy(name, {
      tier: 'Admin',
      priority,
      subject: { namespaces: {} },
      egress: [{ action, to: [{ namespaces: {} }] }],
    });
  const decided = (...documents: object[]): string => {
    const forward = at(policySetOf([...world, ...documents]), 'egress', 'blue', 'tcp 80');
    assert.equal(at(policySetOf([...documents.toReversed(), ...world]), 'egress', 'blue', 'tcp 80'), forward);
    return forward;
  };
  assert.equal(decided(cnp('z', 0, 'Accept'), cnp('a', 1, 'Deny')), 'allow security/ClusterNetworkPolicy:z/egress[0]');
  assert.equal(decided(cnp('a', 1000, 'Deny'), cnp('b', 999, 'Pass')), 'allow posture:namespace/red');
  assert.equal(decided(cnp('a', 5, 'Deny'), cnp('b', 5, 'Accept')), 'deny security/ClusterNetworkPolicy:a/egress[0]');
});

test('Pass leaves a flow to NetworkPolicies, and where none selects the pod to the baseline', () => {
  const green = [{ namespaces: named('green') }];
  const admin = (action: string) =>
    adminPolicy('p', {
      priority: 10,
      subject: { namespaces: named('red') },
      ingress: [{ name: 'green', action, from: green }],
      egress: [{ name: 'green-too', action, to: green }],
    });
  const allowGreen = networkPolicy('red/allow-green', {
    podSelector: null,
    policyTypes: ['Ingress', 'Egress'],
    ingress: [{ from: [{ namespaceSelector: named('green') }] }],
    egress: [{ to: [{ namespaceSelector: named('green') }] }],
  });
  const baseline = baselinePolicy({
    subject: { namespaces: named('red') },
    ingress: [{ name: 'no-green', action: 'Deny', from: green }],
    egress: [{ name: 'no-green', action: 'Deny', to: green }],
  });
  const sides = (far: string, ...documents: object[]): string => {
    const set = policySetOf([...world, ...documents]);
    return (['ingress', 'egress'] as const).map((direction) => at(set, direction, far, 'tcp 80')).join(', ');
  };
  const [np, banp] = ['application/NetworkPolicy:red/allow-green', 'baseline/BaselineAdminNetworkPolicy:default'];
  assert.equal(
    sides('green', admin('Deny'), allowGreen, baseline),
    'deny security/AdminNetworkPolicy:p/green, deny security/AdminNetworkPolicy:p/green-too',
  );
  assert.equal(sides('green', admin('Pass'), allowGreen, baseline), `allow ${np}/ingress[0], allow ${np}/egress[0]`);
  assert.equal(sides('green', admin('Pass'), baseline), `deny ${banp}/ingress[0], deny ${banp}/egress[0]`);
  assert.equal(sides('green', admin('Pass')), 'allow posture:namespace/red, allow posture:namespace/red');
  // A pod that a NetworkPolicy selects never gets to the baseline.
  assert.equal(sides('blue', admin('Pass'), allowGreen), `deny ${np}/ingress-isolation, deny ${np}/egress-isolation`);
});

test('admin and cluster policies of one tier are one order; the baseline without a priority comes last', () => {
  const rule = (action: string) => ({ subject: { namespaces: {} }, egress: [{ action, to: [{ namespaces: {} }] }] });
  const decided = (...documents: object[]) => at(policySetOf([...world, ...documents]), 'egress', 'blue', 'tcp 80');
  const cluster = (tierName: string, priority: number, action: string) =>
    clusterPolicy('c', { tier: tierName, priority, ...rule(action) });
  const admin = adminPolicy('a', { priority: 5, ...rule('Deny') });
  assert.equal(decided(admin, cluster('Admin', 4, 'Accept')), 'allow security/ClusterNetworkPolicy:c/egress[0]');
  assert.equal(decided(admin, cluster('Admin', 6, 'Accept')), 'deny security/AdminNetworkPolicy:a/egress[0]');
  const last = decided(baselinePolicy(rule('Deny')), cluster('Baseline', 1000, 'Accept'));
  assert.equal(last, 'allow baseline/ClusterNetworkPolicy:c/egress[0]');
  const both = decided(cluster('Baseline', 0, 'Deny'), adminPolicy('a', { priority: 1, ...rule('Allow') }));
  assert.equal(both, 'allow security/AdminNetworkPolicy:a/egress[0]');
});

/** Every action of ours beside every value of the ordered block, in the tier of both. */
test('our rules and the ordered block of a tier combine by severity: denial, question, pass, allowance', () => {
  const combined = (action: string, ordered: string, order: string): string => {
    const set = policySetOf([
      ...world,
      tier('security', { position: 200, order }),
      policy('ours', [{ name: 'r', action }], { tier: 'security' }),
      adminPolicy('p', {
        priority: 1,
        subject: { namespaces: {} },
        egress: [
          { name: 'first', action: ordered, to: [{ namespaces: {} }] },
          { name: 'shadowed', action: ordered === 'Deny' ? 'Allow' : 'Deny', to: [{ namespaces: {} }] },
        ],
      }),
    ]);
    return at(set, 'egress', 'blue', 'tcp 80').replace('security/', '').replace('AdminNetworkPolicy:', '');
  };
  const rows = (order: string) =>
    ['deny', 'reject', 'ask', 'pass', 'allow'].map((action) =>
      ['Deny', 'Pass', 'Allow'].map((ordered) => combined(action, ordered, order)).join(' | '),
    );
  assert.deepEqual(rows('severity'), [
    'deny ours/r | deny ours/r | deny ours/r',
    'reject ours/r | reject ours/r | reject ours/r',
    'deny p/first | ask ours/r | ask ours/r',
    'deny p/first | allow posture:namespace/red | allow posture:namespace/red',
    'deny p/first | allow posture:namespace/red | allow p/first',
  ]);
  assert.deepEqual(rows('listed'), [
    'deny ours/r | deny ours/r | deny ours/r',
    'reject ours/r | reject ours/r | reject ours/r',
    'ask ours/r | ask ours/r | ask ours/r',
    'allow posture:namespace/red | allow posture:namespace/red | allow posture:namespace/red',
    'allow ours/r | allow ours/r | allow ours/r',
  ]);
});

test('a port of an admin policy without a protocol is of TCP', () => {
  const ports = [{ portNumber: { port: 80 } }, { portRange: { start: 90, end: 91 } }];
  const egress = [{ action: 'Deny', to: [{ namespaces: {} }], ports }];
  const set = policySetOf([...world, adminPolicy('p', { priority: 1, subject: { namespaces: {} }, egress })]);
  const denied = ['tcp 80', 'udp 80', 'tcp 91', 'sctp 91'].filter((to) =>
    at(set, 'egress', 'blue', to).startsWith('deny'),
  );
  assert.deepEqual(denied, ['tcp 80', 'tcp 91']);
});

test('workloads in no namespace are nobody to the policies of Kubernetes, beside our own', () => {
  const set = policySetOf([
    ...world,
    segment('plain', { selector: { matchLabels: { app: 'plain' } }, posture: { ingress: 'allow', egress: 'allow' } }),
    adminPolicy('p', {
      priority: 1,
      subject: { namespaces: {} },
      ingress: [{ action: 'Deny', from: [{ namespaces: {} }] }],
    }),
  ]);
  const plain: Party = { kind: 'workload', labels: { app: 'plain' } };
  const verdict = (source: Party, destination: Party) =>
    decide(set, { source, destination, ...service('tcp 80') }).action;
  assert.equal(verdict(podOf(set, 'red'), plain), 'allow');
  assert.equal(verdict(plain, podOf(set, 'red')), 'allow');
  assert.equal(verdict(podOf(set, 'undocumented'), podOf(set, 'red')), 'deny');
});

test('the name of a rule is its own where no other has it and it can stand in a reference, else its place', () => {
  const to = [{ namespaces: {} }];
  const at80 = (port: number, name?: string) => ({
    ...(name === undefined ? {} : { name }),
    action: 'Deny',
    to,
    ports: [{ portNumber: { protocol: 'TCP', port } }],
  });
  const egress = [at80(1, 'one'), at80(2, 'twin'), at80(3, 'twin'), at80(4, 'a name/with more'), at80(5)];
  const set = policySetOf([...world, adminPolicy('p', { priority: 1, subject: { namespaces: {} }, egress })]);
  const names = [1, 2, 3, 4, 5].map((port) => at(set, 'egress', 'blue', `tcp ${port}`).split('/').at(-1));
  assert.deepEqual(names, ['one', 'egress[1]', 'egress[2]', 'egress[3]', 'egress[4]']);
});
