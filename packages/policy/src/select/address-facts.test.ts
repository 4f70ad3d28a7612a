import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { labelKeyFault } from '../documents/names.ts';
import { addressFactKey, addressFacts, insideSelector } from './address-facts.ts';
import { addressBits, maskedPrefix, type Prefix, prefixContains } from './prefix.ts';
import { selectorMatches } from './selector.ts';

function prefixOf(text: string): Prefix {
  const parsed = maskedPrefix(text);
  if (parsed.kind === 'refused') assert.fail(parsed.reason);
  return parsed.prefix;
}

const ipv4 = fc.array(fc.constantFrom(0, 1, 10, 255), { minLength: 4, maxLength: 4 }).map((octets) => octets.join('.'));
const ipv6 = fc
  .array(fc.constantFrom('0', '1', 'fd00', 'ffff'), { minLength: 8, maxLength: 8 })
  .map((groups) => groups.join(':'));
const network = fc.oneof(
  fc.tuple(ipv4, fc.constantFrom(0, 1, 8, 24, 31, 32)),
  fc.tuple(ipv6, fc.constantFrom(0, 7, 16, 64, 128)),
);

test('facts say of an address what the network says, for networks with and without exceptions', () => {
  const networks = fc.array(network, { minLength: 1, maxLength: 5 });
  fc.assert(
    fc.property(networks, fc.oneof(ipv4, ipv6), (written, address) => {
      const [prefix, ...except] = written.map(([base, length]) => prefixOf(`${base}/${length}`));
      const facts = addressFacts([prefix!, ...except].map(addressFactKey))([address]);
      const bits = addressBits(address)!;
      const inside = prefixContains(prefix!.bits, bits) && !except.some((hole) => prefixContains(hole.bits, bits));
      assert.equal(selectorMatches(insideSelector({ prefix: prefix!, except }), facts), inside);
    }),
    { numRuns: 1_000 },
  );
});

test('every prefix has a key of its own that is a label key', () => {
  fc.assert(
    fc.property(network, network, ([a, lengthA], [b, lengthB]) => {
      const [one, other] = [prefixOf(`${a}/${lengthA}`), prefixOf(`${b}/${lengthB}`)];
      assert.equal(labelKeyFault(addressFactKey(one)), null);
      assert.equal(addressFactKey(one) === addressFactKey(other), one.cidr === other.cidr);
    }),
    { numRuns: 1_000 },
  );
});

test('other keys are no facts about addresses', () => {
  assert.deepEqual(addressFacts(['app', 'bulkhead.dev/host', 'bulkhead.dev/in-nowhere'])(['10.0.0.1']), {});
});
