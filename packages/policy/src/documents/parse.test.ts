import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseDocument } from './parse.ts';
import { canonicalText } from './canonical.ts';
import { documentJsonSchema } from './json-schema.ts';
import { documentSchemas } from './schema.ts';

const policy = (rules: unknown, spec: object = {}) => ({
  apiVersion: 'bulkhead.dev/v1',
  kind: 'Policy',
  metadata: { name: 'orders' },
  spec: { tier: 'application', rules, ...spec },
});
const rule = (fields: object) => policy([{ name: 'r', action: 'allow', ...fields }]);
const segment = (spec: unknown) => ({ apiVersion: 'bulkhead.dev/v1', kind: 'Segment', metadata: { name: 's' }, spec });

/** The problems as `path: reason`, an empty list where the document is taken. */
function problems(value: unknown): string[] {
  const parsed = parseDocument(value, { file: 'x.yaml', index: 0 });
  if (parsed.kind === 'ok') return [];
  assert.ok(parsed.problems.length > 0);
  return parsed.problems.map(({ path, reason }) => `${path}: ${reason}`);
}

test('the policy of the design is taken', () => {
  const value = policy(
    [
      {
        name: 'desk-to-orders',
        action: 'ask',
        from: { segment: 'trading-desk' },
        to: { segment: 'orders-db' },
        ports: [{ protocol: 'tcp', port: 5432 }],
        when: 'time.hour >= 8 && source.class == "microvm"',
        otherwise: 'deny',
        hold: { timeoutMs: 2000, unreachable: 'deny' },
        remember: { scope: 'connection' },
        live: 'reset',
      },
    ],
    { mode: 'enforce', timeZone: 'Europe/Vienna' },
  );
  assert.deepEqual(problems(value), []);
});

test('every problem is named at once, with path, reason and what is allowed', () => {
  const parsed = parseDocument(
    policy([
      { name: 'a', action: 'alow', from: { segmnt: 'web' }, to: [{ cidr: '10.0.0.1/8' }] },
      { name: 'a', action: 'allow', ports: [{ protocol: 'tcp', port: 20, endPort: 10 }], when: 'true' },
    ]),
    { file: 'orders.yaml', index: 1 },
  );
  assert.equal(parsed.kind, 'refused');
  assert.deepEqual(
    parsed.kind === 'refused' && parsed.problems.map((problem) => [problem.path, problem.reason, problem.allowed]),
    [
      ['spec.rules[0].action', '"alow" is not known; did you mean "allow"?', 'allow, deny, reject, ask, pass'],
      [
        'spec.rules[0].from.segmnt',
        'unknown field "segmnt"; did you mean "segment"?',
        'segment, selector, cidr, except, dns, host, any',
      ],
      [
        'spec.rules[0].from',
        'the peer names nobody',
        'exactly one of segment, selector, cidr, dns, host, any; several peers are a list',
      ],
      ['spec.rules[0].to[0].cidr', '"10.0.0.1/8" has bits set after its prefix length', '10.0.0.0/8'],
      ['spec.rules[1].ports[0].endPort', 'the range 20 to 10 is reversed, so it is empty', '20 to 65535'],
      ['spec.rules[1].when', 'when belongs to a question, and the action is allow', 'action: ask'],
      ['spec.rules[1].name', 'the name "a" is taken by rules[0]', 'a name once per policy'],
    ],
  );
  assert.deepEqual(
    parsed.kind === 'refused' && parsed.problems[0] && [parsed.problems[0].document, parsed.problems[0].file],
    ['Policy/orders', 'orders.yaml'],
  );
});

