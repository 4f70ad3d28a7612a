/** The event ring over its whole length and more: every event arrives once, whole, in order; what found no room is counted. */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import process from 'node:process';
import { test } from 'node:test';
import { frameOf, openLinuxKernel, packetOf, type KernelEvent } from '@bulkhead/kernel';
import { enterOwnNamespace } from './own-namespace.ts';

enterOwnNamespace();
const pinRoot = `/sys/fs/bpf/bhB-${process.pid}-ring`;
/** Opened connections are told up to a bound per endpoint and second; many endpoints share the load. */
const slots = 40;
const mac = (slot: number): string => `02:00:00:00:00:${slot.toString(16).padStart(2, '0')}`;

test('events go round the ring', { timeout: 120_000 }, async () => {
  const kernel = openLinuxKernel({ pinRoot });
  try {
    kernel.programs.load();
    kernel.maps.setConfig({
      revision: 7,
      puntIfindex: 0,
      overlayIfindex: 0,
      puntRate: 0,
      puntBurst: 0,
      gatewayIpv4: null,
      gatewayIpv6: null,
    });
    kernel.maps.heartbeat();
    const root = kernel.maps.addPortTable({ ranges: [], otherwise: { action: 'allow', rule: 3 } });
    kernel.maps.setRows([{ ruleset: 1, direction: 'egress', peer: 0, root }]);
    const interfaces: number[] = [];
    for (let slot = 1; slot <= slots; slot++) {
      const { ifindex } = await kernel.routes.createVeth({
        name: `bhBr${slot}`,
        peer: `bhBs${slot}`,
        mac: mac(slot + 100),
        peerMac: mac(slot),
        mtu: 1500,
      });
      await kernel.routes.setUp(`bhBr${slot}`, true);
      interfaces.push(ifindex);
      kernel.maps.setEndpoint({
        slot,
        ifindex,
        kind: 'veth',
        state: 'governed',
        identity: 300,
        ruleset: 1,
        epoch: 1,
        generation: 1,
        mac: mac(slot),
        gatewayMac: mac(slot + 100),
        ipv4: `10.5.0.${slot}`,
        ipv6: null,
        mtu: 1500,
        connectionsMax: 100_000,
      });
      kernel.maps.setAddress(`10.5.0.${slot}`, { kind: 'endpoint', slot });
    }
    const total = Math.ceil(kernel.maps.limits.eventsBytes / 136);
    let sent = 0;
    let delivered = 0;
    const send = (): void => {
      const slot = 1 + (sent % slots);
      const sourcePort = 1 + (Math.floor(sent / slots) % 60_000);
      const key = {
        protocol: 17,
        source: `10.5.0.${slot}`,
        sourcePort,
        destination: '198.51.100.1',
        destinationPort: 53,
      };
      const packet = packetOf(key, { sourceMac: mac(slot), destinationMac: mac(slot + 100), payloadBytes: 4 });
      kernel.programs.testRun('from_workload', frameOf(packet), { ifindex: interfaces[slot - 1]! });
      sent++;
    };
    const check = (event: KernelEvent): void => {
      const slot = 1 + (delivered % slots);
      assert.equal(event.kind, 'new');
      assert.equal(event.revision, 7);
      assert.equal(event.slot, slot);
      assert.equal(event.key.source, `10.5.0.${slot}`);
      assert.equal(event.key.sourcePort, 1 + (Math.floor(delivered / slots) % 60_000));
      delivered++;
    };
    // A little more than the ring holds, drained in pieces, so that records cross its end.
    while (sent < total + 5000) {
      for (let index = 0; index < 10_000 && sent < total + 5000; index++) send();
      kernel.events.drain(check, 1_000_000);
    }
    assert.equal(delivered, sent);
    assert.equal(kernel.events.lost(), 0n);
    assert.equal(kernel.events.drain(check, 1), 0);
  } finally {
    kernel.programs.unload();
    await kernel[Symbol.asyncDispose]();
    rmSync(pinRoot, { recursive: true, force: true });
  }
});
