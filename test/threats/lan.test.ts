/** A machine on the LAN that sends any packet: it is taken for no workload, and reaches agent and manager not without a certificate. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import type { ConnectionOptions } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { managerServerName } from '@bulkhead/protocol';
import { openAuthority } from '../../packages/manager/src/hosts/authority.ts';
import { makeAgentKeys } from '../../packages/manager/src/testing/agent-client.ts';
import { lanAddress, uplinkAddress } from '../kernel/agent/lan.ts';
import { icmp, tcp, tcpFlag, udp, type Ends } from '../kernel/datapath/frames.ts';
import { arrived } from './raw-link.ts';
import { apiPort, closedPort, gateway, linkPort, openPort, policy, Stage } from './stage.ts';
import type { TlsAttempt, TlsOutcome } from './tls-client.ts';

const lanIpv6 = 'fd00:1a::2';
let stage: Stage;
let honest: Ends;
let marker = 30_000;

before(async () => {
  stage = await Stage.open();
  const { host } = stage;
  const macOf = (where: string | null, name: string): string =>
    (JSON.parse(host.run(where, 'ip', '-j', 'link', 'show', name)) as readonly { address: string }[])[0]!.address;
  honest = {
    sourceMac: macOf('lan', 'eth0'),
    destinationMac: macOf(null, 'up0'),
    source: lanAddress,
    destination: stage.address('vault'),
  };
  host.run('lan', 'ip', 'route', 'add', '10.224.0.0/16', 'via', uplinkAddress);
});
after(() => stage?.[Symbol.asyncDispose]());
beforeEach(() => {
  for (const link of stage.links.values()) arrived(link);
});

/** What any workload got of these frames; a question to the host that the LAN may ask shows that they have been handled. */
async function heardByWorkloads(...frames: readonly Uint8Array[]): Promise<readonly string[]> {
  const lan = stage.link('lan');
  const id = ++marker;
  for (const frame of frames) lan.send(frame);
  lan.send(icmp({ ...honest, destination: uplinkAddress }, 8, 0, Buffer.from([id >> 8, id & 255, 0, 1])));
  await stage.host.until('the host answers', async () =>
    arrived(lan).some(({ icmpType, payload }) => icmpType === 0 && payload.readUInt16BE(4) === id),
  );
  return ['mallory', 'alice', 'vault'].flatMap((name) =>
    arrived(stage.link(name)).map((seen) => `${name}: ${seen.source} > ${seen.destination}:${seen.destinationPort}`),
  );
}

test('an address of a workload or of the host, arriving on the uplink: dropped and counted', async () => {
  const sources = [stage.address('alice'), stage.address('vault'), gateway, uplinkAddress];
  const frames = sources.flatMap((source, index) => [
    tcp({ ...honest, source }, 1000 + index, openPort),
    udp({ ...honest, source }, 1000 + index, 53),
    tcp({ ...honest, source, destination: uplinkAddress }, 1000 + index, apiPort),
  ]);
  const six = tcp(
    { ...honest, source: stage.address('alice', 6), destination: stage.address('vault', 6) },
    1000,
    openPort,
  );
  const before = await stage.host.counter('uplink_spoofed');
  assert.deepEqual(await heardByWorkloads(...frames, six), []);
  const counted = (await stage.host.counter('uplink_spoofed')) - before;
  assert.ok(counted >= frames.length, `${counted} of ${frames.length + 1} are counted`);
});

