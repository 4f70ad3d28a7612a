/**
 * What is malformed, sent to the running processes where the tests beside the source do not send it: the agent's control socket, the
 * agent link from both ends, certificates. An error that names the place, nothing half done, and the process lives.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { createServer } from 'node:https';
import { connect } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { WebSocketServer, type WebSocket } from 'ws';
import {
  decodeAgentMessage,
  encodeAgentMessage,
  encodeManagerMessage,
  frameBytesMax,
  type DesiredMessage,
} from '@bulkhead/protocol';
import { openAuthority } from '../../packages/manager/src/hosts/authority.ts';
import { AgentClient, makeAgentKeys } from '../../packages/manager/src/testing/agent-client.ts';
import { workloadReport } from '../../packages/manager/src/testing/link-fixture.ts';
import { attempts } from '../threats/attempts.ts';
import { moveInto } from '../threats/raw-link.ts';
import { closedPort, linkPort, openPort, Stage } from '../threats/stage.ts';

let stage: Stage;
let pids: Readonly<Record<'agent' | 'manager', number>>;

before(async () => {
  stage = await Stage.open();
  moveInto(stage.host.pathOf());
  pids = { agent: stage.host.pidOf('agent'), manager: stage.host.pidOf('manager') };
});
after(() => stage?.[Symbol.asyncDispose]());

const controlSocket = (): string => join(stage.host.directory, 'agent.sock');

function control(
  method: string,
  path: string,
  body: string | Uint8Array = '',
): Promise<{ readonly status: number; readonly text: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; text: string }>();
  const sent = request({ socketPath: controlSocket(), method, path }, (response) => {
    let text = '';
    response.setEncoding('utf8').on('data', (part: string) => (text += part));
    response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
  });
  sent.on('error', reject);
  sent.end(body);
  return promise;
}

async function raw(bytes: string | Uint8Array): Promise<string> {
  const socket = connect(controlSocket());
  let text = '';
  socket.setEncoding('utf8').on('data', (part: string) => (text += part));
  socket.on('error', () => undefined);
  // Not once(): a server that resets the connection has answered too.
  const closed = new Promise((resolve) => socket.on('close', resolve));
  socket.end(bytes);
  await closed;
  return text;
}

/** Everything on the host that an attachment would leave behind. */
async function traces(): Promise<unknown> {
  const links = JSON.parse(stage.host.run(null, 'ip', '-j', 'link', 'show')) as readonly { readonly ifname: string }[];
  return {
    links: links.map(({ ifname }) => ifname).toSorted(),
    endpoints: (await stage.host.endpoints()).map(({ endpoint }) => endpoint).toSorted(),
    attached: await stage.host.command('attached', null),
  };
}

async function asBefore(): Promise<void> {
  const { host } = stage;
  assert.equal(host.pidOf('agent'), pids.agent);
  process.kill(pids.agent, 0);
  const address = stage.address('vault');
  const outcomes = await attempts(
    host,
    'alice',
    [openPort, closedPort].map((port) => ({ address, port })),
    1500,
  );
  assert.deepEqual(outcomes, ['connected', 'timeout']);
}

