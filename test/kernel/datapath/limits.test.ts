/** Tables that are full deny, say so, and recover. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { udp } from './frames.ts';
import { allowAll, between, drained, Machine, type Workload } from './machine.ts';

const lastSeenAt = 16;
const idleAt = 24;

let machine: Machine;
let a: Workload;
let b: Workload;

before(async () => {
  machine = Machine.open();
  a = await machine.addWorkload('a');
  b = await machine.addWorkload('b');
  machine.govern(a, allowAll);
  machine.govern(b, allowAll);
});
after(async () => machine[Symbol.asyncDispose]());

test('a full connection table denies what is new, keeps what is open, and is recycled when the agent is gone', async () => {
  machine.kernel.maps.heartbeat();
  a.link.send(udp(between(a, b), 1000, 53));
  drained(b.link);
  // Entries of somebody who is far away, of which one is over.
  const table = machine.rawTable('connections', 40, 128);
  const key = Buffer.alloc(40);
  const value = Buffer.alloc(128);
  value.writeBigUInt64LE(machine.kernel.nowNs(), lastSeenAt);
  value.writeBigUInt64LE(3_600_000_000_000n, idleAt);
  for (let count = 1; count < machine.kernel.maps.limits.connectionsMax; count++) {
    key.writeUInt32LE(count, 28);
    table.set(key, value);
  }
  await machine.counts({ table_full: 1, connections_opened: 0 }, () => a.link.send(udp(between(a, b), 1001, 53)));
  assert.deepEqual(drained(b.link), []);
  a.link.send(udp(between(a, b), 1000, 53));
  assert.equal(drained(b.link).length, 1);
  // What was not opened is not charged.
  machine.setEndpoint(a, { connectionsMax: 2 });
  value.writeBigUInt64LE(1n, idleAt);
  table.set(key, value);
  const config = machine.rawTable('config', 4, 64);
  for (const entry of config.entries()) {
    entry.value.writeBigUInt64LE(0n, 0);
    config.set(entry.key, entry.value);
  }
  await machine.counts({ table_full: 0, connections_opened: 1, connections_recycled: 1, recycle_runs: 1 }, () =>
    a.link.send(udp(between(a, b), 1002, 53)),
  );
});
