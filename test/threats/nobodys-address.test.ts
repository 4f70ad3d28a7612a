/** Addresses of a network of ours that no endpoint has: nobody outside gets what is meant for them, and nobody outside has them. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { GovernedHost } from '../kernel/agent/governed-host.ts';
import { lanAddress, uplinkAddress } from '../kernel/agent/lan.ts';
import { udp, type Ends, type Seen } from '../kernel/datapath/frames.ts';
import type { FrameSocket } from '../kernel/datapath/sockets.ts';
import { arrived, rawLink } from './raw-link.ts';
import { policy, segment } from './stage.ts';

const port = 5432;
let host: GovernedHost;
let lan: FrameSocket;

before(async () => {
  host = await GovernedHost.start({ prefix: 'bhV', uplink: true });
  await host.attach('client', { app: 'client' }, { ipv4: '10.224.0.2', ipv6: 'fd62:6866::2' });
  await host.attach('database', { app: 'database' }, { ipv4: '10.224.0.3', ipv6: 'fd62:6866::3' });
  await host.apply(
    segment('client'),
    policy('out', { name: 'anywhere', action: 'allow', from: { segment: 'client' }, to: { any: true } }),
    policy(
      'in',
      { name: 'ours', action: 'allow', from: { cidr: '10.224.0.0/16' }, to: { segment: 'client' } },
      { name: 'lan', action: 'allow', from: { cidr: `${lanAddress}/32` }, to: { segment: 'client' } },
    ),
  );
  lan = rawLink(host.pathOf('lan'));
});
after(() => host?.[Symbol.asyncDispose]());

const isMeant = ({ destination }: Seen): boolean => /^(10\.224|fd62)/.test(String(destination));

test('what is meant for an endpoint that is gone does not leave the host', async () => {
  await host.command('detach', { name: 'database' });
  arrived(lan);
  for (const address of ['10.224.0.3', '10.224.7.7', 'fd62:6866::3'])
    // The error of a first SYN over IPv6 comes while connect() still has the socket: the second one counts.
    assert.equal(await host.connect('client', address, port, 5000), 'unreachable', address);
  assert.throws(() => host.run(null, 'ip', 'route', 'get', '10.224.0.3'), /unreachable|No route/);
  // The control: the same rule lets it out to a machine that is there.
  assert.equal(await host.connect('client', lanAddress, port), 'refused');
  assert.deepEqual(arrived(lan).filter(isMeant), []);
});

test('a machine on the LAN is not taken for one of the network', async () => {
  const macOf = (where: string | null, name: string): string =>
    (JSON.parse(host.run(where, 'ip', '-j', 'link', 'show', name)) as readonly { address: string }[])[0]!.address;
  const client = rawLink(host.pathOf('client'));
  const honest: Ends = {
    sourceMac: macOf('lan', 'eth0'),
    destinationMac: macOf(null, 'up0'),
    source: lanAddress,
    destination: uplinkAddress,
  };
  // As a published port.
  const published = `add table ip bhV
    add chain ip bhV in { type nat hook prerouting priority dstnat; }
    add rule ip bhV in udp dport ${port} dnat to 10.224.0.2`;
  for (const line of published.split('\n')) host.run(null, 'nft', line.trim());
  // A host that checks return paths would drop it anyway; not all do.
  for (const name of ['all', 'up0']) host.run(null, 'sysctl', '-qw', `net.ipv4.conf.${name}.rp_filter=0`);
  lan.send(udp({ ...honest, source: '10.224.0.77' }, 4000, port));
  lan.send(udp(honest, 4001, port));
  const heard: (number | null)[] = [];
  await host.until('the honest one arrives', async () => {
    heard.push(...arrived(client).map(({ sourcePort }) => sourcePort));
    return heard.includes(4001);
  });
  assert.ok(!heard.includes(4000));
});
