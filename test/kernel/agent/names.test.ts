/**
 * Peers by name, with real traffic: a workload asks the agent's resolver, a name server of the test's answers, and the workload connects
 * the instant the answer is there. Nothing may be refused that the answer allows, and nothing allowed that it does not.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { GovernedHost } from './governed-host.ts';
import { lanAddress } from './lan.ts';

const rounds = 300;
/** Addresses of the world: all are the test's other machine. */
const world = '203.0.112.0/20';
const port = 443;
const rejecting = { ingress: 'reject', egress: 'reject' };
const server = `
  const { createSocket } = require('node:dgram');
  const { createServer } = require('node:net');
  const { decode, encode, streamEncode } = require('dns-packet');
  const answer = (message, transport) => {
    const { id, questions } = decode(message);
    const [{ name, type }] = questions;
    const index = Number(/\\d+/.exec(name)?.[0] ?? 3000);
    const data = '203.0.' + (112 + (index >> 8)) + '.' + (index & 255);
    const record = { type: 'A', class: 'IN', ttl: 30, data };
    const alias = { type: 'CNAME', class: 'IN', ttl: 30, name, data: 'edge' + index + '.cdn.test' };
    const plain = [{ ...record, name }];
    const aliased = [alias, { ...record, name: alias.data }];
    const answers = type !== 'A' ? [] : name.startsWith('alias') ? aliased : plain;
    if (name.startsWith('long') && transport === 'udp') return { id, type: 'response', flags: 0x200, questions };
    return { id, type: 'response', questions, answers };
  };
  const udp = createSocket('udp4');
  udp.on('message', (message, from) => udp.send(encode(answer(message, 'udp')), from.port, from.address));
  udp.bind(53, '${lanAddress}', () =>
    createServer((socket) => socket.on('error', () => undefined).once('data', (bytes) => socket.end(streamEncode(answer(bytes.subarray(2), 'tcp')))))
      .listen(53, '${lanAddress}', () =>
        createServer((socket) => socket.on('error', () => undefined).end()).listen(${port}, '0.0.0.0', 4096, () => console.log('open'))));`;

/** Asks for names and connects to what it is told; prints how each attempt ended. `known`: addresses to connect to without a question. */
const client = `
  const { createSocket } = require('node:dgram');
  const { connect } = require('node:net');
  const { decode, encode, streamEncode } = require('dns-packet');
  const [gateway, names, known] = JSON.parse(process.argv[1]);
  const ends = {};
  const attempt = (address) => new Promise((resolve) => {
    const socket = connect(${port}, address);
    const timer = setTimeout(() => end('timeout'), 5000);
    const end = (how) => { clearTimeout(timer); ends[how] = (ends[how] ?? 0) + 1; socket.destroy(); resolve(); };
    socket.on('connect', () => end('connected'));
    socket.on('error', (error) => end(error.code));
  });
  const question = (name) => ({ id: 7, type: 'query', flags: 0x100, questions: [{ name, type: 'A' }] });
  const addressOf = (message) => decode(message).answers.find(({ type }) => type === 'A')?.data;
  const overTcp = (name) => new Promise((resolve, reject) => {
    const socket = connect(53, gateway, () => socket.write(streamEncode(question(name))));
    let received = Buffer.alloc(0);
    socket.on('error', reject);
    socket.on('data', (bytes) => {
      received = Buffer.concat([received, bytes]);
      if (received.length < 2 || received.length < 2 + received.readUInt16BE(0)) return;
      socket.destroy();
      resolve(attempt(addressOf(received.subarray(2))));
    });
  });
  const overUdp = (name) => new Promise((resolve, reject) => {
    const socket = createSocket('udp4');
    const ask = setInterval(() => socket.send(encode(question(name)), 53, gateway), 1000);
    const end = (result) => { clearInterval(ask); socket.close(); resolve(result); };
    socket.on('message', (message) => {
      const { flag_tc: cut } = decode(message);
      const address = addressOf(message);
      // No turn of the event loop between the answer and the SYN.
      end(cut ? overTcp(name) : address === undefined ? reject(new Error('no answer for ' + name)) : attempt(address));
    });
    socket.send(encode(question(name)), 53, gateway);
  });
  (async () => {
    for (const address of known) await attempt(address);
    // Two at a time: the answer of one comes while the other connects.
    const rest = [...names];
    await Promise.all([0, 1].map(async () => { while (rest.length > 0) await overUdp(rest.shift()); }));
    console.log(JSON.stringify(ends));
  })();`;

