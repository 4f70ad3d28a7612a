/** Objects with another layout of maps: what the old ones held goes over by the names of fields, live connections included. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { tmpdir } from 'node:os';
import process from 'node:process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { openLinuxKernel, type Connection } from '@bulkhead/kernel';
import { writeAddress, writeMac } from '../../../packages/kernel/src/address.ts';
import type { Btf } from '../../../packages/kernel/src/linux/btf.ts';
import { layoutHash } from '../../../packages/kernel/src/linux/layout.ts';
import { readObjects } from '../../../packages/kernel/src/linux/object-files.ts';
import { LoadedObject } from '../../../packages/kernel/src/linux/object.ts';
import { Pins } from '../../../packages/kernel/src/linux/pins.ts';
import { possibleCpus } from '../../../packages/kernel/src/linux/tables.ts';
import { Table } from '../../../packages/kernel/src/linux/table.ts';

const maps = fileURLToPath(new URL('../../../bpf/maps.h', import.meta.url));

/** Two fields more in the middle than there are now, so that every offset behind them is another. */
function withOldLayout(text: string): string {
  const changed = text
    .replace(/(struct connection \{[^}]*?)(  __u64 bytes\[2\];)/, '$1  __u32 gone;\n  __u32 gone_too;\n$2')
    .replace(
      /(sizeof\(struct connection\) == )(\d+)/,
      (_, start: string, size: string) => `${start}${Number(size) + 8}`,
    );
  assert.match(changed, /gone_too/);
  return changed;
}

function buildOldObject(directory: string): void {
  const text = readFileSync(maps, 'utf8');
  for (const header of ['limits.h', 'schema.h'])
    copyFileSync(path.join(path.dirname(maps), header), `${directory}/${header}`);
  writeFileSync(`${directory}/maps.h`, withOldLayout(text));
  writeFileSync(
    `${directory}/old.bpf.c`,
    [
      '#include "maps.h"',
      'MAP(scratch, BPF_MAP_TYPE_PERCPU_ARRAY, 1, 0, __u32, __u64);',
      'SEC("tc") int from_workload(struct __sk_buff *skb) { return skb->len ? 2 : 0; }',
      'char _license[] SEC("license") = "GPL";',
    ].join('\n'),
  );
  const include = `-I/usr/include/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`;
  mkdirSync(`${directory}/build`);
  execFileSync('clang', ['-O2', '-g', '-target', 'bpf', include, '-c', 'old.bpf.c', '-o', 'build/old.bpf.o'], {
    cwd: directory,
  });
}

/** Sets one number of a struct by the old BTF. */
function put(btf: Btf, view: DataView, struct: string, path: string, value: bigint, index = 0): void {
  const field = btf.struct(struct)?.fields.find((candidate) => candidate.name === path);
  assert.ok(field, `${struct}.${path}`);
  const type = field.type.kind === 'array' ? field.type.element : field.type;
  assert.ok(type.kind === 'integer');
  const at = field.offset + index * type.size;
  if (type.size === 8) view.setBigUint64(at, value, true);
  else if (type.size === 4) view.setUint32(at, Number(value), true);
  else if (type.size === 2) view.setUint16(at, Number(value), true);
  else view.setUint8(at, Number(value));
}

