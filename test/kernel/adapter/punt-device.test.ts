/** The punt device itself: one reader, the same number after a restart, nothing of the host's stack on it, and no packet uncounted. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import process from 'node:process';
import { after, before, describe, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { KernelError, openLinuxKernel, type LinuxKernel } from '@bulkhead/kernel';
import { enterOwnNamespace, run } from './own-namespace.ts';

enterOwnNamespace();
const puntName = 'bhBpunt';
const pinRoot = `/sys/fs/bpf/bhB-${process.pid}-punt`;
const deadlineMs = 5000;

async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + deadlineMs;
  while (!condition()) {
    assert.ok(performance.now() < deadline, 'it did not happen in time');
    await setImmediate();
  }
}

describe('the punt device', () => {
  let kernel: LinuxKernel;
  before(() => {
    kernel = openLinuxKernel({ pinRoot, puntName });
    kernel.programs.load();
  });
  after(async () => {
    kernel.programs.unload();
    await kernel[Symbol.asyncDispose]();
  });

  test('it has no addresses, no ARP and no IPv6, and is up', async () => {
    await using device = await kernel.openPuntDevice();
    const [listed] = JSON.parse(run('ip', '-j', 'address', 'show', 'dev', puntName)) as {
      flags: string[];
      addr_info: unknown[];
      ifindex: number;
    }[];
    assert.equal(listed?.ifindex, device.ifindex);
    assert.deepEqual(listed.addr_info, []);
    assert.ok(listed.flags.includes('NOARP') && listed.flags.includes('UP') && !listed.flags.includes('MULTICAST'));
    assert.equal(readFileSync(`/proc/sys/net/ipv6/conf/${puntName}/disable_ipv6`, 'utf8').trim(), '1');
  });

  test('a second reader is refused, and the number outlives the first', async () => {
    const device = await kernel.openPuntDevice();
    await assert.rejects(kernel.openPuntDevice(), (error) => error instanceof KernelError && error.code === 'EBUSY');
    const { ifindex } = device;
    await device[Symbol.asyncDispose]();
    await device[Symbol.asyncDispose]();
    await using again = await kernel.openPuntDevice();
    assert.equal(again.ifindex, ifindex);
  });

  test('a frame that the programs did not hold is counted and handed to nobody', async () => {
    await using device = await kernel.openPuntDevice();
    let handed = 0;
    device.onPunt(() => (handed += 1));
    const before = device.lost();
    // Through the host's own stack: a static neighbour, since the device answers no ARP.
    run('ip', 'address', 'add', '10.99.0.1/24', 'dev', puntName);
    run('ip', 'neighbour', 'replace', '10.99.0.2', 'lladdr', '02:00:00:00:00:09', 'dev', puntName);
    try {
      run('busybox', 'ping', '-c', '1', '-W', '1', '10.99.0.2');
    } catch {
      // Nobody answers; the packet went to the device all the same.
    }
    await until(() => device.lost() > before);
    assert.equal(handed, 0);
    run('ip', 'address', 'flush', 'dev', puntName);
  });

  test('an answer to nothing is stale, and dropped by the program', async () => {
    await using device = await kernel.openPuntDevice();
    const punt = {
      id: 12345,
      reason: 'ask',
      sourceSlot: 1,
      destinationSlot: 2,
      sourceIdentity: 300,
      destinationIdentity: 301,
      egressRule: 1,
      ingressRule: 0,
      key: { protocol: 6, source: '10.0.0.1', sourcePort: 1, destination: '10.0.0.2', destinationPort: 2 },
      atNs: 0n,
    } as const;
    const unknown = kernel.maps.counters().get('punt_unknown')!;
    assert.equal(device.admit(punt, new Uint8Array(64), { revision: 1 }), 'stale');
    assert.equal(kernel.maps.counters().get('punt_unknown'), unknown + 1n);
    assert.deepEqual(kernel.links.attached(), [{ ifindex: device.ifindex, hook: 'punt' }]);
  });
});
