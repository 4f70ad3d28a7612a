/** Containers of a real engine on networks of ours: labels, verdicts, names, addresses, published ports, the way out. */
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { importBusybox } from '@bulkhead/cli';
import { Harness, outsideAddress, until, uplinkAddress, type AttachHost } from '../../engine/harness.ts';

const image = 'bulkhead/busybox:1';
let harness: Harness;
let host: AttachHost;

before(async () => {
  harness = await Harness.start('dkcon');
  host = await harness.startHost();
  await harness.docker(
    'network',
    'create',
    '-d',
    'bulkhead',
    '--ipam-driver',
    'bulkhead',
    '--subnet',
    '10.77.0.0/24',
    'front',
  );
});
after(async () => {
  await harness?.[Symbol.asyncDispose]();
});

const sleeper = (name: string, ...flags: readonly string[]) =>
  harness.docker('run', '-d', '--name', name, '--network', 'front', ...flags, image, 'sleep', '10000');
/** A page that says who it is. */
const server = (name: string, ...flags: readonly string[]) =>
  harness.docker(
    'run',
    '-d',
    '--name',
    name,
    '--network',
    'front',
    ...flags,
    image,
    'sh',
    '-c',
    `mkdir /w; echo "this is ${name}" >/w/index.html; exec httpd -f -p 80 -h /w`,
  );
const open = ['--label', 'bulkhead.open=yes'];
/** What comes back from an HTTP server, asked from inside a container; '' where nothing does. */
const get = (from: string, where: string, port = 80) =>
  harness.docker(
    'exec',
    from,
    'sh',
    '-c',
    `printf 'GET / HTTP/1.0\\r\\n\\r\\n' | timeout 2 nc -w 1 ${where} ${port} || true`,
  );
const workloadOf = async (name: string) => (await host.snapshot()).workloads.find((workload) => workload.name === name);
const addressOf = async (name: string) => {
  const { endpoints } = await host.snapshot();
  const workload = await workloadOf(name);
  return endpoints.find((endpoint) => endpoint.workload === workload?.workload)?.ipv4;
};

test('labels of the container and of the attachment count, those of the image do not', async () => {
  await importBusybox(harness.engine, { tag: 'labelled:1', changes: ['LABEL bulkhead.open=yes bulkhead.team=image'] });
  await harness.docker(
    'run',
    '-d',
    '--name',
    'claims',
    '--network',
    'name=front,driver-opt=bulkhead.zone=dmz',
    '--label',
    'bulkhead.team=own',
    'labelled:1',
    'sleep',
    '1000',
  );
  const workload = await until('the workload is known', () => workloadOf('claims'));
  assert.deepEqual(workload.labels, { team: 'own' });
  assert.match(workload.imageDigest ?? '', /^sha256:[0-9a-f]{64}$/);
  assert.equal(workload.isolationClass, 'shared');
  const { endpoints } = await host.snapshot();
  const endpoint = endpoints.find((candidate) => candidate.workload === workload.workload);
  assert.deepEqual(endpoint?.labels, { zone: 'dmz' });
  const id = await harness.docker('inspect', '-f', '{{.NetworkSettings.Networks.front.EndpointID}}', 'claims');
  assert.equal(endpoint?.endpoint, id);
  await assert.rejects(
    harness.docker('run', '--network', 'name=front,driver-opt=bulkhead.bulkhead.dev/host=x', image, 'true'),
    /facts that nobody can claim/,
  );
});

test('what is open reaches what is open, by name and alias; nothing reaches or leaves what is shut', async () => {
  await server('webone', ...open, '--network-alias', 'site');
  await sleeper('client', ...open);
  await server('shutone');
  assert.match(
    await until('the page', () => get('client', 'webone').then((page) => page.includes('this is webone') && page)),
    /webone/,
  );
  assert.match(await get('client', 'site'), /this is webone/);
  assert.equal(await get('client', 'shutone'), '');
  assert.equal(await get('shutone', 'webone'), '');
  const { counters } = await host.snapshot();
  assert.ok(Object.fromEntries(counters)['denied']! > 0);
});

