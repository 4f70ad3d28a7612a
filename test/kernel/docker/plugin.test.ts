/** The plugin's socket against whatever comes: wrong, repeated, unknown, torn. It answers in the engine's form, and goes on. */
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { request } from 'node:http';
import { connect } from 'node:net';
import fc from 'fast-check';
import { Harness, type AttachHost } from '../../engine/harness.ts';

let harness: Harness;
let host: AttachHost;

before(async () => {
  harness = await Harness.start('dkplug');
  host = await harness.startHost();
});
after(async () => {
  await harness?.[Symbol.asyncDispose]();
});

function post(
  path: string,
  body: string | Uint8Array,
): Promise<{ readonly status: number; readonly answer: Record<string, unknown> }> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ socketPath: harness.settings.pluginSocket, path, method: 'POST' }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => (text += chunk));
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, answer: JSON.parse(text) as Record<string, unknown> }),
      );
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}
const call = (method: string, argument: unknown) => post(`/${method}`, JSON.stringify(argument));

const methods = [
  ...[
    'CreateNetwork',
    'DeleteNetwork',
    'CreateEndpoint',
    'DeleteEndpoint',
    'EndpointOperInfo',
    'Join',
    'Leave',
    'ProgramExternalConnectivity',
  ].map((name) => `NetworkDriver.${name}`),
  ...['RevokeExternalConnectivity', 'DiscoverNew', 'AllocateNetwork'].map((name) => `NetworkDriver.${name}`),
  ...['RequestPool', 'ReleasePool', 'RequestAddress', 'ReleaseAddress'].map((name) => `IpamDriver.${name}`),
];
/** Requests that look right but for a part. */
const almost = fc.record(
  {
    NetworkID: fc.oneof(fc.string(), fc.constantFrom('n1', '../../etc', ''), fc.integer()),
    EndpointID: fc.oneof(fc.string(), fc.constantFrom('e1', 'bhw; reboot'), fc.anything()),
    SandboxKey: fc.string(),
    Interface: fc.oneof(
      fc.record({ Address: fc.oneof(fc.string(), fc.constantFrom('10.1.0.2/24', '::1/0')), MacAddress: fc.string() }),
      fc.anything(),
    ),
    Options: fc.oneof(
      fc.dictionary(
        fc.constantFrom('com.docker.network.portmap', 'bulkhead.x', 'com.docker.network.generic'),
        fc.anything(),
      ),
      fc.anything(),
    ),
    IPv4Data: fc.oneof(
      fc.array(fc.record({ Pool: fc.oneof(fc.string(), fc.constant('10.1.0.0/24')), Gateway: fc.string() })),
      fc.anything(),
    ),
    PoolID: fc.string(),
    Pool: fc.oneof(fc.string(), fc.constantFrom('10.0.0.0/0', 'fd00::/129', '10.1.2.3/30')),
    Address: fc.string(),
    V6: fc.oneof(fc.boolean(), fc.anything()),
  },
  { requiredKeys: [] },
);

test('random requests: an answer with a text, and nothing of it is kept in the kernel', async () => {
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...methods), fc.oneof(almost, fc.jsonValue()), async (method, argument) => {
      const { status, answer } = await post(`/${method}`, JSON.stringify(argument) ?? '');
      assert.ok(
        status === 200 || (status === 500 && typeof answer['Err'] === 'string' && answer['Err'] !== ''),
        `${method}: ${status}`,
      );
    }),
    { numRuns: 1000 },
  );
  const { endpoints, kernel } = await host.snapshot();
  assert.deepEqual([endpoints, kernel], [[], []]);
});

test('what is no request at all', async () => {
  assert.equal((await post('/NetworkDriver.Join', '{"NetworkID": ')).status, 500);
  assert.equal((await post('/NetworkDriver.NoSuch', '{}')).status, 404);
  assert.match(String((await post('/NetworkDriver.Join', new Uint8Array([0xff, 0xfe, 0]))).answer['Err']), /not JSON/);
  const large = await post('/NetworkDriver.Join', `"${'x'.repeat(2 * 1024 * 1024)}"`);
  assert.match(String(large.answer['Err']), /more than 1048576 bytes/);
  await new Promise<void>((resolve) => {
    const socket = connect(harness.settings.pluginSocket, () => socket.end('GARBAGE\r\n\r\n'));
    socket.resume();
    socket.on('close', () => resolve());
  });
  assert.deepEqual((await call('Plugin.Activate', {})).answer, { Implements: ['NetworkDriver', 'IpamDriver'] });
});

test('errors name the place', async () => {
  const { answer } = await call('NetworkDriver.CreateEndpoint', {
    NetworkID: 'n1',
    EndpointID: 'e1',
    Interface: { Address: 7 },
  });
  assert.match(String(answer['Err']), /request: Interface\.Address/);
  const network = { NetworkID: 'n1', IPv4Data: [{ Pool: '10.9.0.0/24', Gateway: '10.9.0.1/24' }] };
  const generic = (options: object) =>
    call('NetworkDriver.CreateNetwork', { ...network, Options: { 'com.docker.network.generic': options } });
  assert.match(String((await generic({ 'bulkhead.masquerad': 'false' })).answer['Err']), /no such network option/);
  assert.match(
    String((await generic({ 'com.docker.network.driver.mtu': '90' })).answer['Err']),
    /expected 1280 to 65535/,
  );
});

test('every step may come twice, and the end may come first', async () => {
  const network = { NetworkID: 'net', IPv4Data: [{ Pool: '10.9.0.0/24', Gateway: '10.9.0.1/24' }] };
  const endpoint = { NetworkID: 'net', EndpointID: 'e'.repeat(64) };
  const ok = async (method: string, argument: object) => {
    const { status, answer } = await call(method, argument);
    assert.equal(status, 200, `${method}: ${JSON.stringify(answer)}`);
    return answer;
  };
  await ok('NetworkDriver.Leave', endpoint);
  await ok('NetworkDriver.DeleteEndpoint', endpoint);
  for (let twice = 0; twice < 2; twice++) {
    await ok('NetworkDriver.CreateNetwork', network);
    await ok('NetworkDriver.CreateEndpoint', { ...endpoint, Interface: { Address: '10.9.0.2/32' } });
  }
  const other = await call('NetworkDriver.CreateEndpoint', {
    ...endpoint,
    EndpointID: 'f'.repeat(64),
    Interface: { Address: '10.9.0.2/32' },
  });
  assert.match(String(other.answer['Err']), /in use/);
  const joins = await Promise.all([1, 2].map(() => ok('NetworkDriver.Join', { ...endpoint, SandboxKey: '/s' })));
  assert.deepEqual(joins[0], joins[1]);
  assert.deepEqual(joins[0]!['StaticRoutes'], [{ Destination: '10.9.0.1/32', RouteType: 1 }]);
  const { endpoints, kernel } = await host.snapshot();
  assert.deepEqual([endpoints.length, kernel.map(({ state }) => state)], [1, ['held']], 'nobody knows whose it is');
  for (let twice = 0; twice < 2; twice++) {
    for (const method of ['Leave', 'DeleteEndpoint', 'RevokeExternalConnectivity'])
      await ok(`NetworkDriver.${method}`, endpoint);
    await ok('NetworkDriver.DeleteNetwork', { NetworkID: 'net' });
  }
  assert.deepEqual((await host.snapshot()).endpoints, []);
});
