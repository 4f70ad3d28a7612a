import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KernelPortTable, VerdictAction } from '@bulkhead/kernel';
import fc from 'fast-check';
import { PrefixTable } from './prefixes.ts';
import { TableStore, verdictOf } from './tables.ts';

const verdict = fc.record(
  {
    action: fc.constantFrom<VerdictAction>('allow', 'deny', 'reject', 'ask'),
    rule: fc.integer({ min: 1, max: 3 }),
  },
  { noNullPrototype: true },
);
const probes = [0, 1, 2, 3, 79, 80, 81, 65_534, 65_535];
const protocols = [0, 1, 6, 17, 255];

const table: fc.Arbitrary<KernelPortTable> = fc.record({
  ranges: fc
    .array(
      fc.record({
        protocol: fc.constantFrom(...protocols),
        from: fc.constantFrom(...probes),
        to: fc.constantFrom(...probes),
        verdict,
      }),
      {
        maxLength: 6,
      },
    )
    .map((drawn) => {
      const sorted = drawn
        .filter(({ from, to }) => from <= to)
        .sort((a, b) => a.protocol - b.protocol || a.from - b.from);
      return sorted.filter((range, index) =>
        sorted.slice(0, index).every((before) => before.protocol !== range.protocol || before.to < range.from),
      );
    }),
  otherwise: verdict,
});

const rank = { deny: 0, reject: 0, ask: 1, allow: 2 } as const;

function meant(
  { ranges, otherwise }: KernelPortTable,
  protocol: number,
  port: number,
): { action: VerdictAction; rule: number } {
  return (
    ranges.find((range) => range.protocol === protocol && range.from <= port && port <= range.to)?.verdict ?? otherwise
  );
}

function everywhere(check: (protocol: number, port: number) => void): void {
  for (const protocol of [...protocols, 7]) for (const port of probes) check(protocol, port);
}

test('an interned table means what was given, and equal functions are one object', () => {
  fc.assert(
    fc.property(table, (given) => {
      const store = new TableStore();
      const interned = store.intern(given);
      everywhere((protocol, port) => {
        assert.deepEqual(verdictOf(interned, protocol, port), meant(given, protocol, port));
        assert.deepEqual(meant(interned.content, protocol, port), meant(given, protocol, port));
      });
      assert.equal(store.intern(interned.content), interned);
    }),
  );
});

test('leq and meet are those of the verdicts at every port', () => {
  fc.assert(
    fc.property(table, table, (left, right) => {
      const store = new TableStore();
      const [a, b] = [store.intern(left), store.intern(right)];
      const met = store.meet(a, b);
      let isBelow = true;
      everywhere((protocol, port) => {
        const [inA, inB] = [rank[meant(left, protocol, port).action], rank[meant(right, protocol, port).action]];
        isBelow &&= inA <= inB;
        assert.equal(rank[verdictOf(met, protocol, port).action], Math.min(inA, inB));
      });
      assert.equal(store.leq(a, b), isBelow);
      assert.ok(store.leq(met, a) && store.leq(met, b));
    }),
  );
});

test('the longest prefix wins, in both families and in every way to write an address', () => {
  const prefixes = new PrefixTable(
    new Map([
      ['0.0.0.0/0', 1],
      ['10.0.0.0/8', 2],
      ['10.1.0.0/16', 3],
      ['10.1.2.3/32', 4],
      ['fd00::/8', 5],
      ['fd00:1::/32', 6],
      ['::ffff:10.0.0.0/104', 7],
    ]),
  );
  const expected: Readonly<Record<string, number | undefined>> = {
    '192.0.2.1': 1,
    '10.2.0.1': 2,
    '10.1.255.255': 3,
    '10.1.2.3': 4,
    '10.1.0.0/16': 3,
    '10.0.0.0/9': 2,
    'fd12::1': 5,
    'fd00:1:0:0::9': 6,
    '::ffff:10.9.9.9': 7,
    '2001:db8::1': undefined,
  };
  for (const [address, peer] of Object.entries(expected)) assert.equal(prefixes.match(address), peer, address);
  assert.throws(() => prefixes.match('nonsense'), RangeError);
});
