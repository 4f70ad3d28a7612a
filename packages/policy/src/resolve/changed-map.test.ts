import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { changedMap } from './changed-map.ts';

const keysBefore = 2_000;

test('a map that is changed again and again is what a plain map would be, and the former ones stay', () => {
  const key = fc.nat(keysBefore + 300).map((number) => `k${number}`);
  const step = fc.record({ removed: fc.array(key, { maxLength: 200 }), set: fc.array(key, { maxLength: 200 }) });
  fc.assert(
    fc.property(fc.boolean(), fc.array(step, { maxLength: 12 }), (large, steps) => {
      let plain = new Map(Array.from({ length: large ? keysBefore : 3 }, (_, index) => [`k${index}`, -1]));
      let map: ReadonlyMap<string, number> = new Map(plain);
      for (const [number, { removed, set }] of steps.entries()) {
        const former = [map, [...map]] as const;
        map = changedMap(
          map,
          removed,
          set.map((name) => [name, number] as const),
        );
        plain = new Map(plain);
        for (const name of removed) plain.delete(name);
        for (const name of set) plain.set(name, number);
        assert.equal(map.size, plain.size);
        assert.deepEqual([...map].sort(), [...plain].sort());
        assert.deepEqual([...map.keys()].sort(), [...plain.keys()].sort());
        assert.equal([...map.values()].length, plain.size);
        for (const name of [...removed, ...set]) {
          assert.equal(map.get(name), plain.get(name));
          assert.equal(map.has(name), plain.has(name));
        }
        assert.deepEqual([...former[0]], former[1]);
      }
    }),
    { numRuns: 60 },
  );
});

test('nothing changed is the same map', () => {
  const map = new Map([['a', 1]]);
  assert.equal(changedMap(map, ['b'], []), map);
});
