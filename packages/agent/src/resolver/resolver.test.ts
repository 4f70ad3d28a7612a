// The package has no types, and a project of tests alone does not see the declaration of ours.
// oxlint-disable-next-line typescript/triple-slash-reference
/// <reference path="./dns-packet.d.ts" />
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';
import { decode, encode, type Packet } from 'dns-packet';
import fc from 'fast-check';
import { pino } from 'pino';
import { AnswerCache, InFlight, TokenBuckets } from './bounds.ts';
import { nameTable, reverseAddress } from './names.ts';
import { Resolver, type ResolverOptions } from './resolver.ts';
import { framed, upstreamServers, type UpstreamServer } from './upstream.ts';

const names = nameTable(
  [
    { network: 'n1', workload: 'w-web', names: ['web', 'www'], addresses: ['10.0.0.2', 'fd00::2'] },
    { network: 'n1', workload: 'w-api', names: ['api'], addresses: ['10.0.0.3'] },
    { network: 'n1', workload: 'w-api2', names: ['api'], addresses: ['10.0.0.4'] },
    { network: 'n2', workload: 'w-secret', names: ['secret'], addresses: ['10.0.1.2'] },
  ],
  [{ workload: 'w-web', name: 'backend', target: 'api' }],
);

function open(options: Partial<ResolverOptions> = {}): Resolver {
  return new Resolver({
    ...{ log: pino({ level: 'silent' }), nowMs: () => 1000, names: () => names, upstream: () => [] },
    askerOf: (address) =>
      address === '10.0.0.2'
        ? { workload: 'w-web', network: 'n1' }
        : address === '10.0.0.3'
          ? { workload: 'w-api', network: 'n1' }
          : null,
    ...{ isOwn: (address) => address.startsWith('10.0.'), mayForward: () => true, mayResolve: () => true },
    onAnswer: () => undefined,
    ...options,
  });
}

const query = (name: string, type = 'A', more: Partial<Packet> = {}) =>
  encode({ id: 7, type: 'query', flags: 0x100, questions: [{ name, type }], ...more });
const codeOf = (answer: Uint8Array) => answer[3]! & 0xf;
const data = (answer: Uint8Array | null) => (decode(Buffer.from(answer!)).answers ?? []).map((record) => record.data);

test('names, aliases, several endpoints of one name, links, both families, and the way back', async () => {
  const resolver = open();
  const ask = async (name: string, type = 'A', from = '10.0.0.2') =>
    data(await resolver.answer(query(name, type), from, 'udp'));
  assert.deepEqual(await ask('WWW.'), ['10.0.0.2']);
  assert.deepEqual(await ask('web', 'AAAA'), ['fd00::2']);
  assert.deepEqual(await ask('api'), ['10.0.0.3', '10.0.0.4']);
  assert.deepEqual(await ask('api', 'AAAA'), []);
  assert.deepEqual(await ask('backend'), ['10.0.0.3', '10.0.0.4']);
  assert.deepEqual(await ask('backend', 'A', '10.0.0.3'), [], 'a link is its container’s alone');
  assert.deepEqual(await ask('3.0.0.10.in-addr.arpa', 'PTR'), ['api']);
  assert.equal(reverseAddress('2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa'), 'fd00::2');
});

test('another network’s names and addresses are not told', async () => {
  const resolver = open();
  for (const [name, type] of [
    ['secret', 'A'],
    ['2.1.0.10.in-addr.arpa', 'PTR'],
  ] as const) {
    const answer = await resolver.answer(query(name, type), '10.0.0.2', 'udp');
    assert.equal(codeOf(answer!), 3);
  }
});

test('whoever is no known workload gets no answer; one that may not is refused', async () => {
  assert.equal(await open().answer(query('web'), '10.9.9.9', 'udp'), null);
  assert.equal(codeOf((await open({ mayResolve: () => false }).answer(query('web'), '10.0.0.2', 'udp'))!), 5);
  const server = { address: '127.0.0.1', port: 9 };
  assert.equal(
    codeOf(
      (await open({ upstream: () => [server], mayForward: () => false }).answer(
        query('example.com'),
        '10.0.0.2',
        'udp',
      ))!,
    ),
    5,
  );
});