test('the control socket: each wrong request has an answer that says what and where', async () => {
  const before = await traces();
  const file = join(stage.host.directory, 'no-namespace');
  writeFileSync(file, 'x');
  stage.host.addNamespace('free');
  const good = { kind: 'netns', name: 'n', path: stage.host.pathOf('free'), labels: { app: 'web' } };
  const attach = (change: object) => JSON.stringify({ argument: { ...good, ...change } });
  const wrong: readonly (readonly [body: string | Uint8Array, status: number, says: RegExp])[] = [
    ['{', 400, /no JSON/],
    [new Uint8Array([0xff, 0, 0xfe]), 400, /no JSON/],
    ['[]', 400, /object/],
    ['{"argumen": 1}', 400, /argumen/],
    [`{"argument": "${'x'.repeat(1_100_000)}"}`, 400, /more than 1048576 bytes/],
    ['{"argument": null}', 422, /./],
    [attach({ kind: 'vm' }), 422, /kind/],
    [attach({ name: '../x' }), 422, /name/],
    [attach({ path: 'relative' }), 422, /path/],
    [attach({ path: file }), 422, /./],
    [attach({ path: '/run/netns/bhT-there-is-none' }), 422, /no network namespace/],
    [attach({ ipv4: '10.224.0.256' }), 422, /ipv4/],
    [attach({ ipv4: stage.address('vault') }), 422, /in use|is that of/],
    [attach({ ipv6: 'fe80::1%eth0' }), 422, /ipv6/],
    [attach({ mtu: 1e9 }), 422, /mtu/],
    [attach({ interface: 'a/b' }), 422, /interface/],
    [attach({ interface: 'lo' }), 422, /./],
    [attach({ labels: { 'bulkhead.dev/host': 'x' } }), 422, /labels.*nobody can claim|nobody can claim/s],
    [attach({ labels: { app: 1 } }), 422, /labels/],
    [attach({ unknown: true }), 422, /unknown/],
  ];
  for (const [body, status, says] of wrong) {
    const answer = await control('POST', '/v1/commands/attach', body);
    const shown = String(body).slice(0, 200);
    assert.equal(answer.status, status, `${shown}: ${answer.text}`);
    assert.match(
      (JSON.parse(answer.text) as { readonly error: { readonly message: string } }).error.message,
      says,
      shown,
    );
  }
  assert.equal((await control('GET', '/v1/nothing')).status, 404);
  assert.equal((await control('POST', '/v1/commands/__proto__', '{}')).status, 404);
  assert.equal((await control('DELETE', '/v1/status')).status, 404);
  assert.deepEqual(await traces(), before);
  await asBefore();
});

test('the control socket: what is no request at all', async () => {
  for (const bytes of [
    'GET // HTTP/1.1\r\nhost: x\r\n\r\n',
    'GET http://[ HTTP/1.1\r\nhost: x\r\n\r\n',
    'GET /v1/status HTTP/1.1\r\n\r\n',
    'POST /v1/commands/attach HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n{',
    'POST /v1/commands/attach HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n',
    `GET /${'a'.repeat(100_000)} HTTP/1.1\r\nhost: x\r\n\r\n`,
    'NONSENSE\r\n\r\n',
    '\0\0\0\0',
  ]) {
    const answer = await raw(bytes);
    assert.doesNotMatch(answer, /^HTTP\/1\.1 5\d\d/, JSON.stringify(bytes.slice(0, 60)));
  }
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(
        fc.string({ unit: 'binary' }),
        fc.webUrl().map((url) => `GET ${url} HTTP/1.1\r\nhost: x\r\n\r\n`),
      ),
      async (bytes) => {
        await raw(bytes);
      },
    ),
    { numRuns: 100 },
  );
  await asBefore();
});

test(
  'the agent link: frames that are almost right end their connection, and nobody else’s',
  { timeout: 60_000 },
  async () => {
    const credentials = await stage.enrol('h2');
    const frames = [
      encodeAgentMessage({
        type: 'workloads',
        body: { full: true, set: [workloadReport('h2/docker/a', { labels: { app: 'web' } })], removed: [] },
      }),
      encodeAgentMessage({ type: 'flows', body: { batch: 1, lost: 0, flows: [] } }),
      encodeAgentMessage({
        type: 'status',
        body: { counters: {}, eventsLost: 0, puntsLost: 0, residentBytes: 0, enforcing: true, hostLabels: {} },
      }),
      encodeAgentMessage({
        type: 'renew',
        body: { request: '-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----' },
      }),
    ];
    const mutated = fc
      .tuple(
        fc.constantFrom(...frames),
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 6 }),
        fc.nat(40),
      )
      .map(([frame, changes, cut]) => {
        const bytes = Buffer.from(frame.subarray(0, Math.max(1, frame.length - cut)));
        for (const [at, value] of changes) bytes[at % bytes.length] = value;
        return bytes;
      });
    await fc.assert(
      fc.asyncProperty(fc.array(mutated, { minLength: 1, maxLength: 4 }), async (list) => {
        await using client = await AgentClient.connect(linkPort, credentials);
        client.hello('h2');
        await client.next('welcome');
        for (const frame of list) client.sendBytes(frame);
        client.sendBytes(new Uint8Array([255]));
        await client.untilClosed();
        assert.match(client.all('goodbye').at(-1)?.reason ?? '', /./);
      }),
      { numRuns: 60 },
    );
    process.kill(pids.manager, 0);
    assert.ok((await stage.host.status()).link.isReady);
    await asBefore();
  },
);

