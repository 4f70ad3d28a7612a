import { test } from 'node:test';
import assert from 'node:assert/strict';
import { canonicalAddress as kernelForm } from '@bulkhead/kernel';
import fc from 'fast-check';
import {
  canonicalAddress,
  contains,
  formatAddress,
  networkSize,
  overlap,
  parseAddress,
  parseNetwork,
} from './network-address.ts';

const anyAddress = fc.oneof(
  fc.bigInt(0n, 2n ** 32n - 1n).map((value) => ({ family: 4 as const, value })),
  // IPv4-mapped addresses have another canonical text in the kernel's tables; the programs know none.
  fc.bigInt(2n ** 64n, 2n ** 128n - 1n).map((value) => ({ family: 6 as const, value })),
);

test('text and number are the same address, in the form that the kernel port uses', () => {
  fc.assert(
    fc.property(anyAddress, (address) => {
      const text = formatAddress(address);
      assert.deepEqual(parseAddress(text), address);
      assert.equal(kernelForm(text), text);
      assert.equal(canonicalAddress(text.toUpperCase()), text);
    }),
  );
});

test('what is no address is null, and never throws', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...'0123456789abcdef:./%') }), (text) => {
      const address = parseAddress(text);
      if (address !== null) assert.equal(formatAddress(parseAddress(formatAddress(address))!), formatAddress(address));
      parseNetwork(text);
    }),
  );
  for (const text of ['', '1.2.3', '1.2.3.256', 'fe80::1%eth0', '::1::', '10.0.0.1/8'])
    assert.equal(parseAddress(text), null);
  for (const text of ['10.0.0.0', '10.0.0.0/33', '/8', '10.0.0.0/', '::/129', '10.0.0.0/8/8'])
    assert.equal(parseNetwork(text), null);
});

test('networks overlap exactly when one has an address of the other', () => {
  const network = fc
    .tuple(fc.bigInt(0n, 255n), fc.integer({ min: 24, max: 32 }))
    .map(([low, prefix]) => parseNetwork(`${formatAddress({ family: 4, value: 0x0a000000n + low })}/${prefix}`)!);
  fc.assert(
    fc.property(network, network, (one, other) => {
      const members = Array.from({ length: Number(networkSize(one)) }, (_, index) => ({
        family: 4 as const,
        value: one.first + BigInt(index),
      }));
      assert.equal(
        overlap(one, other),
        members.some((address) => contains(other, address)),
      );
    }),
  );
});
