/** Programs are replaced under traffic without losing a packet, and state goes over to them. */
import assert from 'node:assert/strict';
import { copyFileSync, appendFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { enterOwnNamespace } from './own-namespace.ts';
import { always, TwoWorkloads } from './two-workloads.ts';

enterOwnNamespace();
const built = new URL('../../../bpf/build/datapath.bpf.o', import.meta.url);
const swaps = 6;
const pings = 4000;
/** A swap verifies the whole object, which can take long on a busy machine. */
const timeoutMs = 120_000;

for (const mechanism of ['tcx', 'clsact'] as const) {
  test(`replacing programs behind ${mechanism} loses no ping`, { timeout: timeoutMs }, async () => {
    const directory = mkdtempSync(`${tmpdir()}/bhB-objects-`);
    const object = `${directory}/datapath.bpf.o`;
    copyFileSync(built, object);
    await using both = await TwoWorkloads.make({ mechanism, table: always('allow', 5), objectDirectory: directory });
    const { kernel } = both;
    let running = true;
    // Each ping follows the answer to the last: a lost one would cost a second and be counted.
    const flood = both
      .start(0, 'busybox', 'ping', '-q', '-A', '-c', String(pings), '-W', '1', '10.88.0.2')
      .finally(() => (running = false));
    const countPings = (): bigint => {
      let packets = 0n;
      kernel.maps.forEachConnection((connection) => (packets += connection.packets[0]));
      return packets;
    };
    while (countPings() === 0n && running) await setImmediate();
    for (let swap = 0; swap < swaps; swap++) {
      // Another file with the same programs: what follows the sections of an ELF file means nothing.
      appendFileSync(object, Buffer.from([swap]));
      assert.equal(kernel.programs.load().kind, 'replaced');
      assert.equal(kernel.programs.load().kind, 'reopened');
    }
    assert.ok(running, 'the pings ended before the swaps did');
    assert.deepEqual(
      kernel.links.attached().map(({ hook }) => hook),
      ['workload', 'workload'],
    );
    const output = await flood;
    assert.match(output, new RegExp(`${pings} packets transmitted, ${pings} packets received, 0% packet loss`));
    assert.ok(countPings() >= BigInt(pings), 'the entry outlived every swap');
    rmSync(directory, { recursive: true });
  });
}