test('random bytes and broken questions: an answer or none, never a throw', async () => {
  const resolver = open();
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 600 }), fc.nat({ max: 40 }), async (noise, cut) => {
      await resolver.answer(noise, '10.0.0.2', 'udp');
      assert.deepEqual(data(await open().answer(Buffer.from(query('web')), '10.0.0.2', 'udp')), ['10.0.0.2']);
      const good = query('web');
      const bent = Uint8Array.from(good);
      for (const [at, byte] of noise.entries()) if (at < 4) bent[(byte + at * 7) % bent.length] = byte;
      for (const message of [bent, good.subarray(0, Math.max(0, good.length - cut))]) {
        const answer = await resolver.answer(message, '10.0.0.2', 'udp');
        if (answer !== null) assert.ok(answer.length >= 12 && (answer[2]! & 0x80) !== 0);
      }
    }),
    { numRuns: 500 },
  );
});

test('a flood is dropped before it is read, and only the flooder’s', async () => {
  const resolver = open();
  const answers = await Promise.all(
    Array.from({ length: 1000 }, () => resolver.answer(query('web'), '10.0.0.2', 'udp')),
  );
  assert.equal(answers.filter((answer) => answer !== null).length, 400);
  assert.notEqual(await resolver.answer(query('web'), '10.0.0.3', 'udp'), null);
});

/** A name server with one answer; remembers how often it was asked. */
async function nameServer(answer: (transport: 'udp' | 'tcp', id: number, asked: Packet) => Uint8Array | null) {
  const udp = createSocket('udp4');
  const asked: string[] = [];
  const reply = (transport: 'udp' | 'tcp', message: Buffer) => {
    asked.push(transport);
    return answer(transport, message.readUInt16BE(0), decode(message));
  };
  udp.on('message', (message, remote) => {
    const answer = reply('udp', message);
    if (answer !== null) udp.send(answer, remote.port, remote.address);
  });
  await new Promise<void>((resolve) => udp.bind(0, '127.0.0.1', resolve));
  const { port } = udp.address();
  const tcp = createServer((socket) =>
    socket.once('data', (chunk: Buffer) => socket.end(framed(reply('tcp', chunk.subarray(2))!))),
  );
  await new Promise<void>((resolve) => tcp.listen(port, '127.0.0.1', resolve));
  const server: UpstreamServer = { address: '127.0.0.1', port };
  return { server, asked, [Symbol.dispose]: () => void (udp.close(), tcp.close()) };
}

const answered = (id: number, asked: Packet, flags = 0x8180) =>
  encode({
    id,
    type: 'response',
    flags,
    questions: asked.questions ?? [],
    answers: flags === 0x8180 ? [{ type: 'A', name: asked.questions![0]!.name, ttl: 60, data: '192.0.2.9' }] : [],
  });

test('other names are asked of the host’s server once, and remembered', async () => {
  using upstream = await nameServer((_, id, asked) => answered(id, asked));
  const resolver = open({ upstream: () => [upstream.server] });
  for (const id of [1, 2]) {
    const answer = await resolver.answer(query('example.com', 'A', { id }), '10.0.0.2', 'udp');
    assert.deepEqual(data(answer), ['192.0.2.9']);
    assert.equal(decode(Buffer.from(answer!)).id, id);
  }
  assert.deepEqual(upstream.asked, ['udp']);
});

