/** Root inside a workload: what it can reach of the host and of others' questions, and what changing its own interface brings it. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { tcp, udp } from '../kernel/datapath/frames.ts';
import { lanAddress, uplinkAddress } from '../kernel/agent/lan.ts';
import { attempts } from './attempts.ts';
import { arrived, rawLink } from './raw-link.ts';
import {
  apiPort,
  askedPorts,
  closedPort,
  gateway,
  gatewayIpv6,
  linkPort,
  openPort,
  policy,
  segment,
  Stage,
} from './stage.ts';

const hostService = 9999;
const guestAddress = '10.224.7.7';
let stage: Stage;

before(async () => {
  stage = await Stage.open();
});
after(() => stage?.[Symbol.asyncDispose]());

/** A service of the host that listens on every address; lines of text come when somebody connects. */
function listenOnHost(port: number): { readonly heard: () => string; readonly ready: () => boolean } {
  const script = `require('node:net').createServer((socket) => { socket.on('error', () => undefined); console.log('from ' + socket.remoteAddress); socket.destroy(); })
    .listen(${port}, '::', () => console.log('open'));`;
  const child = stage.host.spawn(null, process.execPath, '-e', script);
  let text = '';
  child.stdout!.setEncoding('utf8').on('data', (part: string) => (text += part));
  return { heard: () => text.replace('open\n', ''), ready: () => text.startsWith('open\n') };
}

test('neither manager nor any service of the host is reached, at none of its addresses', async () => {
  const { host } = stage;
  const service = listenOnHost(hostService);
  await host.until('the service listens', async () => service.ready());
  const addresses = [gateway, uplinkAddress, gatewayIpv6, lanAddress];
  const targets = addresses.flatMap((address) =>
    [linkPort, apiPort, hostService, 22, 53 + 1].map((port) => ({ address, port })),
  );
  const outcomes = await attempts(host, 'mallory', targets, 1000);
  for (const [index, outcome] of outcomes.entries()) {
    assert.ok(outcome === 'timeout' || outcome === 'unreachable', `${JSON.stringify(targets[index])}: ${outcome}`);
  }
  // The host's loopback, for which route_localnet opens a way in the kernel.
  const { mac, gatewayMac } = stage.endpoint('mallory');
  using loopback = rawLink(host.pathOf(), 'lo');
  const ends = {
    sourceMac: mac,
    destinationMac: gatewayMac,
    source: stage.address('mallory'),
    destination: '127.0.0.1',
  };
  for (const port of [linkPort, apiPort, hostService]) stage.link('mallory').send(tcp(ends, 4000, port));
  stage.link('mallory').send(udp(ends, 4000, 53));
  await setImmediate();
  assert.deepEqual(
    arrived(loopback).filter(({ sourcePort }) => sourcePort === 4000),
    [],
  );
  assert.equal(service.heard(), '');
  // The control: the same service is there for the host itself, and for a workload that policy lets in.
  await host.apply(
    policy('host-service', {
      name: 'service',
      action: 'allow',
      from: { segment: 'web' },
      to: { host: true },
      ports: [{ protocol: 'tcp', port: hostService }],
    }),
  );
  assert.deepEqual(await attempts(host, 'mallory', [{ address: gateway, port: hostService }], 5000), ['connected']);
  await host.api('DELETE', '/v1/documents/Policy/host-service');
});

test('the agent has no port, and its socket is a file for root alone', () => {
  const { host } = stage;
  const pid = host.pidOf('agent');
  const listening = host
    .run(null, 'ss', '-H', '-ltunp')
    .split('\n')
    .filter((each) => each.includes(`pid=${pid},`));
  for (const each of listening)
    assert.match(each, /[.:\]]53\s/, `the agent listens on more than its resolver: ${each}`);
  const mode = statSync(join(host.directory, 'agent.sock')).mode;
  assert.equal(mode & 0o777, 0o600);
  // Sockets without a file are reached by whoever shares the network namespace; the agent has none.
  const abstract = host
    .run(null, 'ss', '-H', '-xlp')
    .split('\n')
    .filter((each) => each.includes('@') && each.includes(`pid=${pid},`));
  assert.deepEqual(abstract, []);
});

