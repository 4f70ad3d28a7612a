import { test } from 'node:test';
import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { assignPorts, portIsFree } from './published-ports.ts';

const free = () => Promise.resolve(true);

test('ports as asked for, ranges by the first free one, and the engine’s own choice', async () => {
  const assigned = await assignPorts(
    [
      { Proto: 6, Port: 80, HostPort: 8080 },
      { Proto: 6, Port: 81, HostPort: 8080, HostPortEnd: 8090 },
      { Proto: 17, Port: 53, HostIP: '127.0.0.1', HostPort: 8080 },
      { Proto: 6, Port: 82 },
    ],
    [],
    free,
    7,
  );
  assert.deepEqual(
    assigned.map(({ protocol, hostAddress, hostPort, port }) => [protocol, hostAddress, hostPort, port]),
    [
      ['tcp', '', 8080, 80],
      ['tcp', '', 8081, 81],
      ['udp', '127.0.0.1', 8080, 53],
      ['tcp', '', 49_163, 82],
    ],
  );
});

test('a port of another endpoint is refused, also when only one of them names an address', async () => {
  const taken = [{ protocol: 'tcp', hostAddress: '192.0.2.1', hostPort: 80, port: 80 }] as const;
  const refused = assignPorts([{ Proto: 6, Port: 80, HostPort: 80 }], taken, free, 0);
  await assert.rejects(refused, /Bind for 0\.0\.0\.0 failed: port 80\/tcp is already allocated/);
  await assignPorts([{ Proto: 6, Port: 80, HostPort: 80, HostIP: '192.0.2.2' }], taken, free, 0);
  await assignPorts([{ Proto: 6, Port: 80, HostPort: 80, HostIP: '::' }], taken, free, 0);
  await assert.rejects(assignPorts([{ Proto: 1, Port: 8 }], [], free, 0), /protocol 1 has no ports/);
  await assert.rejects(assignPorts([{ Proto: 6, Port: 8, HostIP: 'eth0' }], [], free, 0), /not an IP address/);
});

test('a port that a process of the host listens on is not free', async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  assert.equal(await portIsFree({ protocol: 'tcp', hostAddress: '127.0.0.1', hostPort: port }), false);
  assert.equal(await portIsFree({ protocol: 'tcp', hostAddress: '', hostPort: port }), false);
  await new Promise((resolve) => server.close(resolve));
  assert.equal(await portIsFree({ protocol: 'tcp', hostAddress: '', hostPort: port }), true);
});