test('a workload’s address is routed here, and still nobody outside reaches it without a rule', async () => {
  const source6 = { ...honest, source: lanIpv6, destination: stage.address('vault', 6) };
  const frames = [
    tcp(honest, 2000, openPort),
    tcp(honest, 2000, closedPort),
    tcp(honest, openPort, 2001, { flags: tcpFlag.syn | tcpFlag.ack }),
    tcp(honest, 2002, openPort, { flags: tcpFlag.ack }),
    udp(honest, 2000, 53),
    icmp(honest, 8, 0, Buffer.from([0, 1, 0, 1])),
    icmp(
      honest,
      3,
      1,
      Buffer.concat([Buffer.alloc(4), tcp(stage.between('vault', 'alice'), openPort, 4).subarray(14)]),
    ),
    icmp(
      honest,
      5,
      1,
      Buffer.concat([Buffer.from([198, 51, 100, 2]), tcp(stage.between('vault', 'alice'), 1, 2).subarray(14)]),
    ),
    tcp(source6, 2000, openPort),
  ];
  assert.deepEqual(await heardByWorkloads(...frames), []);
});

test('a packet in a tunnel’s clothes is none', async () => {
  const inner = tcp(stage.between('alice', 'vault'), 3000, openPort);
  const identity = 256;
  const vxlan = Buffer.concat([Buffer.from([8, 0, 0, 0, identity >> 16, identity >> 8, identity & 255, 0]), inner]);
  const ends = { ...honest, destination: uplinkAddress };
  assert.deepEqual(
    await heardByWorkloads(udp(ends, 3000, 4789, { payload: vxlan }), udp(ends, 3000, 8472, { payload: vxlan })),
    [],
  );
});

test('the control: what a workload began outside is answered; what only looks like an answer is not', async () => {
  const { host } = stage;
  const rule = {
    name: 'out',
    action: 'allow',
    from: { segment: 'web' },
    to: { cidr: '198.51.100.0/24' },
    ports: [{ protocol: 'tcp', port: openPort }],
  };
  await host.listen('lan', openPort);
  await host.apply(policy('out', rule));
  assert.equal(await host.connect('alice', 'lan', openPort, 5000), 'connected');
  await host.until('the connection is over', async () =>
    (await host.flows()).some(({ state, destination }) => state === 'closed' && destination.address === lanAddress),
  );
  arrived(stage.link('alice'));
  const answers = [tcpFlag.syn | tcpFlag.ack, tcpFlag.ack, tcpFlag.rst].flatMap((flags) =>
    [stage.address('alice'), uplinkAddress].map((destination) =>
      tcp({ ...honest, destination }, openPort, 44_444, { flags }),
    ),
  );
  assert.deepEqual(await heardByWorkloads(...answers), []);
});

test('the agent’s resolver answers workloads only', async () => {
  const question = Buffer.from('12340100000100000000000005616c6963650000010001', 'hex');
  const lan = stage.link('lan');
  const frames = [uplinkAddress, gateway].map((destination) =>
    udp({ ...honest, destination }, 5353, 53, { payload: question }),
  );
  assert.deepEqual(await heardByWorkloads(...frames), []);
  assert.deepEqual(
    arrived(lan).filter(({ sourcePort }) => sourcePort === 53),
    [],
  );
  const own = { ...stage.between('mallory', gateway) };
  stage.link('mallory').send(udp(own, 5353, 53, { payload: question }));
  await stage.host.until('the control: a workload is answered', async () =>
    arrived(stage.link('mallory')).some(({ sourcePort }) => sourcePort === 53),
  );
});

const clientFile = fileURLToPath(new URL('tls-client.ts', import.meta.url));
async function overTls(list: readonly TlsAttempt[]): Promise<readonly TlsOutcome[]> {
  const child = stage.host.spawn('lan', process.execPath, clientFile, JSON.stringify(list));
  let text = '';
  child.stdout!.setEncoding('utf8').on('data', (part: string) => (text += part));
  await once(child, 'close');
  return JSON.parse(text) as readonly TlsOutcome[];
}

const upgrade = [
  'GET / HTTP/1.1',
  'host: x',
  'connection: upgrade',
  'upgrade: websocket',
  'sec-websocket-version: 13',
  `sec-websocket-key: ${Buffer.alloc(16).toString('base64')}`,
  '\r\n',
].join('\r\n');