const refusedDocuments: readonly [string, unknown, RegExp][] = [
  ['no map', 'text', /is no document/],
  ['a list', [], /is no document/],
  ['another version', { ...rule({}), apiVersion: 'bulkhead.dev/v2' }, /apiVersion: "bulkhead.dev\/v2" is not known/],
  ['a slip in the kind', { ...rule({}), kind: 'Polcy' }, /kind: "Polcy" is not known; did you mean "Policy"/],
  ['a kind of the design', { ...rule({}), kind: 'Response' }, /kind Response are not supported yet/],
  [
    'a kind under another version',
    { ...rule({}), apiVersion: 'networking.k8s.io/v1' },
    /apiVersion: "networking.k8s.io\/v1" is not known/,
  ],
  ['an unknown field at the top', { ...rule({}), spce: {} }, /spce: unknown field "spce"; did you mean "spec"/],
  ['a bad name', { ...rule({}), metadata: { name: 'Orders!' } }, /metadata.name: "Orders!" is no name/],
  ['a missing name', { ...rule({}), metadata: {} }, /metadata.name: is missing/],
  [
    'a bad label',
    { ...rule({}), metadata: { name: 'x', labels: { '-a': 'b' } } },
    /metadata.labels\["-a"\]: "-a" is no label key/,
  ],
  ['another mode', policy([], { mode: 'stagd' }), /spec.mode: "stagd" is not known; did you mean "staged"/],
  ['an unknown zone', policy([], { timeZone: 'Mars/Olympus' }), /spec.timeZone: "Mars\/Olympus" is no time zone/],
  ['a DNS name that is none', rule({ to: { dns: 'ex*mple.com' } }), /to.dns: "ex\*mple.com" is no DNS name/],
  [
    'a DNS name as a source',
    rule({ from: [{ dns: 'a.example' }] }),
    /from\[0\].dns: a DNS name is only known of where/,
  ],
  ['what others call a DNS name', rule({ to: { fqdn: 'a.b' } }), /unknown field "fqdn"; did you mean "dns"/],
  ['a named port as a number', rule({ ports: [{ protocol: 'tcp', port: 'http' }] }), /ports\[0\].port: is a text/],
  ['a named port that is none', rule({ ports: [{ protocol: 'tcp', name: '80' }] }), /name: "80" is no name of a port/],
  ['a named port of ICMP', rule({ ports: [{ protocol: 'icmp', name: 'http' }] }), /icmp has no ports/],
  ['a port by number and name', rule({ ports: [{ protocol: 'tcp', port: 1, name: 'a' }] }), /a number or a name/],
  ['hosts by nothing', segment({ hosts: {} }), /spec.hosts: hosts names nobody/],
  ['a guard without hosts', segment({ selector: {}, lockOutGuard: false }), /lockOutGuard is about hosts/],
  ['kept sessions', rule({ sessions: { keep: 'nbd' } }), /sessions: kept sessions are not supported yet/],
  ['two kinds of peer in one', rule({ to: { segment: 'a', any: true } }), /to: the peer names segment and any/],
  ['an empty list of peers', rule({ to: [] }), /to: an empty list matches nothing/],
  ['an empty list of ports', rule({ ports: [] }), /ports: an empty list matches nothing/],
  ['a port out of range', rule({ ports: [{ protocol: 'tcp', port: 65536 }] }), /port: is too large/],
  ['a port without protocol', rule({ ports: [{ port: 80 }] }), /protocol: is missing/],
  ['a port of ICMP', rule({ ports: [{ protocol: 'icmp', port: 8 }] }), /icmp has no ports/],
  ['a type of TCP', rule({ ports: [{ protocol: 'tcp', type: 8 }] }), /tcp has no type/],
  ['a code without type', rule({ ports: [{ protocol: 'icmp', code: 1 }] }), /code needs a type/],
  ['an end without start', rule({ ports: [{ protocol: 'udp', endPort: 9 }] }), /endPort needs a port/],
  ['octal digits in an address', rule({ to: { cidr: '010.0.0.0/8' } }), /is no network/],
  ['too few numbers in an address', rule({ to: { cidr: '10.0/16' } }), /is no network/],
  ['a prefix that is too long', rule({ to: { cidr: '10.0.0.0/33' } }), /prefix length 33 is too long/],
  [
    'an exception outside',
    rule({ to: { cidr: '10.0.0.0/8', except: ['11.0.0.0/16'] } }),
    /except\[0\]: the exception 11.0.0.0\/16 is not inside/,
  ],
  ['except without cidr', rule({ to: { any: true, except: ['11.0.0.0/16'] } }), /except belongs to a cidr/],
  ['when on allow', rule({ when: 'true' }), /when belongs to a question, and the action is allow/],
  ['otherwise without when', rule({ action: 'ask', otherwise: 'deny' }), /otherwise is what a false when gives/],
  ['pending without approve', rule({ action: 'ask', pending: 'hold' }), /pending is about an approval/],
  ['a bad duration', rule({ action: 'ask', approve: { by: 'approver', within: '10 minutes' } }), /within: a duration/],
  [
    'remember without time',
    rule({ action: 'ask', remember: { scope: 'pair' } }),
    /forSeconds: how long is pair remembered/,
  ],
  [
    'In without values',
    rule({ to: { selector: { matchExpressions: [{ key: 'a', operator: 'In' }] } } }),
    /In needs values/,
  ],
  [
    'Exists with values',
    rule({ to: { selector: { matchExpressions: [{ key: 'a', operator: 'Exists', values: ['b'] }] } } }),
    /Exists takes no values/,
  ],
  [
    'a label value',
    rule({ to: { selector: { matchLabels: { a: 'b c' } } } }),
    /matchLabels.a: "b c" is no label value/,
  ],
  ['a segment of nothing', segment({}), /spec: the segment selects nothing/],
  [
    'bind without selector',
    segment({ networks: [{ cidr: '10.0.0.0/8' }], bind: { hosts: ['a'] } }),
    /bind narrows a selector/,
  ],
  [
    'an image by tag',
    segment({ selector: {}, bind: { images: ['web:latest'] } }),
    /images\[0\]: an image is named by its digest/,
  ],
  [
    'a posture that asks',
    segment({ selector: {}, posture: { ingress: 'ask' } }),
    /posture.ingress: "ask" is not known/,
  ],
];