test('another address, another MAC address, interfaces on top: nothing gets further than before', async () => {
  const { host } = stage;
  const [alice, vault] = [stage.address('alice'), stage.address('vault')];
  const inside = (...words: readonly string[]) => host.run('mallory', 'ip', ...words);
  const goes = (targets: Parameters<typeof attempts>[2]) => attempts(host, 'mallory', targets, 700);
  assert.deepEqual(await goes([{ address: vault, port: openPort }]), ['connected']);

  inside('address', 'add', `${alice}/32`, 'dev', 'eth0');
  inside('address', 'add', `${guestAddress}/16`, 'dev', 'eth0');
  const borrowed = [alice, guestAddress].map((localAddress) => ({ address: vault, port: openPort, localAddress }));
  assert.deepEqual(await goes(borrowed), ['timeout', 'timeout']);
  assert.deepEqual(await goes([{ address: vault, port: openPort, localAddress: stage.address('mallory') }]), [
    'connected',
  ]);
  inside('address', 'delete', `${alice}/32`, 'dev', 'eth0');
  inside('address', 'delete', `${guestAddress}/16`, 'dev', 'eth0');

  const { mac } = stage.endpoint('mallory');
  inside('link', 'set', 'dev', 'eth0', 'address', stage.endpoint('alice').mac);
  assert.deepEqual(await goes([{ address: vault, port: openPort }]), ['timeout']);
  inside('link', 'set', 'dev', 'eth0', 'address', mac);

  inside('link', 'add', 'link', 'eth0', 'name', 'other', 'type', 'macvlan', 'mode', 'bridge');
  inside('address', 'add', `${guestAddress}/32`, 'dev', 'other');
  inside('link', 'set', 'dev', 'other', 'up');
  inside('route', 'add', `${vault}/32`, 'dev', 'other');
  assert.notDeepEqual(await goes([{ address: vault, port: openPort }]), ['connected']);
  inside('link', 'delete', 'dev', 'other');

  // Its own gateway is no matter of trust: whatever way it takes, it comes out of the same interface.
  inside('route', 'replace', 'default', 'via', alice, 'dev', 'eth0', 'onlink');
  const wrong = await goes([
    { address: vault, port: closedPort },
    { address: alice, port: openPort },
  ]);
  assert.ok(
    wrong.every((outcome) => outcome !== 'connected' && outcome !== 'refused'),
    wrong.join(),
  );
  inside('route', 'replace', 'default', 'via', gateway, 'dev', 'eth0');
  await host.until(
    'all is as before',
    async () => (await goes([{ address: vault, port: openPort }]))[0] === 'connected',
  );
});

test('a flood of questions starves nobody: others are asked about and answered meanwhile', async () => {
  const { host } = stage;
  const ends = stage.between('mallory', 'vault');
  const link = stage.link('mallory');
  const stop = new AbortController();
  let sent = 0;
  const flood = (async () => {
    while (!stop.signal.aborted) {
      for (let burst = 0; burst < 256; burst += 1) {
        sent += 1;
        link.send(tcp(ends, 1024 + (sent % 60_000), askedPorts.from + (sent % 1000)));
      }
      arrived(link);
      await setImmediate();
    }
  })();
  const before = (await host.counter('punt_rate')) + (await host.counter('punt_full'));
  const outcomes: string[] = [];
  for (let round = 0; round < 5; round += 1) {
    outcomes.push(await host.connect('alice', 'vault', round % 2 === 0 ? askedPorts.from : askedPorts.to, 5000));
  }
  stop.abort();
  await flood;
  assert.deepEqual(
    outcomes,
    Array.from({ length: 5 }, () => 'connected'),
    `${sent} SYNs beside them`,
  );
  const after = (await host.counter('punt_rate')) + (await host.counter('punt_full'));
  assert.ok(after > before, `of ${sent} SYNs none met the bound`);
});

test('facts cannot be claimed, and a label alone does not make a member of a bound segment', async () => {
  const { host } = stage;
  for (const key of ['bulkhead.dev/host', 'bulkhead.dev/image', 'bulkhead.dev/class', 'bulkhead.dev/anything']) {
    await assert.rejects(host.attach(`claims-${key.slice(13)}`, { [key]: 'x' }), /facts that nobody can claim/);
  }
  await host.attach('pretender', { app: 'auditor' });
  const bound = { bind: { images: [`sha256:${'1'.repeat(64)}`] } };
  const spec = { selector: { matchLabels: { app: 'auditor' } } };
  const rules = policy('audit', {
    name: 'reads-everything',
    action: 'allow',
    from: { segment: 'auditor' },
    to: { segment: 'database' },
  });
  await host.apply(
    { apiVersion: 'bulkhead.dev/v1', kind: 'Segment', metadata: { name: 'auditor' }, spec: { ...spec, ...bound } },
    rules,
  );
  const target = { address: stage.address('vault'), port: openPort };
  assert.deepEqual(await attempts(host, 'pretender', [target]), ['timeout']);
  // The control: without the binding the same label is enough.
  await host.apply(segment('auditor'));
  await host.until('it is a member now', async () => (await attempts(host, 'pretender', [target]))[0] === 'connected');
});

test('inside there is nothing of ours to see: no program, no map, no process', () => {
  const inside = (...words: readonly string[]) => stage.host.run('mallory', ...words);
  assert.doesNotMatch(inside('ip', '-d', 'link', 'show', 'eth0'), /prog|xdp|bpf/i);
  assert.equal(inside('tc', 'filter', 'show', 'dev', 'eth0', 'ingress').trim(), '');
  const pins = execFileSync('ls', [`/sys/fs/bpf/${stage.host.name}`], { encoding: 'utf8' });
  assert.notEqual(pins, '', 'the control: they are there on the host');
});
