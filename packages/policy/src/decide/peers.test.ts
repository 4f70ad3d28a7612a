/** Names as peers, named ports and live connections of our own rules, and policies that are staged. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Labels, namedPortPrefix, type Party } from '../model.ts';
import { reasonText } from '../resolve/reason.ts';
import { stagedPolicySet } from '../resolve/staged.ts';
import { canonicalDnsName, dnsNameMatches } from '../select/dns-name.ts';
import { namespace, networkPolicy, podOf, policy, policySetOf, segment, service } from '../testing/written.ts';
import { decide } from './decide.ts';

const web: Party = { kind: 'workload', labels: { app: 'web' } };
const learnt = (...names: string[]): Party => ({ kind: 'address', address: '203.0.113.7', names });

test('a name is a peer where the subject has learnt the address under it', () => {
  const set = policySetOf([
    policy('p', [
      { name: 'api', action: 'allow', to: [{ dns: 'API.example.com.' }, { dns: '*.cdn.test' }] },
      { name: 'not-that', action: 'deny', to: { dns: 'bad.cdn.test' } },
    ]),
  ]);
  const egress = (destination: Party) =>
    reasonText(decide(set, { source: web, destination, ...service('tcp 443') }).egress.reason);
  assert.equal(egress(learnt('api.example.com')), 'application/p/api');
  assert.equal(egress(learnt('other.test', 'a.b.cdn.test')), 'application/p/api');
  assert.equal(egress(learnt('a.cdn.test', 'bad.cdn.test')), 'application/p/not-that');
  assert.equal(egress(learnt('cdn.test')), 'builtin:no-segment');
  assert.equal(egress(learnt()), 'builtin:no-segment');
  assert.equal(egress({ kind: 'address', address: '203.0.113.7' }), 'builtin:no-segment');
  assert.equal(egress({ kind: 'host' }), 'builtin:no-segment');
  // A name says nothing about who comes from the address.
  const into = decide(set, { source: learnt('api.example.com'), destination: web, ...service('tcp 443') });
  assert.equal(reasonText(into.ingress.reason), 'builtin:no-segment');
});

test('a pattern covers names below it at any depth, and whole labels only', () => {
  const label = fc.stringMatching(/^[a-z0-9]{1,8}$/);
  const name = fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => labels.join('.'));
  fc.assert(
    fc.property(name, name, (below, apex) => {
      assert.ok(dnsNameMatches(`*.${apex}`, `${below}.${apex}`));
      assert.ok(!dnsNameMatches(`*.${apex}`, apex));
      assert.ok(dnsNameMatches(apex, apex));
      assert.equal(dnsNameMatches(`*.${apex}`, below + apex), (below + apex).endsWith(`.${apex}`));
      assert.equal(canonicalDnsName(`${apex.toUpperCase()}.`), apex);
    }),
  );
});

test('a named port of ours is resolved at the destination, beside numbers', () => {
  const set = policySetOf([
    segment('all', { selector: {} }),
    policy('p', [
      {
        name: 'r',
        action: 'allow',
        ports: [
          { protocol: 'tcp', name: 'http' },
          { protocol: 'tcp', port: 9 },
          { protocol: 'udp', name: 'http' },
        ],
      },
    ]),
  ]);
  const serving = (ports: string): Party => ({ kind: 'workload', labels: { [`${namedPortPrefix}http`]: ports } });
  const action = (destination: Party, to: string) => decide(set, { source: web, destination, ...service(to) }).action;
  assert.equal(action(serving('tcp-80'), 'tcp 80'), 'allow');
  assert.equal(action(serving('tcp-80'), 'tcp 9'), 'allow');
  assert.equal(action(serving('tcp-80'), 'udp 80'), 'deny');
  assert.equal(action(serving('tcp-80_tcp-81_udp-80'), 'udp 80'), 'allow');
  assert.equal(action(serving('tcp-80_tcp-81'), 'tcp 81'), 'allow');
  assert.equal(action(web, 'tcp 80'), 'deny');
  assert.equal(action(learnt(), 'tcp 80'), 'deny');
  // The caller's ports are no matter.
  assert.equal(decide(set, { source: serving('tcp-80'), destination: web, ...service('tcp 80') }).action, 'deny');
});

test('what becomes of live connections is part of the verdict of the rule that says it', () => {
  const rule = (live: string | undefined) => ({ name: 'r', action: 'allow', ...(live === undefined ? {} : { live }) });
  const verdict = (live: string | undefined) =>
    decide(policySetOf([policy('p', [rule(live)])]), { source: web, destination: web, ...service('tcp 80') }).egress;
  const reason = { kind: 'rule', tier: 'application', policy: 'p', rule: 'r' };
  assert.deepEqual(verdict('keep'), { action: 'allow', reason, live: 'keep' });
  assert.deepEqual(verdict('reset'), { action: 'allow', reason, live: 'reset' });
  assert.deepEqual(verdict('judge'), { action: 'allow', reason });
  assert.deepEqual(verdict(undefined), { action: 'allow', reason });
});

test('a staged policy decides nothing, and everything in the staged set', () => {
  const labels: Labels = { app: 'web' };
  const staged = { 'bulkhead.dev/mode': 'staged' };
  const set = policySetOf([
    namespace('x'),
    networkPolicy('x/closed', { podSelector: {} }, staged),
    networkPolicy(
      'x/open',
      { podSelector: { matchLabels: labels }, ingress: [{}] },
      { 'bulkhead.dev/mode': 'enforce' },
    ),
    policy('ours', [{ name: 'r', action: 'deny', ports: [{ protocol: 'tcp', port: 23 }] }], {
      mode: 'staged',
      tier: 'platform',
    }),
  ]);
  const [any, open] = [podOf(set, 'x'), podOf(set, 'x', { labels })];
  const after = stagedPolicySet(set);
  assert.ok(after !== null);
  const reasons = (destination: Party, to: string) =>
    [set, after].map((given) => reasonText(decide(given, { source: any, destination, ...service(to) }).ingress.reason));
  assert.deepEqual(reasons(any, 'tcp 80'), [
    'posture:namespace/x',
    'application/NetworkPolicy:x/closed/ingress-isolation',
  ]);
  assert.deepEqual(reasons(open, 'tcp 80'), [
    'application/NetworkPolicy:x/open/ingress[0]',
    'application/NetworkPolicy:x/open/ingress[0]',
  ]);
  assert.deepEqual(reasons(open, 'tcp 23'), ['application/NetworkPolicy:x/open/ingress[0]', 'platform/ours/r']);
  assert.equal(stagedPolicySet(set), after);
  assert.equal(stagedPolicySet(after), null);
  assert.equal(stagedPolicySet(policySetOf([namespace('x')])), null);
});
