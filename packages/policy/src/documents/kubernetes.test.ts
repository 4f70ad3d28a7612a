/** Kubernetes' documents as people have them: what is taken, in which form it is kept, and what is refused with which words. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { adminPolicy, baselinePolicy, clusterPolicy, networkPolicy } from '../testing/written.ts';
import { canonicalText } from './canonical.ts';
import { documentKey } from './document.ts';
import { documentLabelKeys } from './label-keys.ts';
import { parseDocument } from './parse.ts';

/** `path: reason (allowed)` of every problem; empty where the document is taken. */
function problems(value: unknown): string[] {
  const parsed = parseDocument(value, { file: 'x.yaml', index: 0 });
  if (parsed.kind === 'ok') return [];
  return parsed.problems.map(({ path, reason, allowed }) => `${path}: ${reason} (${allowed})`);
}

function parsed(value: unknown) {
  const result = parseDocument(value, {});
  if (result.kind === 'refused') assert.fail(JSON.stringify(result.problems));
  return result.document;
}

test('a NetworkPolicy as a cluster gives it, with all that others put there', () => {
  const document = parsed({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: {
      name: 'web',
      namespace: 'shop',
      uid: '6e0f9a80-9a0c-4a1e-8a8e-0d7f8d1d2f11',
      resourceVersion: '12345',
      generation: 1,
      creationTimestamp: '2024-05-01T10:00:00Z',
      annotations: { 'kubectl.kubernetes.io/last-applied-configuration': '{"huge": "text"}' },
      managedFields: [{ manager: 'kubectl', operation: 'Update', fieldsV1: { 'f:spec': {} } }],
      ownerReferences: [{ kind: 'Deployment', name: 'web' }],
    },
    spec: {
      podSelector: { matchLabels: { app: 'web' }, matchExpressions: null },
      ingress: [{ from: null, ports: [] }],
      egress: null,
    },
    status: {},
  });
  assert.equal(documentKey(document), 'NetworkPolicy/shop/web');
  assert.deepEqual(document, {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name: 'web', namespace: 'shop' },
    spec: { podSelector: { matchLabels: { app: 'web' } }, ingress: [{ ports: [] }] },
  });
  const { namespace: _namespace, ...elsewhere } = document.metadata as { name: string; namespace?: string };
  assert.equal(documentKey(parsed({ ...document, metadata: elsewhere })), 'NetworkPolicy/default/web');
});

test("Kubernetes' own Namespace becomes ours, of which there is one", () => {
  const ours = { apiVersion: 'bulkhead.dev/v1', kind: 'Namespace', metadata: { name: 'shop', labels: { team: 'a' } } };
  assert.deepEqual(parsed(ours), ours);
  const theirs = {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { ...ours.metadata, uid: 'u', annotations: null },
    spec: { finalizers: ['kubernetes'] },
    status: { phase: 'Active' },
  };
  assert.deepEqual(parsed(theirs), ours);
  assert.deepEqual(problems({ ...theirs, metadata: { labels: { team: '-' } } }), [
    'metadata.name: is missing (a text)',
    'metadata.labels.team: "-" is no label value (empty, or 1 to 63 of A-Z a-z 0-9 . _ - with a letter or digit at both ends)',
  ]);
});

test('a document is staged by an annotation, and a slip in it enforces nothing', () => {
  const mode = (annotations: Record<string, string>) => networkPolicy('x/p', { podSelector: {} }, annotations);
  assert.deepEqual(problems(mode({ 'bulkhead.dev/mode': 'staged', 'other.tool/mode': 'x' })), []);
  assert.deepEqual(problems(mode({ 'bulkhead.dev/mode': 'stagd' })), [
    'metadata.annotations["bulkhead.dev/mode"]: "stagd" is no mode (staged, enforce)',
  ]);
  assert.deepEqual(problems(mode({ 'bulkhead.dev/moed': 'staged' })), [
    'metadata.annotations["bulkhead.dev/moed"]: the annotation "bulkhead.dev/moed" is not known (bulkhead.dev/mode)',
  ]);
  const staged = parsed(mode({ 'bulkhead.dev/mode': 'staged', 'other.tool/mode': 'x' }));
  assert.deepEqual('annotations' in staged.metadata && staged.metadata.annotations, { 'bulkhead.dev/mode': 'staged' });
});

const ingress = (rule: object) => networkPolicy('x/p', { podSelector: {}, ingress: [rule] });
const port = (fields: object) => ingress({ ports: [fields] });
const from = (peer: object) => ingress({ from: [peer] });
const block = (ipBlock: object) => from({ ipBlock });
const admin = (rule: object) =>
  adminPolicy('p', {
    priority: 1,
    subject: { namespaces: {} },
    egress: [{ action: 'Allow', to: [{ namespaces: {} }], ...rule }],
  });
