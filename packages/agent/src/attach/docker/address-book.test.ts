import { test } from 'node:test';
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { openAgentState, type AgentState } from '../../state.ts';
import { AddressBook } from './address-book.ts';
import { openPoolRecords } from './docker-records.ts';
import { PluginError } from './plugin-server.ts';

const quarantineMs = 1000;

function open(state: AgentState, clock: { nowMs: number }): AddressBook {
  return new AddressBook({ ...openPoolRecords(state, 'docker'), state, quarantineMs, nowMs: () => clock.nowMs });
}

type Step =
  | { readonly kind: 'request' }
  | { readonly kind: 'named' | 'release'; readonly index: number }
  | { readonly kind: 'wait'; readonly ms: number }
  | { readonly kind: 'restart' };
const index = fc.nat({ max: 15 });
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.constant({ kind: 'request' as const }),
  index.map((index) => ({ kind: 'named' as const, index })),
  index.map((index) => ({ kind: 'release' as const, index })),
  fc.nat({ max: 800 }).map((ms) => ({ kind: 'wait' as const, ms })),
  fc.constant({ kind: 'restart' as const }),
);

test('an address is nobody’s twice, rests after its release, and all of that survives a restart', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      using state = openAgentState(':memory:');
      const clock = { nowMs: 5000 };
      let book = open(state, clock);
      const { poolId } = book.requestPool({ space: 's', network: '10.0.0.0/28', range: null, ipv6: false });
      const used = new Set<string>();
      const released = new Map<string, number>();
      const nameOf = (index: number) => `10.0.0.${index}`;
      for (const taken of steps) {
        switch (taken.kind) {
          case 'request':
            try {
              const address = book.requestAddress(poolId, null);
              assert.ok(!used.has(address), `${address} was in use`);
              assert.ok((released.get(address) ?? -Infinity) + quarantineMs <= clock.nowMs, `${address} had to rest`);
              assert.ok(!['10.0.0.0', '10.0.0.15'].includes(address));
              used.add(address);
            } catch (error) {
              assert.ok(error instanceof PluginError);
              const resting = [...released].filter(
                ([address, at]) => !used.has(address) && at + quarantineMs > clock.nowMs,
              );
              assert.equal(used.size + resting.length, 14, error.message);
            }
            break;
          case 'named': {
            const address = nameOf(taken.index);
            const mayHave = !used.has(address) && taken.index !== 0 && taken.index !== 15;
            if (mayHave) {
              assert.equal(book.requestAddress(poolId, address), address);
              used.add(address);
            } else assert.throws(() => book.requestAddress(poolId, address), PluginError);
            break;
          }
          case 'release':
            book.releaseAddress(poolId, nameOf(taken.index));
            if (used.delete(nameOf(taken.index))) released.set(nameOf(taken.index), clock.nowMs);
            break;
          case 'wait':
            clock.nowMs += taken.ms;
            break;
          case 'restart':
            book = open(state, clock);
        }
      }
      assert.deepEqual(
        book
          .used()
          .map(({ address }) => address)
          .sort(),
        [...used].sort(),
      );
    }),
    { numRuns: 200 },
  );
});

test('pools do not overlap, come from the default block where none is named, and are free again after their release', () => {
  using state = openAgentState(':memory:');
  const clock = { nowMs: 0 };
  const book = open(state, clock);
  const request = { space: 's', network: null, range: null, ipv6: false };
  const first = book.requestPool(request);
  const second = book.requestPool(request);
  assert.deepEqual([first.network, second.network], ['10.208.0.0/20', '10.208.16.0/20']);
  assert.throws(() => book.requestPool({ ...request, network: '10.208.5.0/24' }), /overlaps with 10\.208\.0\.0\/20/);
  assert.throws(() => book.requestPool({ ...request, network: 'fd00::/64' }), /not an IPv4 network/);
  assert.throws(() => book.requestPool({ ...request, network: '10.9.0.0/31' }), /too small/);
  assert.throws(() => book.requestPool({ ...request, network: '10.9.0.0/24', range: '10.8.0.0/24' }), /not inside/);
  const address = book.requestAddress(first.poolId, null);
  book.releasePool(first.poolId);
  assert.throws(() => book.requestAddress(first.poolId, null), /unknown/);
  const again = book.requestPool({ ...request, network: first.network });
  assert.notEqual(book.requestAddress(again.poolId, null), address, 'the former owner’s address rests');
});

test('a range bounds what is chosen, not what is asked for; IPv6 pools are not walked from end to end', () => {
  using state = openAgentState(':memory:');
  const book = open(state, { nowMs: 0 });
  const { poolId } = book.requestPool({ space: 's', network: '10.1.0.0/16', range: '10.1.7.0/30', ipv6: false });
  const chosen = Array.from({ length: 4 }, () => book.requestAddress(poolId, null));
  assert.deepEqual(chosen, ['10.1.7.0', '10.1.7.1', '10.1.7.2', '10.1.7.3']);
  assert.throws(() => book.requestAddress(poolId, null), /no free address/);
  assert.equal(book.requestAddress(poolId, '10.1.200.1'), '10.1.200.1');
  const ipv6 = book.requestPool({ space: 's', network: null, range: null, ipv6: true });
  assert.equal(book.requestAddress(ipv6.poolId, null), 'fd62:6865::1');
});
