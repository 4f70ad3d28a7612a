import assert from 'node:assert/strict';
import { isIPv4, isIPv6 } from 'node:net';
import { test } from 'node:test';
import fc from 'fast-check';
import { canonicalAddress, cidrText, parseCidr, readMac, writeMac } from './address.ts';
import { KernelError } from './port.ts';

const group = fc.integer({ min: 0, max: 0xffff });

test('every IPv4 address is its own canonical text', () => {
  fc.assert(fc.property(fc.ipV4(), (text) => assert.equal(canonicalAddress(text), text)));
});

test('an IPv6 address has the text that a URL gives it', () => {
  const dense = fc.array(fc.oneof(fc.constant(0), group), { minLength: 8, maxLength: 8 });
  fc.assert(
    fc.property(dense, (groups) => {
      const text = groups.map((value) => value.toString(16)).join(':');
      const mapped = groups.slice(0, 5).every((value) => value === 0) && groups[5] === 0xffff;
      fc.pre(!mapped);
      assert.equal(canonicalAddress(text), new URL(`http://[${text}]/`).hostname.slice(1, -1));
    }),
  );
});

test('what node takes for an address is read, and nothing else', () => {
  const pieces = fc.array(fc.constantFrom('1', 'ff', ':', '::', '.', '255', '256', '0', 'g', ''), { maxLength: 9 });
  fc.assert(
    fc.property(pieces, (parts) => {
      const text = parts.join('');
      const valid = isIPv4(text) || isIPv6(text);
      if (valid) canonicalAddress(text);
      else assert.throws(() => canonicalAddress(text), KernelError);
    }),
    { numRuns: 2000 },
  );
});

test('networks keep their text, and host bits are refused', () => {
  for (const text of ['10.0.0.0/8', '0.0.0.0/0', '10.1.2.3/32', '::/0', 'fd00::/64', 'fd00::1/128', '10.1.2.0/23']) {
    assert.equal(cidrText(parseCidr(text)), text);
  }
  for (const text of ['10.0.0.1/8', 'fd00::1/64', '10.0.0.0/33', '10.0.0.0', '/8', '10.0.0.0/', 'fd00::/129']) {
    assert.throws(() => parseCidr(text), KernelError, text);
  }
});

test('MAC addresses go through their bytes', () => {
  const view = new DataView(new ArrayBuffer(6));
  writeMac('02:ab:00:00:00:ff', view, 0);
  assert.equal(readMac(view, 0), '02:ab:00:00:00:ff');
  assert.throws(() => writeMac('02:AB:00:00:00:ff', view, 0), KernelError);
});