const cluster = (rule: object, spec: object = {}) =>
  clusterPolicy('p', {
    tier: 'Admin',
    priority: 1,
    subject: { namespaces: {} },
    egress: [{ action: 'Accept', to: [{ namespaces: {} }], ...rule }],
    ...spec,
  });

const taken: readonly (readonly [string, object])[] = [
  ['an empty selector', networkPolicy('x/p', { podSelector: {} })],
  ['no selector', networkPolicy('x/p', {})],
  ['an empty rule', ingress({})],
  [
    'an empty list of values where none may be',
    networkPolicy('x/p', { podSelector: { matchExpressions: [{ key: 'a', operator: 'Exists', values: [] }] } }),
  ],
  [
    'a port of an admin policy without protocol',
    admin({ ports: [{ portNumber: { port: 1 } }, { portRange: { start: 1, end: 2 } }] }),
  ],
  ['a port without protocol', port({ port: 80 })],
  ['a protocol without port', port({ protocol: 'SCTP' })],
  ['a named port', port({ port: 'serve-80-tcp', protocol: 'UDP' })],
  ['a range of one port', port({ port: 80, endPort: 80 })],
  ['bits after the length', block({ cidr: '10.1.2.3/8' })],
  ['an exception', block({ cidr: '10.0.0.0/8', except: ['10.255.0.0/16'] })],
  ['a long name', networkPolicy(`x/${'a.b-'.repeat(60)}c`, { podSelector: {} })],
  ['a pod selector alone in a cluster policy', cluster({ to: [{ pods: { podSelector: {} } }] })],
  ['domain names', cluster({ to: [{ domainNames: ['*.example.com', 'a_b.example.com.'] }] })],
];
for (const [name, value] of taken) test(`taken: ${name}`, () => assert.deepEqual(problems(value), []));