let host: GovernedHost;
const resolvConf = join(tmpdir(), `bhF-names-${process.pid}.conf`);

before(async () => {
  writeFileSync(resolvConf, `nameserver ${lanAddress}\n`);
  host = await GovernedHost.start({
    uplink: true,
    agentOptions: ['--docker', 'none', '--resolv-conf', resolvConf],
  });
  host.run('lan', 'ip', 'route', 'add', 'local', world, 'dev', 'lo');
  await host.attach('a', { app: 'web' });
  await host.attach('b', { app: 'web' });
  await once(host.spawn('lan', process.execPath, '-e', server).stdout!, 'data');
  const ports = [{ protocol: 'tcp', port }];
  const from = { segment: 'web' };
  await host.apply(
    {
      apiVersion: 'bulkhead.dev/v1',
      kind: 'Segment',
      metadata: { name: 'web' },
      spec: { selector: { matchLabels: { app: 'web' } }, posture: rejecting },
    },
    {
      apiVersion: 'bulkhead.dev/v1',
      kind: 'Policy',
      metadata: { name: 'names' },
      spec: {
        rules: [
          {
            name: 'server',
            action: 'allow',
            from,
            to: { cidr: `${lanAddress}/32` },
            ports: [{ protocol: 'udp', port: 53 }],
          },
          { name: 'below', action: 'allow', from, to: { dns: '*.example.com' }, ports },
          { name: 'edges', action: 'allow', from, to: { dns: '*.cdn.test' }, ports },
        ],
      },
    },
  );
});
after(async () => {
  rmSync(resolvConf, { force: true });
  await host[Symbol.asyncDispose]();
});

async function ends(
  workload: string,
  names: readonly string[],
  known: readonly string[] = [],
): Promise<Readonly<Record<string, number>>> {
  const gateway = /via (\S+)/.exec(host.run(workload, 'ip', 'route', 'show', 'default'))![1]!;
  const child = host.spawn(workload, process.execPath, '-e', client, JSON.stringify([gateway, names, known]));
  const [bytes] = (await once(child.stdout!, 'data')) as [Buffer];
  return JSON.parse(String(bytes)) as Record<string, number>;
}
const addressOf = (index: number): string => `203.0.${112 + (index >> 8)}.${index & 255}`;

test('whoever connects the instant the answer is there is never refused', async () => {
  const names = Array.from({ length: rounds }, (_, index) => `n${index}.example.com`);
  assert.deepEqual(await ends('a', names), { connected: rounds });
});

test('over an alias, and over TCP where a datagram is too small', async () => {
  const names = Array.from({ length: 20 }, (_, index) => [
    `alias${500 + index}.shop.test`,
    `long${600 + index}.example.com`,
  ]);
  assert.deepEqual(await ends('a', names.flat()), { connected: 40 });
});

test('other names, and addresses that only another workload learnt, are refused', async () => {
  assert.deepEqual(await ends('a', ['n700.example.net', 'example.com']), { ECONNREFUSED: 2 });
  assert.deepEqual(await ends('b', [], [addressOf(1), addressOf(700)]), { ECONNREFUSED: 2 });
});

test('the flow names the name, and what was learnt outlives the agent', async () => {
  const known = [addressOf(rounds - 1), addressOf(519)];
  await host.kill('agent');
  assert.deepEqual(await ends('a', [], known), { connected: 2 }, 'no agent');
  await host.startAgent();
  await host.until('the link', async () => (await host.status()).link.isReady);
  assert.deepEqual(await ends('a', [], known), { connected: 2 }, 'another agent');
  await host.until('a flow with its name', async () => {
    const flows = await host.flows(`&address=${addressOf(519)}`);
    return flows.some(({ destination }) => destination.names?.join(' ') === 'alias519.shop.test edge519.cdn.test');
  });
});