test('the agent link: no certificate, a foreign one, an old protocol, no TLS: nobody gets in; a host’s own: in', async () => {
  const ca = readFileSync(join(stage.host.directory, 'manager', 'ca.pem'), 'utf8');
  const usual: ConnectionOptions = { ca, servername: managerServerName };
  const directory = mkdtempSync(join(tmpdir(), 'bhT-foreign-'));
  try {
    const foreign = await openAuthority(directory, Date.now);
    const { keyPem, request } = await makeAgentKeys('h1');
    const issued = await foreign.issueHost('h1', request);
    assert.ok(issued.kind === 'issued');
    const { certificatePem, keyPem: ownKey } = await stage.enrol('h2');
    const own = { cert: certificatePem, key: ownKey };
    const at = { host: uplinkAddress, port: linkPort, request: upgrade };
    const refused: readonly TlsAttempt[] = [
      { ...at, options: usual },
      { ...at, options: { ...usual, cert: issued.issued.pem, key: keyPem } },
      { ...at, options: { ...usual, ...own, maxVersion: 'TLSv1.2' } },
    ];
    const outcomes = await overTls([...refused, { ...at, options: { ...usual, ...own } }]);
    for (const outcome of outcomes.slice(0, -1)) {
      assert.equal(outcome.statusLine, '', outcome.answer);
      assert.notEqual(outcome.error, null);
    }
    assert.match(outcomes.at(-1)!.statusLine, /^HTTP\/1\.1 101 /);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
  const plain = stage.host.spawn('lan', 'busybox', 'nc', '-w', '2', uplinkAddress, String(linkPort));
  let answer = '';
  plain.stdout!.setEncoding('latin1').on('data', (part: string) => (answer += part));
  plain.stdin!.end(upgrade);
  await once(plain, 'close');
  assert.doesNotMatch(answer, /101|desired|welcome/);
});

test('the API: without a token, or with an invented one, nothing but what is public', async () => {
  const ca = readFileSync(join(stage.host.directory, 'manager', 'ca.pem'), 'utf8');
  const options: ConnectionOptions = { ca, servername: managerServerName };
  const ask = (method: string, path: string, body = '', headers: readonly string[] = []): TlsAttempt => ({
    ...{ host: uplinkAddress, port: apiPort, options },
    request: [
      `${method} ${path} HTTP/1.1`,
      ...['host: x', 'connection: close', `content-length: ${body.length}`, 'content-type: application/json'],
      ...headers,
      `\r\n${body}`,
    ].join('\r\n'),
  });
  const off = JSON.stringify({ on: false, because: 'x' });
  const invented = ['authorization: Bearer bht.0123456789abcdef.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'];
  const closed = [
    ask('GET', '/v1/workloads'),
    ask('GET', '/v1/flows', '', invented),
    ask('GET', '/metrics'),
    ask('POST', '/v1/documents', '{"documents":[]}'),
    ask('PUT', '/v1/enforcement', off),
    ask('PUT', '/v1/enforcement', off, invented),
    ask('POST', '/v1/enrolment-tokens', '{}', ['authorization: Basic YWRtaW46YWRtaW4=']),
  ];
  const token = { id: '0'.repeat(16), secret: 'A'.repeat(43) };
  const { request } = await makeAgentKeys('h9');
  const enrol = ask('POST', '/v1/enrol', JSON.stringify({ host: 'h9', token, request }));
  const outcomes = await overTls([...closed, enrol, ask('GET', '/healthz')]);
  for (const [index, outcome] of outcomes.slice(0, closed.length).entries()) {
    assert.match(
      outcome.statusLine,
      /^HTTP\/1\.1 401 /,
      `${closed[index]!.request}: ${outcome.error} ${outcome.answer}`,
    );
  }
  assert.match(outcomes.at(-2)!.statusLine, /^HTTP\/1\.1 4\d\d /);
  assert.match(outcomes.at(-1)!.statusLine, /^HTTP\/1\.1 200 /);
  const status = (await stage.host.api('GET', '/v1/status')) as { readonly enforcement: { readonly on: boolean } };
  assert.equal(status.enforcement.on, true);
});
