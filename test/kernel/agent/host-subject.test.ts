/** The host as a subject of documents, through manager and agent processes: another machine on its LAN, a workload, and its own processes. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import { GovernedHost, type Attempt } from './governed-host.ts';
import { lanAddress, uplinkAddress } from './lan.ts';

const apiVersion = 'bulkhead.dev/v1';
const servedPort = 8080;
let host: GovernedHost;

const hosts = (spec: object = {}): unknown => ({
  apiVersion,
  kind: 'Segment',
  metadata: { name: 'machines' },
  spec: { hosts: { names: ['h1'] }, ...spec },
});
const web = {
  apiVersion,
  kind: 'Segment',
  metadata: { name: 'web' },
  spec: { selector: { matchLabels: { app: 'web' } } },
};
const policy = (...rules: readonly unknown[]): unknown => ({
  apiVersion,
  kind: 'Policy',
  metadata: { name: 'machines' },
  spec: { rules },
});
const port = (number: number) => [{ protocol: 'tcp', port: number }];

/** TCP servers in the host's own namespace that send back what they get. */
async function serve(...ports: readonly number[]): Promise<void> {
  const script = `
    const ports = ${JSON.stringify(ports)};
    let open = 0;
    for (const port of ports)
      require('node:net').createServer((socket) => socket.on('error', () => undefined).pipe(socket)).listen(port, '0.0.0.0', () => ++open === ports.length && console.log('open'));
    setInterval(() => undefined, 1000);`;
  const child = host.spawn(null, process.execPath, '-e', script);
  await once(child.stdout!, 'data');
}

/** One TCP connect from the host's own namespace. */
function connectOut(address: string, to: number): Attempt {
  const script = `
    const socket = require('node:net').connect(${to}, ${JSON.stringify(address)});
    const end = (text) => { process.stdout.write(text); process.exit(0); };
    socket.on('connect', () => end('connected'));
    socket.on('error', (error) => end({ ECONNREFUSED: 'refused', ETIMEDOUT: 'timeout' }[error.code] ?? 'unreachable'));
    setTimeout(() => end('timeout'), 700);`;
  return host.run(null, process.execPath, '-e', script) as Attempt;
}

const tables = (): string => host.run(null, 'nft', 'list', 'tables');

before(async () => {
  host = await GovernedHost.start({
    prefix: 'bhH',
    uplink: true,
    agentOptions: ['--docker', 'none', '--uplink', 'up0'],
  });
  await host.attach('a', { app: 'web' });
  await serve(22, servedPort);
  await host.listen('lan', 9000, 9001);
});
after(() => host[Symbol.asyncDispose]());

test('a host in no segment is judged nowhere', async () => {
  assert.equal(await host.connect('lan', uplinkAddress, servedPort), 'connected');
  assert.equal(connectOut(lanAddress, 9000), 'connected');
  assert.doesNotMatch(tables(), /bulkhead_host/);
});

test('in a segment its posture holds, but for the guard; rules open what they name, and flows say who decided', async () => {
  await host.apply(hosts(), web);
  await host.until('the input chain', async () => /bulkhead_host/.test(tables()));
  assert.equal(await host.connect('lan', uplinkAddress, servedPort), 'timeout');
  assert.equal(connectOut(lanAddress, 9000), 'timeout');
  assert.equal(await host.connect('lan', uplinkAddress, 22), 'connected');
  await host.apply(
    policy(
      {
        name: 'in',
        action: 'allow',
        from: { cidr: `${lanAddress}/32` },
        to: { segment: 'machines' },
        ports: port(servedPort),
      },
      { name: 'out', action: 'allow', from: { host: true }, to: { cidr: `${lanAddress}/32` }, ports: port(9000) },
      { name: 'told', action: 'reject', from: { host: true }, to: { any: true }, ports: port(9001) },
    ),
  );
  assert.equal(await host.connect('lan', uplinkAddress, servedPort), 'connected');
  assert.equal(connectOut(lanAddress, 9000), 'connected');
  assert.equal(connectOut(lanAddress, 9001), 'refused');
  const expected = [
    [servedPort, 'deny', 'builtin:not-a-subject', 'posture:machines'],
    [9000, 'deny', 'posture:machines', 'builtin:not-a-subject'],
    [22, 'allow', 'builtin:not-a-subject', 'builtin:lock-out-guard'],
    [servedPort, 'allow', 'builtin:not-a-subject', 'application/machines/in'],
    [9000, 'allow', 'application/machines/out', 'builtin:not-a-subject'],
    [9001, 'reject', 'application/machines/told', 'builtin:not-a-subject'],
  ] as const;
  for (const [to, verdict, egress, ingress] of expected) {
    await host.until(`the flow to ${to}, ${verdict}`, async () =>
      (await host.flows()).some(
        (flow) =>
          flow.destination.port === to &&
          flow.verdict === verdict &&
          flow.egressReason === egress &&
          flow.ingressReason === ingress &&
          (flow.source.workload === 'host' || flow.destination.workload === 'host'),
      ),
    );
  }
});

test('a workload and its host: both ends have a say', async () => {
  const toHost = {
    name: 'a-to-host',
    action: 'allow',
    from: { segment: 'web' },
    to: { host: true },
    ports: port(servedPort),
  };
  await host.apply(policy({ ...toHost, applies: 'egress' }));
  assert.equal(await host.connect('a', uplinkAddress, servedPort), 'timeout');
  await host.apply(policy(toHost));
  assert.equal(await host.connect('a', uplinkAddress, servedPort), 'connected');
});

test('what is in force stays when the agent dies, and when it comes back', async () => {
  await host.apply(policy());
  await host.kill('agent');
  assert.equal(await host.connect('lan', uplinkAddress, servedPort), 'timeout');
  assert.equal(await host.connect('lan', uplinkAddress, 22), 'connected');
  await host.startAgent();
  assert.equal(await host.connect('lan', uplinkAddress, servedPort), 'timeout');
  assert.equal(await host.connect('lan', uplinkAddress, 22), 'connected');
});

test('the emergency switch frees the host too, and binds it again', async () => {
  const set = (on: boolean): Promise<unknown> => host.api('PUT', '/v1/enforcement', { on, because: 'a test' });
  await set(false);
  await host.until('no input chain', async () => !/bulkhead_host/.test(tables()));
  assert.equal(await host.connect('lan', uplinkAddress, servedPort), 'connected');
  await set(true);
  await host.until('the input chain', async () => /bulkhead_host/.test(tables()));
  assert.equal(await host.connect('lan', uplinkAddress, servedPort), 'timeout');
});

test('a host that leaves its segments is free at once', async () => {
  await host.apply(hosts({ hosts: { names: ['another'] } }));
  assert.equal(await host.connect('lan', uplinkAddress, servedPort), 'connected');
  await host.until('no input chain', async () => !/bulkhead_host/.test(tables()));
});