test('a changed layout keeps connections, endpoints and addresses', async () => {
  const directory = mkdtempSync(`${tmpdir()}/bhB-old-`);
  const pinRoot = `/sys/fs/bpf/bhB-${process.pid}-migration`;
  try {
    buildOldObject(directory);
    const files = readObjects(`${directory}/build`);
    const oldLayout = layoutHash(files.btf);
    const pins = new Pins(pinRoot);
    pins.prepare();
    const object = LoadedObject.load(files.paths[0]!, new Map());
    const names = files.btf.maps.map((map) => map.name);
    pins.publish(pins.maps(oldLayout), new Map(names.map((name) => [name, object.mapFd(name)])));
    pins.publish(pins.programs(oldLayout, files.hash), object.programs());
    const table = (name: string): Table => new Table(name, object.mapFd(name), possibleCpus());

    const endpoints = table('endpoints');
    endpoints.keyView.setUint32(0, 3, true);
    put(files.btf, endpoints.valueView, 'endpoint', 'word', 300n | (7n << 24n) | (9n << 48n));
    put(files.btf, endpoints.valueView, 'endpoint', 'state', 2n);
    put(files.btf, endpoints.valueView, 'endpoint', 'kind', 1n);
    put(files.btf, endpoints.valueView, 'endpoint', 'ifindex', 77n);
    const macAt = files.btf.struct('endpoint')!.fields.find((field) => field.name === 'mac')!.offset;
    writeMac('02:00:00:00:00:03', endpoints.valueView, macAt);
    assert.equal(endpoints.update(), 'done');

    const addresses = table('addresses');
    writeAddress('10.1.2.3', addresses.keyView, 0);
    put(files.btf, addresses.valueView, 'address_owner', 'kind', 1n);
    put(files.btf, addresses.valueView, 'address_owner', 'slot', 3n);
    assert.equal(addresses.update(), 'done');

    const connections = table('connections');
    const key = { protocol: 6, source: '10.1.2.3', sourcePort: 40_000, destination: '10.1.2.4', destinationPort: 443 };
    writeAddress(key.source, connections.keyView, 0);
    writeAddress(key.destination, connections.keyView, 16);
    put(files.btf, connections.keyView, 'connection_key', 'low_port', BigInt(key.sourcePort));
    put(files.btf, connections.keyView, 'connection_key', 'high_port', BigInt(key.destinationPort));
    put(files.btf, connections.keyView, 'connection_key', 'protocol', BigInt(key.protocol));
    const numbers = {
      first_seen_ns: 1111n,
      last_seen_ns: 2222n,
      idle_ns: 1n << 60n,
      revision: 42n,
      gone: 5n,
      gone_too: 6n,
      state: 2n,
      flags: 1n,
    };
    for (const [name, value] of Object.entries(numbers))
      put(files.btf, connections.valueView, 'connection', name, value);
    put(files.btf, connections.valueView, 'connection', 'slot', 3n, 0);
    put(files.btf, connections.valueView, 'connection', 'packets', 12n, 0);
    put(files.btf, connections.valueView, 'connection', 'packets', 13n, 1);
    put(files.btf, connections.valueView, 'connection', 'rule', 31n, 1);
    assert.equal(connections.update(), 'done');
    object.close();

    const kernel = openLinuxKernel({ pinRoot });
    const loaded = kernel.programs.load();
    assert.equal(loaded.kind, 'replaced');
    assert.notEqual(loaded.layout, oldLayout);
    const found: Connection[] = [];
    kernel.maps.forEachConnection((connection) => found.push(connection));
    assert.deepEqual(found, [
      {
        ...key,
        sourceSlot: 3,
        destinationSlot: 0,
        sourceIdentity: 0,
        destinationIdentity: 0,
        egressRule: 0,
        ingressRule: 31,
        state: 'established',
        decided: true,
        reported: false,
        revision: 42,
        firstSeenNs: 1111n,
        lastSeenNs: 2222n,
        packets: [12n, 13n],
        bytes: [0n, 0n],
      },
    ]);
    const [endpoint, ...others] = kernel.maps.endpoints();
    assert.deepEqual(others, []);
    assert.deepEqual(
      {
        slot: endpoint?.slot,
        state: endpoint?.state,
        identity: endpoint?.identity,
        ruleset: endpoint?.ruleset,
        epoch: endpoint?.epoch,
        mac: endpoint?.mac,
      },
      { slot: 3, state: 'governed', identity: 300, ruleset: 7, epoch: 9, mac: '02:00:00:00:00:03' },
    );
    assert.deepEqual(kernel.maps.addresses(), new Map([['10.1.2.3', { kind: 'endpoint', slot: 3 }]]));
    assert.deepEqual(readdirSync(pinRoot).sort(), [loaded.layout, 'links'].sort(), 'the old layout is gone');
    kernel.programs.unload();
    assert.equal(existsSync(pinRoot), false);
    await kernel[Symbol.asyncDispose]();
  } finally {
    rmSync(directory, { recursive: true });
    rmSync(pinRoot, { recursive: true, force: true });
  }
});
