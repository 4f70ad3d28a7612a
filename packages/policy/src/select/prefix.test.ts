import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { PrefixTree } from '../compile/prefix-tree.ts';
import { addressBits, parsePrefix, prefixContains, prefixFromBits } from './prefix.ts';

const bits = fc.oneof(
  fc.string({ unit: fc.constantFrom('0', '1'), maxLength: 32 }).map((text) => `4${text}`),
  fc.string({ unit: fc.constantFrom('0', '1'), maxLength: 128 }).map((text) => `6${text}`),
);
/** Short, so that prefixes contain each other often. */
const nearBits = fc
  .tuple(fc.constantFrom('4', '6'), fc.string({ unit: fc.constantFrom('0', '1'), maxLength: 6 }))
  .map((parts) => parts.join(''));

test('a prefix is read as it is written', () => {
  fc.assert(
    fc.property(bits, (prefix) => {
      const { cidr } = prefixFromBits(prefix);
      assert.deepEqual(parsePrefix(cidr), { kind: 'prefix', prefix: { cidr, bits: prefix } });
      assert.ok(prefixContains(prefix, addressBits(cidr.split('/')[0]!)!));
    }),
    { numRuns: 500 },
  );
});

test('canonical text of IPv6 networks', () => {
  const canonical = (text: string) => {
    const parsed = parsePrefix(text);
    return parsed.kind === 'prefix' ? parsed.prefix.cidr : parsed.reason;
  };
  assert.equal(canonical('2001:0DB8:0:0::/32'), '2001:db8::/32');
  assert.equal(canonical('::ffff:10.0.0.0/104'), '::ffff:a00:0/104');
  assert.equal(canonical('fe80::1%eth0/128'), '"fe80::1%eth0/128" is no network');
});

test('the tree knows what a list knows', () => {
  const steps = fc.array(fc.tuple(fc.boolean(), nearBits), { maxLength: 40 });
  fc.assert(
    fc.property(steps, nearBits, (changes, asked) => {
      const tree = new PrefixTree<string>();
      const list = new Set<string>();
      for (const [isSet, prefix] of changes) {
        if (isSet) tree.set(prefix, prefix);
        else tree.delete(prefix);
        if (isSet) list.add(prefix);
        else list.delete(prefix);
      }
      assert.equal(tree.get(asked), list.has(asked) ? asked : undefined);
      assert.deepEqual(
        tree.covering(asked),
        [...list].filter((prefix) => prefixContains(prefix, asked)).sort((x, y) => x.length - y.length),
      );
      assert.deepEqual(
        [...tree.inside(asked)].sort(),
        [...list].filter((prefix) => prefixContains(asked, prefix)).sort(),
      );
    }),
    { numRuns: 2_000 },
  );
});
