import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { KernelError, type KernelPortTable, type KernelVerdict, type PortRoot } from './port.ts';
import { decodeVerdict, isVerdict, PortNodes, type NodeStore } from './port-nodes.ts';
import { lookUp, normalPortTable, verdictAt, type PortNode } from './port-tree.ts';

class MemoryNodes implements NodeStore {
  readonly nodesMax: number;
  readonly nodes = new Map<number, PortNode>();
  waits = 0;
  constructor(nodesMax: number) {
    this.nodesMax = nodesMax;
  }
  write(index: number, node: PortNode): void {
    this.nodes.set(index, node);
  }
  read(index: number): PortNode {
    return this.nodes.get(index)!;
  }
  waitForPackets(): void {
    this.waits++;
  }
}

const verdict: fc.Arbitrary<KernelVerdict> = fc.record(
  {
    action: fc.constantFrom('allow', 'deny', 'reject', 'ask'),
    rule: fc.integer({ min: 0, max: 5 }),
  },
  { noNullPrototype: true },
);
/** Tables from sorted cuts: neighbouring cuts make ranges, some of them left to `otherwise`. */
export const portTable: fc.Arbitrary<KernelPortTable> = fc
  .record({
    otherwise: verdict,
    cuts: fc.array(
      fc.record({
        protocol: fc.constantFrom(1, 6, 17),
        from: fc.integer({ min: 0, max: 400 }),
        length: fc.integer({ min: 0, max: 9 }),
        verdict,
      }),
      { maxLength: 300 },
    ),
  })
  .map(({ otherwise, cuts }) => {
    const ranges: KernelPortTable['ranges'][number][] = [];
    const sorted = cuts.toSorted((a, b) => a.protocol - b.protocol || a.from - b.from);
    for (const cut of sorted) {
      const last = ranges.at(-1);
      if (last?.protocol === cut.protocol && last.to >= cut.from) continue;
      ranges.push({ protocol: cut.protocol, from: cut.from, to: cut.from + cut.length, verdict: cut.verdict });
    }
    return { otherwise, ranges };
  });

function answer(store: MemoryNodes, root: PortRoot, protocol: number, port: number): KernelVerdict {
  return decodeVerdict(
    lookUp(root, protocol * 0x10000 + port, (reference) => (isVerdict(reference) ? null : store.read(reference))),
  );
}

test('a tree answers as its table does', () => {
  fc.assert(
    fc.property(
      portTable,
      fc.array(fc.tuple(fc.constantFrom(0, 1, 6, 7, 17, 255), fc.integer({ min: 0, max: 420 }))),
      (table, keys) => {
        const store = new MemoryNodes(1000);
        const root = new PortNodes(store).add(table);
        const edges = table.ranges.flatMap((range) =>
          [range.from, range.to, range.to + 1].map((port) => [range.protocol, port] as const),
        );
        for (const [protocol, port] of [...keys, ...edges, [0, 0], [255, 65535]] as const) {
          assert.deepEqual(answer(store, root, protocol, port), verdictAt(table, protocol, port));
        }
      },
    ),
  );
});

test('a table is read back from its nodes', () => {
  fc.assert(
    fc.property(portTable, (table) => {
      const nodes = new PortNodes(new MemoryNodes(1000));
      assert.deepEqual(nodes.table(nodes.add(table)), normalPortTable(table));
    }),
  );
});

test('equal tables share a root, and nothing is left when all is released', () => {
  fc.assert(
    fc.property(fc.array(portTable, { maxLength: 6 }), (tables) => {
      const nodes = new PortNodes(new MemoryNodes(5000));
      const roots = tables.map((table) => nodes.add(table));
      const size = nodes.size;
      assert.deepEqual(
        tables.map((table) => nodes.add(table)),
        roots,
      );
      assert.equal(nodes.size, size);
      for (const root of [...roots, ...roots]) nodes.release(root);
      assert.equal(nodes.size, 0);
    }),
  );
});

const allow: KernelVerdict = { action: 'allow', rule: 1 };
const deny: KernelVerdict = { action: 'deny', rule: 0 };
const many = (from: number, count: number): KernelPortTable => ({
  otherwise: deny,
  ranges: Array.from({ length: count }, (_, index) => ({
    protocol: 6,
    from: from + index * 2,
    to: from + index * 2,
    verdict: allow,
  })),
});

test('a table that does not fit leaves nothing, and released nodes are reused only after a wait', () => {
  const store = new MemoryNodes(8);
  const nodes = new PortNodes(store);
  const first = nodes.add(many(1, 20));
  const size = nodes.size;
  assert.throws(
    () => nodes.add(many(1000, 100)),
    (error) => error instanceof KernelError && error.code === 'full',
  );
  assert.equal(nodes.size, size);
  assert.deepEqual(nodes.table(first), many(1, 20));
  const before = store.waits;
  nodes.release(first);
  const second = nodes.add(many(501, 40));
  assert.equal(store.waits, before + 1);
  assert.deepEqual(nodes.table(second), many(501, 40));
});

test('a row keeps its tree when every other holder lets go', () => {
  const nodes = new PortNodes(new MemoryNodes(100));
  const root = nodes.add(many(1, 40));
  nodes.rowAdded(root);
  nodes.rowAdded(root);
  nodes.release(root);
  nodes.rowRemoved(root);
  assert.deepEqual(nodes.table(root), many(1, 40));
  nodes.rowRemoved(root);
  assert.equal(nodes.size, 0);
});

test('pinned trees are taken over: shared by content, one reference a root, the rest free', () => {
  fc.assert(
    fc.property(
      fc.array(portTable, { minLength: 1, maxLength: 5 }),
      fc.array(portTable, { maxLength: 3 }),
      (kept, lost) => {
        const store = new MemoryNodes(2000);
        const before = new PortNodes(store);
        const roots = kept.map((table) => before.add(table));
        for (const table of lost) before.add(table);
        const after = new PortNodes(store);
        after.recover(roots);
        const size = after.size;
        assert.deepEqual(
          kept.map((table) => after.add(table)),
          roots,
        );
        assert.equal(after.size, size);
        for (const root of roots) after.release(root);
        for (const root of new Set(roots)) after.release(root);
        for (const root of roots) after.rowRemoved(root);
        assert.equal(after.size, 0);
      },
    ),
  );
});
