/** Interfaces, attachments and the host's own tables. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { KernelError, type Kernel } from '../port.ts';
import type { KernelFactory, KernelUnderTest } from './contract.ts';

const isError = (code: string) => (error: unknown) => error instanceof KernelError && error.code === code;
const spec = { name: 'bhBn0', peer: 'bhBn1', mac: '02:00:00:00:0a:01', peerMac: '02:00:00:00:0a:02', mtu: 1450 };
const nobody = 9999;

export function describeNetwork(factory: KernelFactory): void {
  describe('network', () => {
    let under: KernelUnderTest;
    let kernel: Kernel;
    before(async () => {
      under = await factory();
      kernel = under.kernel;
      kernel.programs.load();
    });
    after(async () => {
      kernel.programs.unload();
      await under.dispose();
    });
    const find = async (name: string) => (await kernel.routes.interfaces()).find((entry) => entry.name === name);

    test('a veth is made once, found again, and gone with its peer', async () => {
      const made = await kernel.routes.createVeth(spec);
      assert.equal(made.kind, 'veth');
      assert.deepEqual({ mac: made.mac, mtu: made.mtu, up: made.up }, { mac: spec.mac, mtu: spec.mtu, up: false });
      assert.equal((await find(spec.peer))?.ifindex, made.peerIfindex);
      assert.equal((await find(spec.peer))?.mac, spec.peerMac);
      assert.deepEqual(await kernel.routes.createVeth(spec), made);
      await assert.rejects(kernel.routes.createVeth({ ...spec, mac: '02:00:00:00:0a:99' }), isError('EEXIST'));
      await kernel.routes.deleteInterface(spec.name);
      await kernel.routes.deleteInterface(spec.name);
      assert.equal(await find(spec.name), undefined);
      assert.equal(await find(spec.peer), undefined);
    });

    test('an interface goes up with addresses and routes, each set twice and removed twice', async () => {
      await kernel.routes.createVeth(spec);
      await assert.rejects(kernel.routes.setRoute('10.77.0.2/32', spec.name), isError('ENETDOWN'));
      await kernel.routes.setUp(spec.name, true);
      assert.equal((await find(spec.name))?.up, true);
      for (const [address, route] of [
        ['10.77.0.1/32', '10.77.0.2/32'],
        ['fd00:77::1/128', 'fd00:77::2/128'],
      ] as const) {
        await kernel.routes.setAddress(spec.name, address);
        await kernel.routes.setAddress(spec.name, address);
        assert.ok((await find(spec.name))?.addresses.includes(address));
        await kernel.routes.setRoute(route, spec.name);
        await kernel.routes.setRoute(route, spec.name);
        await kernel.routes.removeRoute(route, spec.name);
        await kernel.routes.removeRoute(route, spec.name);
        await kernel.routes.removeAddress(spec.name, address);
        await kernel.routes.removeAddress(spec.name, address);
      }
      assert.deepEqual((await find(spec.name))?.addresses, []);
      await kernel.routes.deleteInterface(spec.name);
    });

    test('networks are made unreachable twice, and reachable twice', async () => {
      for (const cidr of ['10.77.0.0/16', 'fd00:77::/64']) {
        await kernel.routes.setUnreachable(cidr);
        await kernel.routes.setUnreachable(cidr);
        await kernel.routes.removeUnreachable(cidr);
        await kernel.routes.removeUnreachable(cidr);
      }
      await assert.rejects(kernel.routes.setUnreachable('10.77.0.0/40'), isError('EINVAL'));
    });

    test('what is asked of an interface that is not there fails, and the rest of the batch does not', async () => {
      await kernel.routes.createVeth(spec);
      const results = await Promise.allSettled([
        kernel.routes.setUp('bhBnone', true),
        kernel.routes.setUp(spec.name, true),
        kernel.routes.setAddress('bhBnone', '10.77.0.1/32'),
        kernel.routes.setAddress(spec.name, '10.77.0.1/32'),
      ]);
      assert.deepEqual(
        results.map((result) => result.status),
        ['rejected', 'fulfilled', 'rejected', 'fulfilled'],
      );
      for (const result of results) if (result.status === 'rejected') assert.ok(isError('ENODEV')(result.reason));
      await kernel.routes.deleteInterface(spec.name);
    });

    test('programs are attached once, listed from the kernel, and gone with their interface', async () => {
      const { ifindex } = await kernel.routes.createVeth(spec);
      kernel.links.attach(ifindex, 'workload');
      kernel.links.attach(ifindex, 'workload');
      assert.deepEqual(kernel.links.attached(), [{ ifindex, hook: 'workload' }]);
      assert.deepEqual(kernel.links.attached('workload'), [{ ifindex, hook: 'workload' }]);
      assert.deepEqual(kernel.links.attached('uplink'), []);
      kernel.links.detach(ifindex, 'workload');
      kernel.links.detach(ifindex, 'workload');
      assert.deepEqual(kernel.links.attached(), []);
      kernel.links.attach(ifindex, 'workload');
      await kernel.routes.deleteInterface(spec.name);
      assert.deepEqual(kernel.links.attached(), []);
      assert.throws(() => kernel.links.attach(nobody, 'workload'), isError('ENODEV'));
      const again = await kernel.routes.createVeth(spec);
      kernel.links.attach(again.ifindex, 'workload');
      assert.deepEqual(kernel.links.attached(), [{ ifindex: again.ifindex, hook: 'workload' }]);
    });

    test('attachments outlive the agent', async () => {
      const before = kernel.links.attached();
      assert.equal(before.length, 1);
      kernel = await under.reopen();
      kernel.programs.load();
      assert.deepEqual(kernel.links.attached(), before);
      await kernel.routes.deleteInterface(spec.name);
    });

    test('sysctls are set, and a path out of the tree is refused', async () => {
      await kernel.routes.createVeth(spec);
      await kernel.routes.setSysctl(`net/ipv4/conf/${spec.name}/proxy_arp`, '1');
      await kernel.routes.setSysctl(`net/ipv4/conf/${spec.name}/proxy_arp`, '1');
      await assert.rejects(kernel.routes.setSysctl('net/../kernel/panic', '0'), isError('EINVAL'));
      await assert.rejects(kernel.routes.setSysctl('hostname', 'x'), isError('EINVAL'));
      await kernel.routes.deleteInterface(spec.name);
    });

    test('a table of nftables is replaced as a whole, and a wrong one leaves the old', async () => {
      const table = 'inet bhBcontract';
      const text = (policy: string): string =>
        `table ${table} {\n  chain forward {\n    type filter hook forward priority 0; policy ${policy};\n  }\n}\n`;
      assert.equal(await kernel.routes.ruleset(table), null);
      await kernel.routes.setRuleset(table, text('accept'));
      await kernel.routes.setRuleset(table, text('drop'));
      assert.match((await kernel.routes.ruleset(table)) ?? '', /policy drop/);
      await assert.rejects(kernel.routes.setRuleset(table, 'this is no ruleset'), isError('EINVAL'));
      assert.match((await kernel.routes.ruleset(table)) ?? '', /policy drop/);
      await kernel.routes.removeRuleset(table);
      await kernel.routes.removeRuleset(table);
      assert.equal(await kernel.routes.ruleset(table), null);
    });
  });
}
