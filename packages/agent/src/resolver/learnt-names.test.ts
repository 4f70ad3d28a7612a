// The package has no types, and a project of tests alone does not see the declaration of ours.
// oxlint-disable-next-line typescript/triple-slash-reference
/// <reference path="./dns-packet.d.ts" />
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encode, type Answer } from 'dns-packet';
import fc from 'fast-check';
import { learntAddresses } from './learnt-names.ts';

const response = (answers: readonly Answer[]): Uint8Array =>
  encode({ id: 1, type: 'response', questions: [{ name: 'www.example.com', type: 'A' }], answers });
const a = (name: string, data: string, ttl = 300): Answer => ({ type: 'A', name, data, ttl, class: 'IN' });
const cname = (name: string, data: string, ttl = 300): Answer => ({ type: 'CNAME', name, data, ttl, class: 'IN' });

test('an address has the asked name and every alias on the way, for the least of their times', () => {
  const message = response([
    cname('WWW.example.com', 'edge.CDN.net', 60),
    cname('edge.cdn.net', 'pop7.cdn.net', 20),
    a('pop7.cdn.net', '198.51.100.7', 5),
    { type: 'AAAA', name: 'pop7.cdn.net', data: '2001:DB8::7', ttl: 40, class: 'IN' },
  ]);
  const names = ['www.example.com', 'edge.cdn.net', 'pop7.cdn.net'];
  assert.deepEqual(learntAddresses('www.example.com', message), [
    { address: '198.51.100.7', names, ttlSeconds: 5 },
    { address: '2001:db8::7', names, ttlSeconds: 20 },
  ]);
});

test('what no alias of the question leads to teaches nothing, and a circle ends', () => {
  const message = response([
    a('www.example.com', '198.51.100.7'),
    a('bank.example.net', '203.0.113.66'),
    cname('mail.example.net', 'www.example.com'),
  ]);
  assert.deepEqual(
    learntAddresses('www.example.com', message).map(({ address, names }) => [address, ...names]),
    [['198.51.100.7', 'www.example.com']],
  );
  const circle = response([cname('www.example.com', 'b.example'), cname('b.example', 'www.example.com')]);
  assert.deepEqual(learntAddresses('www.example.com', circle), []);
});

test('addresses that nobody outside has are not learnt', () => {
  const own = ['127.0.0.1', '0.0.0.0', '169.254.169.254', '224.0.0.1', '255.255.255.255'];
  const answers = own.map((address) => a('www.example.com', address));
  const six = ['::1', '::', 'fe80::1', 'ff02::1', '::ffff:198.51.100.7'].map((data): Answer => ({
    type: 'AAAA',
    name: 'www.example.com',
    data,
    ttl: 300,
    class: 'IN',
  }));
  assert.deepEqual(learntAddresses('www.example.com', response([...answers, ...six])), []);
});

test('an answer teaches a bounded number of addresses, and noise none', () => {
  const many = Array.from({ length: 200 }, (_, index) => a('www.example.com', `198.51.100.${index}`));
  assert.equal(learntAddresses('www.example.com', response(many)).length, 64);
  const chain = Array.from({ length: 40 }, (_, index) => cname(`n${index}.example`, `n${index + 1}.example`));
  assert.deepEqual(learntAddresses('n0.example', response([...chain, a('n40.example', '198.51.100.1')])), []);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (noise) => {
      learntAddresses('www.example.com', noise);
    }),
    { numRuns: 300 },
  );
});
