import { test } from 'node:test';
import assert from 'node:assert/strict';
import type { EndpointRecord, NetworkRecord } from './docker-records.ts';
import { heldThings, isKnown, type Seen } from './orphans.ts';

const endpoint = { endpoint: 'e1', network: 'n1', ipv4: '10.0.0.2', ipv6: null } as EndpointRecord;
const network = { network: 'n1', ipv4: { network: '10.0.0.0/24', gateway: '10.0.0.1' }, ipv6: null } as NetworkRecord;
const driver = { endpoints: () => [endpoint], networks: () => [network] };
const pool = (cidr: string) => ({
  poolId: `s/${cidr}`,
  space: 's',
  network: cidr,
  range: cidr,
  cursor: '0',
  open: true,
  sinceMs: 0,
});
const addresses = ['10.0.0.1', '10.0.0.2', '10.0.0.9', '10.0.0.10'].map((address) => ({
  poolId: 's/10.0.0.0/24',
  address,
}));
const book = {
  pools: () => [pool('10.0.0.0/24'), pool('10.1.0.0/24'), pool('10.2.0.0/24')],
  used: () => [
    ...addresses,
    { poolId: 's/10.1.0.0/24', address: '10.1.0.7' },
    { poolId: 's/10.2.0.0/24', address: '10.2.0.7' },
  ],
  networkOf: (poolId: string) => poolId.slice(2),
};
const ipam = (Subnet: string, more: object = {}) => ({ Driver: 'bulkhead', Config: [{ Subnet, ...more }] });
const seen: Seen = {
  networks: [
    {
      Id: 'n1',
      Name: 'front',
      Driver: 'bulkhead',
      IPAM: ipam('10.0.0.0/24', { AuxiliaryAddresses: { printer: '10.0.0.9' } }),
    },
    { Id: 'n2', Name: 'theirs', Driver: 'bridge', IPAM: ipam('10.1.0.0/24') },
  ],
  endpoints: new Set(['e1']),
};

test('known: gateways, endpoints, auxiliary addresses, and whatever another driver has of our pools; all else is an orphan', () => {
  const orphans = heldThings(driver, book).filter((thing) => !isKnown(thing, seen, 'bulkhead', driver));
  assert.deepEqual(
    orphans.map(({ key }) => key),
    ['pool s/10.2.0.0/24', 'address s/10.0.0.0/24 10.0.0.10', 'address s/10.2.0.0/24 10.2.0.7'],
  );
});

test('an engine that knows nothing of ours leaves everything an orphan', () => {
  const things = heldThings(driver, book);
  assert.equal(
    things.filter(
      (thing) => isKnown(thing, { networks: [], endpoints: new Set() }, 'bulkhead', driver) && thing.kind !== 'address',
    ).length,
    0,
  );
});