for (const [name, value, expected] of refusedDocuments) {
  test(`refused: ${name}`, () => assert.match(problems(value).join('\n'), expected));
}

test('a label named __proto__ is refused, not lost on the way', () => {
  const value: unknown = JSON.parse(
    JSON.stringify(segment({ selector: { matchLabels: { PROTO: 'x' } } })).replace('PROTO', '__proto__'),
  );
  assert.deepEqual(problems(value), ['spec.selector.matchLabels.__proto__: "__proto__" is no name']);
  const field: unknown = JSON.parse(
    '{"apiVersion":"bulkhead.dev/v1","kind":"Segment","metadata":{"name":"s"},"spec":{"selector":{},"__proto__":{}}}',
  );
  assert.deepEqual(problems(field), ['spec.__proto__: unknown field "__proto__"']);
});

test('no value makes the parser throw', () => {
  const kind = fc.constantFrom('Segment', 'Tier', 'Policy', 'Wall');
  const anything = fc.anything({ withNullPrototype: true });
  const document = fc.record({ apiVersion: fc.constant('bulkhead.dev/v1'), kind, metadata: anything, spec: anything });
  const half = fc.record({
    rules: fc.array(fc.record({ name: anything, action: anything, from: anything, ports: anything })),
  });
  const bodies = fc.oneof(
    anything,
    document,
    half.map((spec) => ({ ...policy([]), spec })),
  );
  fc.assert(
    fc.property(bodies, (value) => void parseDocument(value, {})),
    { numRuns: 2_000 },
  );
});

test('canonical text does not depend on the way of writing', () => {
  const canonical = (value: unknown): string => {
    const parsed = parseDocument(value, {});
    assert.equal(parsed.kind, 'ok');
    return parsed.kind === 'ok' ? canonicalText(parsed.document) : '';
  };
  const short = canonical({
    ...policy([{ action: 'allow', to: { cidr: 'FD00:0::/8' }, name: 'r' }]),
    spec: { rules: [{ action: 'allow', to: { cidr: 'FD00:0::/8' }, name: 'r' }] },
  });
  const long = canonical(
    policy([{ name: 'r', action: 'allow', to: [{ cidr: 'fd00::/8', except: [] }] }], {
      mode: 'enforce',
      timeZone: 'UTC',
    }),
  );
  assert.equal(short, long);
  assert.notEqual(short, canonical(rule({})));
});

test('the JSON Schema for editors names every kind', () => {
  const text = JSON.stringify(documentJsonSchema());
  for (const kind of Object.keys(documentSchemas)) assert.ok(text.includes(`"const":"${kind}"`), kind);
});
