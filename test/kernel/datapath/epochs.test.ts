/** Changes of policy under live connections, budgets, and what happens when nobody sweeps. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import type { Connection } from '@bulkhead/kernel';
import { tcp, tcpFlag, udp } from './frames.ts';
import { allowAll, always, between, drained, Machine, type Workload } from './machine.ts';

let machine: Machine;
let a: Workload;
let b: Workload;
let c: Workload;

before(async () => {
  machine = Machine.open();
  a = await machine.addWorkload('a');
  b = await machine.addWorkload('b');
  c = await machine.addWorkload('c');
});
after(async () => machine[Symbol.asyncDispose]());
beforeEach(() => {
  clear();
  for (const workload of [a, b, c]) {
    machine.govern(workload, allowAll);
    machine.setEndpoint(workload, { connectionsMax: 1000, state: 'governed' });
    drained(workload.link);
  }
  machine.kernel.maps.heartbeat();
  machine.events();
});

function connections(): Connection[] {
  const found: Connection[] = [];
  machine.kernel.maps.forEachConnection((connection) => found.push({ ...connection }));
  return found;
}
function clear(): void {
  machine.kernel.maps.removeConnections(connections());
}
function establish(from: Workload, to: Workload, port: number): void {
  from.link.send(tcp(between(from, to), port, 80, { sequence: 1 }));
  to.link.send(tcp(between(to, from), 80, port, { flags: tcpFlag.syn | tcpFlag.ack, sequence: 9, acknowledgement: 2 }));
  from.link.send(tcp(between(from, to), port, 80, { flags: tcpFlag.ack, sequence: 2, acknowledgement: 10 }));
  drained(from.link);
  drained(to.link);
}

describe('a change of policy', () => {
  test('ends a live connection at its next packet, from either side', async () => {
    for (const sender of [a, b]) {
      machine.govern(b, allowAll);
      establish(a, b, 1000);
      machine.govern(b, {});
      machine.events();
      const frame =
        sender === a
          ? tcp(between(a, b), 1000, 80, { flags: tcpFlag.ack, sequence: 2 })
          : tcp(between(b, a), 80, 1000, { flags: tcpFlag.ack, sequence: 10 });
      await machine.counts({ denied: 1 }, () => sender.link.send(frame));
      assert.deepEqual(drained(a.link), []);
      assert.deepEqual(drained(b.link), []);
      assert.deepEqual(connections(), []);
      const told = machine.events().map((event) => [event.kind, event.key.source, event.key.destinationPort]);
      // Both in the direction of the connection, whoever sent the packet.
      assert.deepEqual(told, [
        ['close', a.ipv4, 80],
        ['deny', a.ipv4, 80],
      ]);
    }
  });

  test('judges a live connection again in the direction in which it was opened, and keeps what still holds', async () => {
    establish(a, b, 1001);
    machine.govern(a, { egress: new Map([[b.identity, always('allow', 77)]]) });
    machine.govern(b, { ingress: new Map([[a.identity, always('allow', 78)]]) });
    await machine.counts({ connections_judged_again: 1, connections_opened: 0, denied: 0 }, () => {
      b.link.send(tcp(between(b, a), 80, 1001, { flags: tcpFlag.ack, sequence: 10 }));
      a.link.send(tcp(between(a, b), 1001, 80, { flags: tcpFlag.ack, sequence: 2 }));
    });
    const [entry] = connections();
    assert.deepEqual(
      [entry?.egressRule, entry?.ingressRule, entry?.packets, entry?.state],
      [77, 78, [3n, 2n], 'established'],
    );
  });

  test('of another endpoint judges nothing again', async () => {
    establish(a, b, 1002);
    machine.govern(c, {});
    await machine.counts({ connections_judged_again: 0 }, () =>
      a.link.send(tcp(between(a, b), 1002, 80, { flags: tcpFlag.ack })),
    );
    assert.equal(drained(b.link).length, 1);
  });

  test('of the epoch alone judges again; so do another slot and another identity', async () => {
    establish(a, b, 1003);
    const ack = () => a.link.send(tcp(between(a, b), 1003, 80, { flags: tcpFlag.ack }));
    machine.setEndpoint(b, { epoch: 2 });
    await machine.counts({ connections_judged_again: 1 }, ack);
    machine.setEndpoint(a, { identity: 999 });
    await machine.counts({ connections_judged_again: 1 }, ack);
    await machine.counts({ connections_judged_again: 0 }, ack);
    machine.setEndpoint(a, { identity: a.identity });
  });

  test('does not let a new SYN ride on an old entry', async () => {
    establish(a, b, 1004);
    machine.govern(a, {});
    await machine.counts({ denied: 1 }, () => a.link.send(tcp(between(a, b), 1004, 80, { sequence: 5000 })));
  });

  test('denials are never stored: what becomes allowed passes at once', async () => {
    machine.govern(a, {});
    a.link.send(tcp(between(a, b), 1005, 80));
    assert.deepEqual(connections(), []);
    machine.govern(a, allowAll);
    a.link.send(tcp(between(a, b), 1005, 80));
    assert.equal(drained(b.link).length, 1);
  });
});

describe('budgets', () => {
  test('an endpoint may own so many connections, and its neighbours are not concerned', async () => {
    machine.setEndpoint(a, { connectionsMax: 20 });
    await machine.counts({ connections_opened: 20, budget: 30 }, () => {
      for (let port = 0; port < 50; port++) a.link.send(udp(between(a, b), 2000 + port, 53));
    });
    assert.equal(drained(b.link).length, 20);
    await machine.counts({ connections_opened: 1 }, () => c.link.send(udp(between(c, b), 2000, 53)));
    // b owns none of these.
    machine.setEndpoint(b, { connectionsMax: 1 });
    await machine.counts({ connections_opened: 1, budget: 1 }, () => {
      b.link.send(udp(between(b, c), 3000, 53));
      b.link.send(udp(between(b, c), 3001, 53));
    });
    const removed = connections().filter((connection) => connection.source === a.ipv4);
    machine.kernel.maps.removeConnections(removed.slice(0, 5));
    await machine.counts({ connections_opened: 5, budget: 1 }, () => {
      for (let port = 0; port < 6; port++) a.link.send(udp(between(a, b), 2100 + port, 53));
    });
  });

  test('connections that close give their place to new ones at once', async () => {
    machine.setEndpoint(a, { connectionsMax: 10 });
    await machine.counts({ connections_opened: 200, budget: 0, connections_closed: 200 }, () => {
      for (let port = 0; port < 200; port++) {
        a.link.send(tcp(between(a, b), 4000 + port, 80));
        b.link.send(tcp(between(b, a), 80, 4000 + port, { flags: tcpFlag.rst | tcpFlag.ack }));
      }
    });
    assert.ok(connections().length <= 6);
  });

  test('what outside opens has a budget of its own', async () => {
    machine.setEndpoint(a, { connectionsMax: 3 });
    const from = (port: number) => udp({ ...between(b, a), source: '198.51.100.7' }, port, 53);
    const result = (frame: Uint8Array) =>
      machine.kernel.programs.testRun('to_workload', frame, { ifindex: a.ifindex }).result;
    assert.deepEqual(
      [1, 2, 3, 4].map((port) => result(from(port))),
      [0, 0, 0, 2],
    );
    await machine.counts({ connections_opened: 3, budget: 1 }, () => {
      for (let port = 0; port < 4; port++) a.link.send(udp(between(a, b), 6000 + port, 53));
    });
  });
});

test('without an agent the programs recycle what is over, so that new allowed connections go on', async () => {
  machine.setEndpoint(a, { connectionsMax: 5 });
  const idleNs = 31n * 1_000_000_000n;
  const fill = (first: number) => {
    for (let port = first; port < first + 5; port++) a.link.send(udp(between(a, b), port, 53));
  };
  fill(7000);
  assert.equal(connections().length, 5);
  // With a living agent nobody else removes anything.
  age(idleNs);
  await machine.counts({ budget: 1, recycle_runs: 0 }, () => a.link.send(udp(between(a, b), 7100, 53)));
  silenceAgent();
  await machine.counts(
    { connections_opened: 5, budget: 0, recycle_runs: 1, connections_closed: 5, connections_recycled: 5 },
    () => fill(7200),
  );
  assert.deepEqual(
    connections()
      .map((connection) => connection.sourcePort)
      .toSorted(),
    [7200, 7201, 7202, 7203, 7204],
  );
  // Live ones are not sacrificed, and no second walk is made within the second.
  await machine.counts({ budget: 1, recycle_runs: 0 }, () => a.link.send(udp(between(a, b), 7300, 53)));
});

test('the sweep program removes what is over, tells it once, and gives budgets back', async () => {
  machine.setEndpoint(a, { connectionsMax: 5 });
  for (let port = 0; port < 5; port++) a.link.send(udp(between(a, b), 8000 + port, 53));
  establish(c, b, 8100);
  machine.events();
  age(31n * 1_000_000_000n);
  const sweep = () => machine.kernel.programs.testRun('sweep', Buffer.alloc(14), { ifindex: a.ifindex }).result;
  assert.equal(sweep(), 5);
  assert.equal(sweep(), 0);
  assert.equal(machine.events().filter((event) => event.kind === 'close').length, 5);
  assert.deepEqual(
    connections().map((connection) => connection.sourcePort),
    [8100],
  );
  await machine.counts({ connections_opened: 5, budget: 0 }, () => {
    for (let port = 0; port < 5; port++) a.link.send(udp(between(a, b), 8200 + port, 53));
  });
});

/** Makes every entry look as if its last packet had come so much earlier. */
function age(byNs: bigint): void {
  const table = machine.rawTable('connections', 40, 128);
  for (const { key, value } of table.entries()) {
    value.writeBigUInt64LE(value.readBigUInt64LE(16) - byNs, 16);
    value.writeUInt32LE(0, 116);
    table.set(key, value);
  }
}
/** As if the last heartbeat had come long ago. */
function silenceAgent(): void {
  const config = machine.rawTable('config', 4, 64);
  for (const { key, value } of config.entries()) {
    value.writeBigUInt64LE(machine.kernel.nowNs() - 6_000_000_000n, 0);
    config.set(key, value);
  }
}