test('addresses are single, the gateway is on the link, and another source address is dropped', async () => {
  const address = await addressOf('client');
  assert.match(
    await harness.docker('exec', 'client', 'ip', '-4', 'address', 'show', 'dev', 'eth0'),
    new RegExp(`inet ${address}/32`),
  );
  assert.match(await harness.docker('exec', 'client', 'ip', 'route'), /default via 10\.77\.0\.1 dev eth0/);
  const before = Object.fromEntries((await host.snapshot()).counters)['spoofed']!;
  const forge =
    'arp -s 10.77.0.1 02:62:68:00:00:01; ip address add 10.77.0.200/32 dev eth0; ping -c1 -W1 -I 10.77.0.200 10.77.0.1 || true';
  await harness.docker(
    'run',
    '--rm',
    '--network',
    'front',
    '--cap-add',
    'NET_ADMIN',
    ...open,
    image,
    'sh',
    '-c',
    forge,
  );
  assert.ok(Object.fromEntries((await host.snapshot()).counters)['spoofed']! > before);
});

test('a published port is reached from the host, its loopback, outside and inside; a shut container’s is not', async () => {
  await server('published', ...open, '-p', '8080:80', '-p', '127.0.0.1:8081:80');
  const page = (where: string) => ['curl', '-s', '--max-time', '2', `http://${where}/`];
  assert.equal(await until('the page', () => harness.outside(...page(`${uplinkAddress}:8080`))), 'this is published');
  assert.equal(await harness.onHost(...page('127.0.0.1:8080')), 'this is published');
  assert.equal(await harness.onHost(...page('127.0.0.1:8081')), 'this is published');
  assert.match(await get('client', uplinkAddress, 8080), /this is published/);
  await assert.rejects(harness.outside(...page(`${uplinkAddress}:8081`)), 'published on the loopback address only');
  await server('shutport', '-p', '8090:80');
  await assert.rejects(harness.outside(...page(`${uplinkAddress}:8090`)));
  await assert.rejects(server('again', ...open, '-p', '8080:80'), /port 8080\/tcp is already allocated/);
  await harness.docker('rm', '-f', 'again', 'published');
  await assert.rejects(harness.outside(...page(`${uplinkAddress}:8080`)));
});

test('no machine outside reaches a container by its own address, though its route leads here', async () => {
  const address = await addressOf('webone');
  await harness.outside('ip', 'route', 'add', '10.77.0.0/24', 'via', uplinkAddress);
  await assert.rejects(harness.outside('curl', '-s', '--max-time', '1', `http://${address}/`));
});

test('outbound connections leave with the host’s address, when policy lets them', async () => {
  const script = `require('net').createServer((s) => s.on('error', () => undefined).end(s.remoteAddress + '\\n')).listen(9000)`;
  const stop = harness.outsideService(process.execPath, '-e', script);
  try {
    assert.equal(
      await until('who it was', () => get('client', outsideAddress, 9000).then((seen) => seen !== '' && seen)),
      `::ffff:${uplinkAddress}`,
    );
    assert.equal(await get('shutone', outsideAddress, 9000), '');
  } finally {
    stop();
  }
});

test('the resolver at the gateway knows the network, for runtimes that cannot use the engine’s', async () => {
  const lookUp = (from: string, name: string) =>
    harness.docker('exec', from, 'nslookup', name, '10.77.0.1').catch((error: Error) => error.message);
  assert.match(await lookUp('client', 'site'), new RegExp(`Address: ${await addressOf('webone')}`));
  assert.match(await lookUp('client', 'webone.'), new RegExp(`Address: ${await addressOf('webone')}`));
  await harness.docker('network', 'create', '-d', 'bulkhead', '--ipam-driver', 'bulkhead', 'back');
  await harness.docker('run', '-d', '--name', 'hidden', '--network', 'back', ...open, image, 'sleep', '1000');
  await until('it is known', () => workloadOf('hidden'));
  assert.doesNotMatch(await lookUp('client', 'hidden'), /Address: 10\.208/);
  const status = await host.request<{ addresses: string[]; answered: number }>({
    kind: 'command',
    name: 'resolver-status',
    argument: null,
  });
  assert.deepEqual(status.addresses, ['10.208.0.1', '10.77.0.1']);
  assert.ok(status.answered >= 2);
});

/** Answers every question with 192.0.2.9. */
const nameServer = `require('dgram').createSocket('udp4').on('message', function (asked, from) {
  const end = asked.indexOf(0, 12) + 5;
  const answer = Buffer.from('c00c000100010000003c0004c0000209', 'hex');
  const reply = Buffer.concat([asked.subarray(0, end), answer]);
  reply.writeUInt16BE(0x8180, 2); reply.writeUInt16BE(1, 6); reply.writeUInt16BE(0, 10);
  this.send(reply, from.port, from.address);
}).bind(53)`;