test('requests for certificates: whatever they are, refused with a reason, and the token is not used up', async () => {
  const { host } = stage;
  const created = (await host.api('POST', '/v1/enrolment-tokens', { host: 'h7' })) as { readonly token: string };
  const [, id, secret] = created.token.split('.');
  const { request: good } = await makeAgentKeys('h7');
  const body = Buffer.from(good.replace(/-----[^-]+-----/g, ''), 'base64');
  const pem = (bytes: Uint8Array) =>
    `-----BEGIN CERTIFICATE REQUEST-----\n${Buffer.from(bytes).toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`;
  const wrong = fc.oneof(
    fc.string(),
    fc.uint8Array({ maxLength: 400 }).map(pem),
    // One byte of the signed part changed: the signature does not hold any more.
    fc.tuple(fc.integer({ min: 4, max: body.length - 1 }), fc.integer({ min: 1, max: 255 })).map(([at, flip]) => {
      const bytes = Buffer.from(body);
      bytes[at]! ^= flip;
      return pem(bytes);
    }),
  );
  await fc.assert(
    fc.asyncProperty(wrong, async (request) => {
      await assert.rejects(
        host.api('POST', '/v1/enrol', { host: 'h7', token: { id, secret }, request }),
        /^Error: 4\d\d: /,
      );
    }),
    { numRuns: 60 },
  );
  await host.api('POST', '/v1/enrol', { host: 'h7', token: { id, secret }, request: good });
});

/** A manager with the right certificate that speaks nonsense: what the agent does with each frame. */
async function nonsense(frames: readonly Uint8Array[]): Promise<void> {
  const authority = await openAuthority(join(stage.host.directory, 'manager'), Date.now);
  const { certificatePem, keyPem } = await authority.issueServer([]);
  const server = createServer({
    cert: certificatePem,
    key: keyPem,
    ca: authority.certificatePem,
    requestCert: true,
    minVersion: 'TLSv1.3',
  });
  const sockets = new WebSocketServer({ server, perMessageDeflate: false });
  const waiting = [...frames];
  let spoken = 0;
  sockets.on('connection', (socket: WebSocket) => {
    socket.on('error', () => undefined);
    socket.once('message', (data) => {
      const hello = decodeAgentMessage(data as Buffer);
      assert.ok(hello.kind === 'message' && hello.message.type === 'hello');
      const frame = waiting.shift();
      if (frame === undefined) return socket.close();
      spoken += 1;
      socket.send(frame, { binary: true });
      socket.send(encodeManagerMessage({ type: 'goodbye', body: { reason: 'the next, please' } }));
      socket.close();
    });
  });
  server.listen(linkPort, '127.0.0.1');
  await once(server, 'listening');
  try {
    await stage.host.until('the agent has heard it all', async () => spoken === frames.length);
  } finally {
    for (const socket of sockets.clients) socket.terminate();
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  }
}

test('a manager that speaks nonsense: the agent goes on with what it had, and with the manager once it is back', async () => {
  const { host } = stage;
  const { revision } = await host.status();
  const desired = (change: Partial<DesiredMessage>): Uint8Array =>
    encodeManagerMessage({
      type: 'desired',
      body: {
        ...{ revision: revision + 1, from: revision, more: false, documents: [], documentsRemoved: [] },
        ...{ identities: [], identitiesRemoved: [], workloads: [], workloadsRemoved: [], auditHead: null },
        ...change,
      },
    });
  await host.kill('manager');
  await nonsense([
    new Uint8Array([1, 2, 3]),
    encodeAgentMessage({ type: 'flows', body: { batch: 1, lost: 0, flows: [] } }),
    new Uint8Array(Math.min(frameBytesMax + 1, 20 * 1024 * 1024)),
    desired({ from: revision + 5, revision: revision + 6 }),
    desired({ from: 0, more: true }),
    desired({
      documents: [{ apiVersion: 'bulkhead.dev/v1', kind: 'Policy', metadata: { name: 'x' }, spec: { rules: 7 } }],
    }),
  ]);
  await asBefore();
  await host.startManager();
  await host.until('the link', async () => (await host.status()).link.isReady);
  await host.until('the revision is in force', async () => {
    const now = (await host.api('GET', '/v1/status')) as { readonly desiredRevision: number };
    return (await host.status()).receipt?.revision === now.desiredRevision;
  });
  await asBefore();
});