test('a cut answer is handed on as such, and the client’s TCP question goes over TCP', async () => {
  using upstream = await nameServer((transport, id, asked) =>
    answered(id, asked, transport === 'udp' ? 0x8380 : 0x8180),
  );
  const resolver = open({ upstream: () => [upstream.server] });
  const cut = await resolver.answer(query('example.com'), '10.0.0.2', 'udp');
  assert.equal(cut![2]! & 0x02, 0x02);
  assert.deepEqual(data(await resolver.answer(query('example.com'), '10.0.0.2', 'tcp')), ['192.0.2.9']);
  assert.deepEqual(upstream.asked, ['udp', 'tcp']);
});

test('an answer with another id or another question is none', async () => {
  using upstream = await nameServer((_, id, asked) => answered((id + 1) & 0xffff, asked));
  using second = await nameServer((_, id, asked) => answered(id, asked));
  const resolver = open({ upstream: () => [upstream.server, second.server] });
  assert.deepEqual(data(await resolver.answer(query('example.com'), '10.0.0.2', 'udp')), ['192.0.2.9']);
  assert.deepEqual(second.asked, ['udp']);
});

test('an answer that does not fit a datagram is cut', async () => {
  const many = nameTable(
    Array.from({ length: 60 }, (_, index) => ({
      network: 'n1',
      workload: `w${index}`,
      names: ['many'],
      addresses: [`10.0.2.${index}`],
    })),
    [],
  );
  const resolver = open({ names: () => many });
  const answer = await resolver.answer(query('many'), '10.0.0.2', 'udp');
  assert.ok(answer!.length <= 512);
  assert.equal(answer![2]! & 0x02, 0x02);
  assert.equal(data(await resolver.answer(query('many'), '10.0.0.2', 'tcp')).length, 60);
});

test('resolv.conf: at most three servers, whatever else is in it', () => {
  const text =
    '# comment\nnameserver 10.1.1.1\n nameserver fe80::1%eth0 # x\nnameserver junk\noptions ndots:5\nnameserver 1.1.1.1\nnameserver 9.9.9.9\n';
  assert.deepEqual(
    upstreamServers(text).map(({ address }) => address),
    ['10.1.1.1', 'fe80::1', '1.1.1.1'],
  );
});

test('bounds hold: buckets refill, caches stay within entries and bytes, not too many are under way', async () => {
  const buckets = new TokenBuckets({ perSecond: 10, burst: 2, ownersMax: 3 });
  assert.deepEqual(
    [0, 0, 0, 100].map((atMs) => buckets.take('a', atMs)),
    [true, true, false, true],
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat({ max: 20 }), fc.nat({ max: 50 }), fc.nat({ max: 3 }))), (sets) => {
      const cache = new AnswerCache({ entriesMax: 5, bytesMax: 100 });
      for (const [key, bytes, ttl] of sets) {
        cache.set(`k${key}`, new Uint8Array(bytes), ttl, 0);
        assert.ok(cache.size <= 5 && cache.bytes <= 100);
      }
      assert.equal(cache.get('k1', 10_000), undefined);
    }),
  );
  const inFlight = new InFlight({ ownerMax: 1, max: 2 });
  const gate = Promise.withResolvers<number>();
  const first = inFlight.run('a', () => gate.promise);
  assert.equal(await inFlight.run('a', () => Promise.resolve(2)), null);
  gate.resolve(1);
  assert.equal(await first, 1);
  assert.equal(await inFlight.run('a', () => Promise.resolve(2)), 2);
});

test('a clock that is set back silences no workload, and makes no answer older than it is', () => {
  const buckets = new TokenBuckets({ perSecond: 1, burst: 3, ownersMax: 8 });
  assert.ok(buckets.take('w', 10_000_000));
  assert.deepEqual([buckets.take('w', 1000), buckets.take('w', 1000), buckets.take('w', 1000)], [true, true, false]);
  assert.ok(buckets.take('w', 2000), 'and tokens come back in the new time');
  const cache = new AnswerCache({ entriesMax: 8, bytesMax: 100 });
  cache.set('name', new Uint8Array(3), 60, 10_000_000);
  assert.equal(cache.get('name', 1000), undefined);
});