test('names of the world are asked for those that may speak to the name server, through Docker’s resolver too', async () => {
  await writeFile(harness.settings.resolvConf, `nameserver ${outsideAddress}\n`);
  const stop = harness.outsideService(process.execPath, '-e', nameServer);
  try {
    const lookUp = (from: string, server = '') =>
      harness.docker('exec', from, 'sh', '-c', `nslookup -type=a world.example ${server} 2>&1 || true`);
    await until('the world resolves', async () => /192\.0\.2\.9/.test(await lookUp('client', '10.77.0.1')), 25_000);
    await until('the shut one is refused', async () => /REFUSED/.test(await lookUp('shutone', '10.77.0.1')));
    await sleeper('asker', ...open, '--dns', '10.77.0.1');
    await until('Docker’s resolver forwards', async () => /192\.0\.2\.9/.test(await lookUp('asker')));
    await sleeper('shutasker', '--dns', '10.77.0.1');
    assert.doesNotMatch(await lookUp('shutasker'), /192\.0\.2\.9/);
  } finally {
    stop();
  }
});

test('a container that shares another’s network is part of its workload', async () => {
  const owner = await workloadOf('client');
  await harness.docker('run', '-d', '--name', 'sidecar', '--network', 'container:client', image, 'sleep', '1000');
  assert.match(await get('sidecar', 'webone'), /this is webone/);
  await host.request({ kind: 'resync' });
  const { workloads } = await host.snapshot();
  assert.ok(!workloads.some((workload) => workload.name === 'sidecar'));
  assert.equal(workloads.filter((workload) => workload.workload === owner?.workload).length, 1);
});

test('a restart is another generation, with another address; a rename is told', async () => {
  const before = await workloadOf('webone');
  const addressBefore = await addressOf('webone');
  await harness.docker('restart', '-t', '0', 'webone');
  const now = await until('the next generation', async () => {
    const workload = await workloadOf('webone');
    return (
      workload !== undefined &&
      workload.generation > before!.generation &&
      workload.startedMs !== before!.startedMs &&
      workload
    );
  });
  assert.equal(now.generation, before!.generation + 1);
  assert.notEqual(await addressOf('webone'), addressBefore, 'a released address rests');
  await harness.docker('rename', 'webone', 'renamed');
  await until('the new name', () => workloadOf('renamed'));
});

test('IPv6: addresses, verdicts and names', async () => {
  await harness.docker(
    'network',
    'create',
    '-d',
    'bulkhead',
    '--ipam-driver',
    'bulkhead',
    '--ipv6',
    '--subnet',
    '10.78.0.0/24',
    '--subnet',
    'fd00:78::/64',
    'dual',
  );
  await harness.docker(
    'run',
    '-d',
    '--name',
    'sixserver',
    '--network',
    'dual',
    ...open,
    image,
    'sh',
    '-c',
    'mkdir /w; echo "this is six" >/w/index.html; exec httpd -f -p "[::]:80" -h /w',
  );
  await harness.docker('run', '-d', '--name', 'sixclient', '--network', 'dual', ...open, image, 'sleep', '1000');
  await harness.docker('run', '-d', '--name', 'sixshut', '--network', 'dual', image, 'sleep', '1000');
  const address = await harness.docker(
    'inspect',
    '-f',
    '{{.NetworkSettings.Networks.dual.GlobalIPv6Address}}',
    'sixserver',
  );
  assert.match(
    await until('the page', () => get('sixclient', address).then((page) => page !== '' && page)),
    /this is six/,
  );
  assert.equal(await get('sixshut', address), '');
  assert.match(
    await harness.docker('exec', 'sixclient', 'ping', '-6', '-c1', '-W2', 'fd00:78::1'),
    /1 packets received/,
  );
  assert.match(await harness.onHost('curl', '-s', '--max-time', '2', `http://[${address}]/`), /this is six/);
});

test('what is removed is gone from the kernel, the host and the records', async () => {
  const names = (await harness.docker('ps', '-aq')).split('\n');
  await harness.docker('rm', '-f', ...names);
  for (const network of ['front', 'back', 'dual']) await harness.docker('network', 'rm', network);
  const snapshot = await until('no workload is left', async () => {
    const found = await host.snapshot();
    return found.workloads.length === 0 && found;
  });
  assert.deepEqual([snapshot.endpoints, snapshot.kernel], [[], []]);
  assert.doesNotMatch(await harness.onHost('ip', '-br', 'link'), /bh[wp]/);
  assert.doesNotMatch(await harness.onHost('ip', 'address', 'show', 'dev', 'lo'), /10\.7[78]/);
});
