import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Direction, Labels, Party } from '../model.ts';
import type { PolicySet } from '../resolve/policy-set.ts';
import { reasonText } from '../resolve/reason.ts';
import { policy, policySetOf, segment, service } from '../testing/written.ts';
import { decide } from './decide.ts';
import { guardFact } from './lock-out-guard.ts';

const hostOf = (name: string, labels: Labels = {}): Party => ({
  kind: 'host',
  labels: { 'bulkhead.dev/host': name, ...labels },
});
const outside: Party = { kind: 'address', address: '203.0.113.7' };
const open = { ingress: 'allow', egress: 'allow' };

/** The verdict of the host's own end. */
function at(set: PolicySet, direction: Direction, host: Party, far: Party, to: string): string {
  const [source, destination] = direction === 'egress' ? [host, far] : [far, host];
  const { action, reason } = decide(set, { source, destination, ...service(to) })[direction];
  return `${action} ${reasonText(reason)}`;
}

test('a host is judged where a segment says so, and nowhere else', () => {
  const named = policySetOf([segment('front', { hosts: { names: ['h1'] } })]);
  assert.equal(at(named, 'ingress', hostOf('h1'), outside, 'tcp 80'), 'deny posture:front');
  assert.equal(at(named, 'egress', hostOf('h1'), outside, 'tcp 80'), 'deny posture:front');
  assert.equal(at(named, 'ingress', hostOf('h2'), outside, 'tcp 80'), 'allow builtin:not-a-subject');
  assert.equal(at(named, 'ingress', { kind: 'host' }, outside, 'tcp 80'), 'allow builtin:not-a-subject');
  assert.equal(at(named, 'ingress', hostOf('h2'), { kind: 'unknown' }, 'tcp 80'), 'allow builtin:not-a-subject');
  assert.equal(at(named, 'ingress', hostOf('h1'), { kind: 'unknown' }, 'tcp 80'), 'deny builtin:unknown');
  const all = policySetOf([segment('every-host', { hosts: { all: true }, posture: open })]);
  assert.equal(at(all, 'ingress', { kind: 'host' }, outside, 'tcp 80'), 'allow posture:every-host');
});

test('a selector of a segment takes no host in, nor hosts a workload', () => {
  const set = policySetOf([segment('both', { selector: {}, hosts: { names: ['h1'] }, posture: open })]);
  assert.equal(at(set, 'ingress', hostOf('h2'), outside, 'tcp 80'), 'allow builtin:not-a-subject');
  const workload: Party = { kind: 'workload', labels: {} };
  assert.equal(decide(set, { source: hostOf('h1'), destination: workload, ...service('tcp 80') }).action, 'allow');
});

test('rules speak for hosts as for workloads: as subject, as peer, by segment', () => {
  const set = policySetOf([
    segment('front', { hosts: { names: ['h1'] } }),
    segment('web', { selector: { matchLabels: { app: 'web' } } }),
    policy('p', [
      {
        name: 'web',
        action: 'allow',
        from: { segment: 'web' },
        to: { segment: 'front' },
        ports: [{ protocol: 'tcp', port: 80 }],
      },
      { name: 'out', action: 'allow', from: { segment: 'front' }, to: { cidr: '203.0.113.0/24' } },
    ]),
  ]);
  const web: Party = { kind: 'workload', labels: { app: 'web' } };
  assert.equal(decide(set, { source: web, destination: hostOf('h1'), ...service('tcp 80') }).action, 'allow');
  assert.equal(decide(set, { source: web, destination: hostOf('h2'), ...service('tcp 80') }).action, 'deny');
  assert.equal(at(set, 'ingress', hostOf('h1'), web, 'tcp 81'), 'deny posture:front');
  assert.equal(at(set, 'egress', hostOf('h1'), outside, 'tcp 81'), 'allow application/p/out');
});

test('the lock-out guard comes before every rule: SSH, what the agent says it needs, addresses and neighbours', () => {
  const rules = [policy('p', [{ name: 'closed', action: 'deny' }], { tier: 'platform' })];
  const set = policySetOf([segment('front', { hosts: { all: true } }), ...rules]);
  const agent = { [guardFact.egress]: 'tcp-7443', [guardFact.ingress]: 'tcp-2222_tcp-7443' };
  const guard = 'allow builtin:lock-out-guard';
  const closed = 'deny platform/p/closed';
  const verdicts = (labels: Labels, direction: Direction, ...services: string[]) =>
    services.map((to) => at(set, direction, hostOf('h1', labels), outside, to));
  assert.deepEqual(verdicts({}, 'ingress', 'tcp 22', 'tcp 2222', 'udp 68', 'udp 546', 'icmpv6 34560'), [
    guard,
    closed,
    guard,
    guard,
    guard,
  ]);
  assert.deepEqual(verdicts({}, 'egress', 'tcp 22', 'tcp 7443', 'udp 67', 'udp 547', 'icmpv6 34560'), [
    closed,
    closed,
    guard,
    guard,
    guard,
  ]);
  assert.deepEqual(verdicts(agent, 'ingress', 'tcp 22', 'tcp 2222', 'tcp 7443', 'udp 7443'), [
    closed,
    guard,
    guard,
    closed,
  ]);
  assert.deepEqual(verdicts(agent, 'egress', 'tcp 7443', 'tcp 2222', 'icmpv6 32768'), [guard, closed, closed]);
});

test('the guard is given up only where every segment of the host gives it up', () => {
  const given = segment('front', { hosts: { all: true }, lockOutGuard: false });
  const other = segment('back', { hosts: { names: ['h1'] } });
  const set = policySetOf([given, other]);
  assert.equal(at(set, 'ingress', hostOf('h1'), outside, 'tcp 22'), 'allow builtin:lock-out-guard');
  assert.equal(at(set, 'ingress', hostOf('h2'), outside, 'tcp 22'), 'deny posture:front');
});

test('workloads may ask a host for names though it is closed, unless a rule says otherwise', () => {
  const closed = segment('front', { hosts: { all: true } });
  const web: Party = { kind: 'workload', labels: {} };
  assert.equal(at(policySetOf([closed]), 'ingress', hostOf('h1'), web, 'udp 53'), 'allow builtin:resolver');
  assert.equal(at(policySetOf([closed]), 'ingress', hostOf('h1'), outside, 'udp 53'), 'deny posture:front');
  const denied = policySetOf([closed, policy('p', [{ name: 'r', action: 'deny', to: { host: true } }])]);
  assert.equal(at(denied, 'ingress', hostOf('h1'), web, 'udp 53'), 'deny application/p/r');
});