const refused: readonly (readonly [string, unknown, RegExp])[] = [
  [
    'a slip in a field',
    networkPolicy('x/p', { podSelecter: {} }),
    /spec.podSelecter: unknown field "podSelecter"; did you mean "podSelector"\? \(podSelector, ingress, egress, policyTypes\)/,
  ],
  [
    'a slip in a rule',
    ingress({ form: [] }),
    /spec.ingress\[0\].form: unknown field "form"; did you mean "from"\? \(from, ports\)/,
  ],
  ['to in an ingress rule', ingress({ to: [] }), /ingress\[0\].to: unknown field "to".*\(from, ports\)/],
  [
    'a small protocol',
    port({ protocol: 'tcp', port: 1 }),
    /protocol: "tcp" is not known; did you mean "TCP"\? \(TCP, UDP, SCTP\)/,
  ],
  ['a protocol that has no ports', port({ protocol: 'ICMP' }), /protocol: "ICMP" is not known/],
  ['a number in quotes', port({ port: '80' }), /port: "80" is no name of a port \(1 to 15 of a-z 0-9 - with a letter/],
  ['a port of no kind', port({ port: true }), /ports\[0\].port: is true/],
  ['a port out of range', port({ port: 0 }), /ports\[0\].port: is too small \(at least 1\)/],
  [
    'a range from a name',
    port({ port: 'web', endPort: 90 }),
    /endPort: endPort needs a port to start from, and the port is a name/,
  ],
  ['a range from nothing', port({ endPort: 90 }), /endPort needs a port to start from, and there is none/],
  [
    'a reversed range',
    port({ port: 90, endPort: 80 }),
    /endPort: the range 90 to 80 is reversed, so it is empty \(90 to 65535\)/,
  ],
  [
    'nobody as a peer',
    from({}),
    /from\[0\]: the peer names nobody \(podSelector, namespaceSelector, both, or ipBlock\)/,
  ],
  ['a block and pods', from({ ipBlock: { cidr: '10.0.0.0/8' }, podSelector: {} }), /ipBlock: an ipBlock stands alone/],
  ['no network', block({ cidr: '10.0.0.0' }), /ipBlock.cidr: "10.0.0.0" is no network/],
  [
    'an exception outside',
    block({ cidr: '10.0.0.0/8', except: ['11.0.0.0/16'] }),
    /except\[0\]: the exception 11.0.0.0\/16 is no part of 10.0.0.0\/8/,
  ],
  [
    'an exception of all',
    block({ cidr: '10.0.0.0/8', except: ['10.0.0.0/8'] }),
    /except\[0\]: .* is no part of .* \(a smaller network inside/,
  ],
  [
    'another policy type',
    networkPolicy('x/p', { policyTypes: ['ingress'] }),
    /policyTypes\[0\]: "ingress" is not known; did you mean "Ingress"/,
  ],
  [
    'a selector without values',
    networkPolicy('x/p', { podSelector: { matchExpressions: [{ key: 'a', operator: 'In' }] } }),
    /In needs values/,
  ],
  ['a name that is none', networkPolicy('x/Web', { podSelector: {} }), /metadata.name: "Web" is no name/],
  ['a namespace that is none', networkPolicy('x.y/web', { podSelector: {} }), /metadata.namespace: "x.y" is no name/],
  [
    'no spec',
    { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: { name: 'p' } },
    /spec: is missing/,
  ],
  [
    'an older version',
    { ...networkPolicy('x/p', {}), apiVersion: 'extensions/v1beta1' },
    /apiVersion: "extensions\/v1beta1" is not known.* \(networking.k8s.io\/v1\)/,
  ],
  [
    'another kind of that version',
    { ...networkPolicy('x/p', {}), kind: 'Ingress' },
    /kind: "Ingress" is not known.* \(NetworkPolicy\)/,
  ],
  [
    'an admin policy with a cluster policy’s action',
    admin({ action: 'Accept' }),
    /action: "Accept" is not known.*\(Allow, Deny, Pass\)/,
  ],
  [
    'a cluster policy with an admin policy’s action',
    cluster({ action: 'Allow' }),
    /action: "Allow" is not known.*\(Accept, Deny, Pass\)/,
  ],
  ['a priority out of range', cluster({}, { priority: 1_001 }), /spec.priority: is too large \(at most 1000\)/],
  ['a tier of ours', cluster({}, { tier: 'security' }), /spec.tier: "security" is not known \(Admin, Baseline\)/],
  [
    'no subject',
    cluster({}, { subject: {} }),
    /spec.subject: the subject is nobody \(exactly one of namespaces, pods\)/,
  ],
  ['two kinds of peer', admin({ to: [{ namespaces: {}, nodes: {} }] }), /to\[0\]: the peer names namespaces and nodes/],
  ['an empty list of peers', cluster({ to: [] }), /egress\[0\].to: an empty list matches nothing/],
  ['no namespace selector', admin({ to: [{ pods: { podSelector: {} } }] }), /pods.namespaceSelector: is missing/],
  [
    'names that are denied',
    cluster({ action: 'Deny', to: [{ domainNames: ['a.test'] }] }),
    /domainNames: domain names are learnt for what is permitted/,
  ],
  [
    'a name without a dot',
    cluster({ to: [{ domainNames: ['localhost'] }] }),
    /domainNames\[0\]: a domain name has a dot within/,
  ],
  [
    'a wildcard within',
    cluster({ to: [{ domainNames: ['a.*.test'] }] }),
    /domainNames\[0\]: "a.\*.test" is no DNS name/,
  ],
  [
    'named ports of networks',
    admin({ to: [{ networks: ['10.0.0.0/8'] }], ports: [{ namedPort: 'web' }] }),
    /ports\[0\].namedPort: only pods have named ports/,
  ],
  [
    'named ports of nodes',
    cluster({ to: [{ nodes: {} }], protocols: [{ destinationNamedPort: 'web' }] }),
    /destinationNamedPort: only pods have named ports/,
  ],
  [
    'two ports in one',
    admin({ ports: [{ portNumber: { protocol: 'TCP', port: 1 }, namedPort: 'a' }] }),
    /the port has portNumber and namedPort/,
  ],
  [
    'a protocol of nothing',
    cluster({ protocols: [{ tcp: {} }] }),
    /protocols\[0\].tcp: tcp says nothing \(destinationPort\)/,
  ],
  [
    'ports instead of protocols',
    cluster({ ports: [] }),
    /egress\[0\].ports: unknown field "ports".*\(name, action, to, protocols\)/,
  ],
  [
    'a range of one port in a cluster policy',
    cluster({ protocols: [{ udp: { destinationPort: { range: { start: 5, end: 5 } } } }] }),
    /the range 5 to 5 has no two ports/,
  ],
  [
    'another baseline',
    { ...baselinePolicy({ subject: { namespaces: {} } }), metadata: { name: 'mine' } },
    /metadata.name: there is one BaselineAdminNetworkPolicy only \(default\)/,
  ],
  [
    'a pass of the baseline',
    baselinePolicy({ subject: { namespaces: {} }, ingress: [{ action: 'Pass', from: [{ namespaces: {} }] }] }),
    /action: "Pass" is not known \(Allow, Deny\)/,
  ],
];
for (const [name, value, expected] of refused)
  test(`refused: ${name}`, () => assert.match(problems(value).join('\n'), expected));

test('problems name the document with its namespace', () => {
  const result = parseDocument(port({ port: 0 }), { file: 'a.yaml' });
  assert.deepEqual(result.kind === 'refused' && result.problems.map(({ document, file }) => [document, file]), [
    ['NetworkPolicy/x/p', 'a.yaml'],
  ]);
});

test('canonical text fills in what Kubernetes fills in', () => {
  const text = (spec: object) => canonicalText(parsed(networkPolicy('x/p', spec)));
  const short = { podSelector: {}, egress: [{ ports: [{ port: 80 }] }] };
  const long = {
    podSelector: {},
    policyTypes: ['Ingress', 'Egress'],
    ingress: [],
    egress: [{ to: [], ports: [{ protocol: 'TCP', port: 80 }] }],
  };
  assert.equal(text(short), text(long));
  assert.notEqual(text(short), text({ ...long, policyTypes: ['Egress'] }));
});

test('the label keys of each kind: namespaces, selectors, named ports, addresses', () => {
  const keys = (value: unknown) => [...new Set(documentLabelKeys(parsed(value)))].sort();
  const selector = { matchLabels: { a: 'x' }, matchExpressions: [{ key: 'b', operator: 'Exists' }] };
  const namespaceKey = 'io.kubernetes.pod.namespace';
  assert.deepEqual(
    keys(
      networkPolicy('x/p', {
        podSelector: selector,
        ingress: [
          { from: [{ podSelector: { matchLabels: { c: 'x' } }, namespaceSelector: { matchLabels: { team: 'a' } } }] },
          {
            from: [{ ipBlock: { cidr: '10.1.2.3/8', except: ['10.1.0.0/16'] } }],
            ports: [{ port: 'web' }, { port: 80 }],
          },
        ],
        egress: [{ to: [{ ipBlock: { cidr: 'fd00::/8' } }] }],
      }),
    ),
    [
      'a',
      'b',
      'bulkhead.dev/in-10.0.0.0_8',
      'bulkhead.dev/in-10.1.0.0_16',
      'bulkhead.dev/in-fd00--_8',
      'c',
      namespaceKey,
      'ports.bulkhead.dev/web',
    ],
  );
  const pods = { namespaceSelector: { matchLabels: { team: 'a' } }, podSelector: selector };
  const expected = ['a', 'b', 'bulkhead.dev/in-10.0.0.0_8', namespaceKey, 'ports.bulkhead.dev/web'];
  const to = [{ pods }];
  const networks = [{ networks: ['10.0.0.0/8'] }];
  const subject = { namespaces: { matchLabels: { team: 'b' } } };
  const rules = [
    { action: 'Deny', to, ports: [{ namedPort: 'web' }] },
    { action: 'Deny', to: networks },
  ];
  assert.deepEqual(keys(adminPolicy('p', { priority: 1, subject, egress: rules })), expected);
  assert.deepEqual(keys(baselinePolicy({ subject, egress: rules })), expected);
  const protocols = [
    { action: 'Deny', to, protocols: [{ destinationNamedPort: 'web' }] },
    { action: 'Deny', to: networks },
  ];
  assert.deepEqual(keys(cluster({}, { subject, egress: protocols })), expected);
});

test('no value makes the parser throw, and what it takes it takes again', () => {
  const anything = fc.anything({ withNullPrototype: true });
  const kinds = fc.constantFrom(
    ['networking.k8s.io/v1', 'NetworkPolicy'],
    ['policy.networking.k8s.io/v1alpha1', 'AdminNetworkPolicy'],
    ['policy.networking.k8s.io/v1alpha1', 'BaselineAdminNetworkPolicy'],
    ['policy.networking.k8s.io/v1alpha2', 'ClusterNetworkPolicy'],
    ['v1', 'Namespace'],
    ['bulkhead.dev/v1', 'Namespace'],
    ['bulkhead.dev/v1', 'Invariant'],
  );
  const rules = fc.array(fc.record({ from: anything, to: anything, ports: anything, protocols: anything }), {
    maxLength: 2,
  });
  const spec = fc.oneof(
    anything,
    fc.record({ podSelector: anything, ingress: rules, egress: rules }, { requiredKeys: [] }),
  );
  const metadata = fc.oneof(
    anything,
    fc.record({ name: fc.constant('default'), labels: anything, annotations: anything }, { requiredKeys: ['name'] }),
  );
  fc.assert(
    fc.property(kinds, metadata, spec, ([apiVersion, kind], meta, body) => {
      const result = parseDocument({ apiVersion, kind, metadata: meta, spec: body }, {});
      if (result.kind === 'ok') assert.deepEqual(parseDocument(result.document, {}), result);
      else assert.ok(result.problems.length > 0);
    }),
    { numRuns: 2_000 },
  );
});
