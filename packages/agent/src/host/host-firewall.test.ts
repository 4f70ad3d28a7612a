import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createSimulatedKernel } from '@bulkhead/kernel';
import { pino } from 'pino';
import { HostFirewall, type HostWish } from './host-firewall.ts';
import { hostTableName } from './input-table.ts';

test('the chain comes and goes with the guard, is made again where it was taken away, and knows what is inside', async () => {
  const { routes } = createSimulatedKernel({ nowNs: () => 1n, random: () => 0.5 });
  const firewall = new HostFirewall(routes, pino({ level: 'silent' }));
  const device = { kind: 'device', mac: '', up: true, mtu: 1500, addresses: [], master: 0, peerIfindex: 0 } as const;
  const wish: HostWish = {
    guard: { ingress: [22], egress: [] },
    interfaces: [
      { ...device, ifindex: 2, name: 'eth0' },
      { ...device, ifindex: 3, name: 'eth1' },
      { ...device, ifindex: 4, name: 'wg0', kind: 'wireguard' },
      { ...device, ifindex: 5, name: 'vm0', kind: 'tun' },
    ],
    uplinks: [2],
    workloads: new Set([5]),
  };
  await firewall.set(wish);
  const text = (await routes.ruleset(hostTableName)) ?? '';
  assert.match(text, /iifname "eth0" jump guarded/);
  assert.match(text, /iifname "wg0" accept/);
  assert.doesNotMatch(text, /eth1|vm0/, 'a card without addresses leads out, a workload is judged elsewhere');
  await routes.removeRuleset(hostTableName);
  await firewall.set(wish);
  assert.equal(await routes.ruleset(hostTableName), null);
  firewall.verify();
  await firewall.set(wish);
  assert.notEqual(await routes.ruleset(hostTableName), null);
  await firewall.set({ ...wish, guard: null });
  assert.equal(await routes.ruleset(hostTableName), null);
});
