import { test } from 'node:test';
import assert from 'node:assert/strict';
import { containerFacts, isolationClass, ungovernedBecause } from './container-facts.ts';
import type { ContainerInspect, NetworkSummary } from './engine-api.ts';

const networks = new Map<string, NetworkSummary>(
  [
    { Id: 'n1', Name: 'front', Driver: 'bulkhead' },
    { Id: 'n2', Name: 'bridge', Driver: 'bridge' },
  ].map((network) => [network.Id, { ...network, IPAM: { Driver: 'bulkhead', Config: null } }]),
);

const inspect: ContainerInspect = {
  ...{ Id: 'c'.repeat(64), Name: '/Web', Image: 'sha256:1' },
  State: { Status: 'running', Running: true, Pid: 42, StartedAt: '2026-01-02T03:04:05.678Z' },
  Config: { Image: 'nginx:1', Labels: { a: 'b' }, ExposedPorts: { '80/tcp': {}, '53/udp': {} } },
  HostConfig: { NetworkMode: 'front', Runtime: '', PortBindings: { '443/tcp': [], '9000-9002/tcp': [] } },
  NetworkSettings: {
    SandboxKey: '/s',
    Networks: {
      front: {
        NetworkID: 'n1',
        EndpointID: 'e1',
        IPAddress: '10.0.0.2',
        GlobalIPv6Address: 'FD00:0::2',
        Aliases: ['Site', 'cccccccccccc'],
        Links: ['db:store'],
      },
    },
  },
};

test('what an inspection says, as ours', () => {
  const facts = containerFacts(inspect, networks);
  assert.equal(facts.name, 'Web');
  assert.equal(facts.runtime, 'runc');
  assert.equal(facts.startedMs, Date.parse('2026-01-02T03:04:05.678Z'));
  assert.deepEqual(
    facts.declared.map(({ protocol, port }) => `${protocol}/${port}`),
    ['tcp/443', 'udp/53', 'tcp/80', 'tcp/9000', 'tcp/9001', 'tcp/9002'],
  );
  assert.ok(facts.network.kind === 'own');
  const [found] = facts.network.interfaces;
  assert.deepEqual(found?.addresses, ['10.0.0.2', 'fd00::2']);
  assert.deepEqual(found?.names, ['web', 'cccccccccccc', 'site']);
  assert.deepEqual(found?.links, [['store', 'db']]);
  assert.equal(ungovernedBecause(facts, 'bulkhead', new Set()), null);
});

test('one that does not run has neither process nor start', () => {
  const facts = containerFacts(
    { ...inspect, State: { Status: 'created', Running: false, Pid: 0, StartedAt: '0001-01-01T00:00:00Z' } },
    networks,
  );
  assert.deepEqual([facts.running, facts.pid, facts.startedMs], [false, null, null]);
});

test('each way not to be governed has its reason; an adopted interface is no reason', () => {
  const mode = (NetworkMode: string) =>
    containerFacts({ ...inspect, HostConfig: { ...inspect.HostConfig, NetworkMode } }, networks);
  assert.match(ungovernedBecause(mode('host'), 'bulkhead', new Set()) ?? '', /network host/);
  assert.match(ungovernedBecause(mode('none'), 'bulkhead', new Set()) ?? '', /network none/);
  assert.deepEqual(mode('container:abc').network, { kind: 'shared', with: 'abc' });
  const front = inspect.NetworkSettings.Networks['front']!;
  const both = containerFacts(
    {
      ...inspect,
      NetworkSettings: {
        SandboxKey: '/s',
        Networks: {
          front,
          bridge: { ...front, NetworkID: 'n2', EndpointID: 'e2' },
          gone: { ...front, NetworkID: 'n9', EndpointID: 'e9' },
        },
      },
    },
    networks,
  );
  assert.equal(
    ungovernedBecause(both, 'bulkhead', new Set()),
    'its interface on network bridge (driver bridge) is not ours; its interface on network gone (driver unknown) is not ours',
  );
  assert.equal(ungovernedBecause(both, 'bulkhead', new Set(['e2', 'e9'])), null);
});

test('runtimes and their classes', () => {
  assert.deepEqual(['runc', 'runsc', 'bulkhead-microvm', 'kata'].map(isolationClass), [
    'shared',
    'sandbox',
    'microvm',
    'kata',
  ]);
});
