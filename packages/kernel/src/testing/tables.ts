/** Tables: whatever is put in can be read back, twice is as good as once, and a full table takes nothing. */
import assert from 'node:assert/strict';
import { isDeepStrictEqual } from 'node:util';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import { writeAddress } from '../address.ts';
import { normalPortTable } from '../port-tree.ts';
import { KernelError, type AddressEntry, type HostPort, type Kernel, type LearntEntry, type Row } from '../port.ts';
import type { ContractOptions, KernelFactory, KernelUnderTest } from './contract.ts';
import { address, allow, always, deny, endpoint, networkOf, portTable, sampleEndpoint, verdict } from './samples.ts';

const isError = (code: string) => (error: unknown) => error instanceof KernelError && error.code === code;
const byText = (a: unknown, b: unknown): number => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1);
const sorted = <T>(values: Iterable<T>): T[] => [...values].sort(byText);

export function describeTables(factory: KernelFactory, options: ContractOptions): void {
  describe('tables', () => {
    let under: KernelUnderTest;
    let kernel: Kernel;
    before(async () => {
      under = await factory();
      kernel = under.kernel;
    });
    after(() => under.dispose());
    const runs = { numRuns: options.runs };

    test('nothing answers before the programs are loaded, and loading twice reopens', () => {
      assert.throws(() => kernel.maps.endpoints(), isError('ENOENT'));
      assert.throws(() => kernel.events.drain(() => {}, 1), isError('ENOENT'));
      assert.equal(kernel.programs.load().kind, 'loaded');
      assert.equal(kernel.programs.load().kind, 'reopened');
      assert.ok(kernel.programs.loaded().includes('from_workload'));
    });

    test('the configuration is read back, and a heartbeat leaves it alone', () => {
      const config = {
        revision: 9,
        puntIfindex: 3,
        overlayIfindex: 4,
        puntRate: 100,
        puntBurst: 50,
        gatewayIpv4: '10.9.0.1',
        gatewayIpv6: null,
      };
      kernel.maps.setConfig(config);
      kernel.maps.heartbeat();
      assert.deepEqual(kernel.maps.config(), config);
    });

    test('the ports of the host’s own end are these and no others, and its endpoint has no interface', () => {
      const { maps } = kernel;
      const guard = {
        kind: 'guard',
        direction: 'ingress',
        protocol: 6,
        port: 22,
        address: '0.0.0.0',
        rule: 9,
      } as const;
      const published = { kind: 'published', protocol: 17, port: 53, address: 'fd00::1' } as const;
      const sets: readonly (readonly HostPort[])[] = [
        [guard, published],
        [{ ...guard, rule: 10 }],
        [{ ...guard, direction: 'egress' }],
        [],
      ];
      for (const set of sets) {
        maps.setHostPorts(set);
        maps.setHostPorts(set);
        assert.deepEqual(sorted(maps.hostPorts()), sorted(set));
      }
      const host = { ...sampleEndpoint, slot: maps.limits.hostSlot, kind: 'host', ifindex: 0 } as const;
      maps.setEndpoint(host);
      assert.deepEqual(maps.endpoint(host.slot), host);
      maps.removeEndpoint(host.slot);
      assert.equal(maps.endpoint(host.slot), undefined);
    });

    test('endpoints are what was last set', () => {
      const command = fc.oneof(endpoint, fc.integer({ min: 1, max: 3 }));
      fc.assert(
        fc.property(fc.array(command, { maxLength: 12 }), (commands) => {
          const model = new Map<number, unknown>();
          for (const slot of [1, 2, 3]) kernel.maps.removeEndpoint(slot);
          for (const next of commands) {
            if (typeof next === 'number') {
              kernel.maps.removeEndpoint(next);
              model.delete(next);
            } else {
              kernel.maps.setEndpoint(next);
              kernel.maps.setEndpoint(next);
              model.set(next.slot, next);
            }
          }
          assert.deepEqual(sorted(kernel.maps.endpoints()), sorted(model.values()));
          for (const slot of [1, 2, 3]) assert.deepEqual(kernel.maps.endpoint(slot), model.get(slot));
          for (const each of commands) {
            if (typeof each === 'number') continue;
            assert.equal(kernel.maps.hasEndpoint(each), isDeepStrictEqual(kernel.maps.endpoint(each.slot), each));
          }
        }),
        runs,
      );
      for (const slot of [1, 2, 3]) kernel.maps.removeEndpoint(slot);
    });

    test('an endpoint that does not fit is refused, and what was there stays', () => {
      kernel.maps.setEndpoint(sampleEndpoint);
      for (const wrong of [
        { slot: 0 },
        { slot: kernel.maps.limits.endpointsMax },
        { identity: 2 ** 24 },
        { epoch: 2 ** 16 },
        { ruleset: -1 },
      ]) {
        assert.throws(
          () => kernel.maps.setEndpoint({ ...sampleEndpoint, ...wrong }),
          isError('ERANGE'),
          JSON.stringify(wrong),
        );
      }
      assert.deepEqual(kernel.maps.endpoints(), [sampleEndpoint]);
      kernel.maps.removeEndpoint(1);
    });

    test('addresses are what was last set', () => {
      const owner: fc.Arbitrary<AddressEntry> = fc.oneof(
        fc.constant({ kind: 'host' } as const),
        fc.integer({ min: 1, max: 9 }).map((slot) => ({ kind: 'endpoint', slot }) as const),
        fc
          .tuple(fc.integer({ min: 256, max: 2 ** 24 - 1 }), address)
          .map(([identity, host]) => ({ kind: 'remote', identity, host }) as const),
      );
      fc.assert(
        fc.property(fc.array(fc.tuple(address, fc.option(owner)), { maxLength: 20 }), (commands) => {
          const model = new Map<string, AddressEntry>();
          for (const [text, entry] of commands) {
            if (entry === null) {
              kernel.maps.removeAddress(text);
              model.delete(text);
            } else {
              kernel.maps.setAddress(text, entry);
              model.set(text, entry);
            }
          }
          assert.deepEqual(sorted(kernel.maps.addresses()), sorted(model));
          for (const [text] of commands) assert.deepEqual(kernel.maps.address(text), model.get(text));
          for (const text of model.keys()) kernel.maps.removeAddress(text);
        }),
        runs,
      );
    });

    test('what endpoints learnt is what was last set, each for itself', () => {
      const entry = fc.record(
        {
          slot: fc.integer({ min: 1, max: 3 }),
          address,
          peer: fc.integer({ min: 2 ** 24, max: 2 ** 32 - 1 }),
          lapsed: fc.boolean(),
        },
        { noNullPrototype: true },
      );
      fc.assert(
        fc.property(
          fc.array(fc.tuple(fc.boolean(), fc.array(entry, { maxLength: 8 })), { maxLength: 6 }),
          (commands) => {
            const model = new Map<string, LearntEntry>();
            for (const [isSet, entries] of commands) {
              if (isSet) kernel.maps.setLearnt(entries);
              else kernel.maps.removeLearnt(entries);
              for (const each of entries) {
                if (isSet) model.set(`${each.slot} ${each.address}`, each);
                else model.delete(`${each.slot} ${each.address}`);
              }
            }
            assert.deepEqual(sorted(kernel.maps.learnt()), sorted(model.values()));
            for (const [, entries] of commands) {
              for (const each of entries) {
                const meant = model.get(`${each.slot} ${each.address}`);
                const found = kernel.maps.learntPeer(each);
                assert.deepEqual(found, meant === undefined ? undefined : { peer: meant.peer, lapsed: meant.lapsed });
              }
            }
            kernel.maps.removeLearnt([...model.values()]);
          },
        ),
        runs,
      );
    });

    test('port tables are read back and shared by content', () => {
      fc.assert(
        fc.property(portTable(verdict, 60), (table) => {
          const root = kernel.maps.addPortTable(table);
          assert.deepEqual(kernel.maps.portTable(root), normalPortTable(table));
          assert.equal(kernel.maps.addPortTable(table), root);
          kernel.maps.releasePortTable(root);
          assert.deepEqual(kernel.maps.portTable(root), normalPortTable(table));
          kernel.maps.releasePortTable(root);
        }),
        runs,
      );
    });

    test('rows are what was last set', () => {
      const key = fc.record(
        {
          ruleset: fc.constantFrom(1, 2, 2 ** 24 - 1),
          direction: fc.constantFrom('egress', 'ingress'),
          peer: fc.constantFrom(0, 5, 2 ** 32 - 1),
        },
        { noNullPrototype: true },
      );
      const roots = [
        always(allow),
        always(deny),
        { ranges: [{ protocol: 6, from: 1, to: 2, verdict: allow }], otherwise: deny },
      ].map((table) => kernel.maps.addPortTable(table));
      const command = fc.oneof(
        fc.array(fc.tuple(key, fc.constantFrom(...roots)), { maxLength: 8 }).map((rows) => ({
          kind: 'set' as const,
          rows: rows.map(([at, root]): Row => ({ ...at, root })),
        })),
        fc.array(key, { maxLength: 8 }).map((keys) => ({ kind: 'remove' as const, keys })),
      );
      fc.assert(
        fc.property(fc.array(command, { maxLength: 6 }), (commands) => {
          const model = new Map<string, Row>();
          const textOf = ({ ruleset, direction, peer }: Omit<Row, 'root'>): string => `${ruleset} ${direction} ${peer}`;
          for (const next of commands) {
            if (next.kind === 'set') {
              kernel.maps.setRows(next.rows);
              for (const row of next.rows) model.set(textOf(row), row);
            } else {
              kernel.maps.removeRows(next.keys);
              for (const row of next.keys) model.delete(textOf(row));
            }
          }
          assert.deepEqual(sorted(kernel.maps.rows()), sorted(model.values()));
          for (const row of model.values()) assert.equal(kernel.maps.row(row), row.root);
          kernel.maps.removeRows([...model.values()]);
          assert.deepEqual(kernel.maps.rows(), []);
        }),
        runs,
      );
      for (const root of roots) kernel.maps.releasePortTable(root);
    });

    const cidr = fc
      .tuple(address, fc.integer({ min: 0, max: 32 }))
      .map(([text, bits]) => networkOf(text, writeAddress, bits));
    test('networks are what was last set', () => {
      const command = fc.oneof(
        fc.array(fc.tuple(cidr, fc.integer({ min: 2 ** 24, max: 2 ** 32 - 1 })), { maxLength: 8 }),
        fc.array(cidr, { maxLength: 8 }),
      );
      fc.assert(
        fc.property(fc.array(command, { maxLength: 6 }), (commands) => {
          const model = new Map<string, number>();
          for (const entries of commands) {
            if (entries.every((entry) => typeof entry === 'string')) {
              kernel.maps.removeCidrs(entries);
              for (const text of entries) model.delete(text);
            } else {
              kernel.maps.setCidrs((entries as [string, number][]).map(([text, peer]) => ({ cidr: text, peer })));
              for (const [text, peer] of entries as [string, number][]) model.set(text, peer);
            }
          }
          assert.deepEqual(
            sorted(kernel.maps.cidrs()),
            sorted(model).map(([text, peer]) => ({ cidr: text, peer })),
          );
          kernel.maps.removeCidrs([...model.keys()]);
        }),
        runs,
      );
      assert.deepEqual(kernel.maps.cidrs(), []);
      assert.throws(
        () =>
          kernel.maps.setCidrs([
            { cidr: '10.0.0.0/8', peer: 1 },
            { cidr: '10.0.0.1/8', peer: 1 },
          ]),
        isError('EINVAL'),
      );
      assert.deepEqual(kernel.maps.cidrs(), []);
    });

    test('what was set outlives the agent; a root has one reference, and a lost one is free', async () => {
      const kept = { ranges: [{ protocol: 6, from: 80, to: 90, verdict: allow }], otherwise: deny };
      const root = kernel.maps.addPortTable(kept);
      kernel.maps.setEndpoint(sampleEndpoint);
      kernel.maps.setAddress('10.9.0.2', { kind: 'endpoint', slot: 1 });
      kernel.maps.setCidrs([{ cidr: '10.0.0.0/8', peer: 2 ** 24 }]);
      kernel.maps.setRows([{ ruleset: 1, direction: 'egress', peer: 0, root }]);
      const old = kernel;
      kernel = await under.reopen();
      assert.throws(() => old.maps.endpoints(), KernelError);
      assert.equal(kernel.programs.load().kind, 'reopened');
      assert.deepEqual(kernel.maps.endpoints(), [sampleEndpoint]);
      assert.deepEqual(kernel.maps.addresses(), new Map([['10.9.0.2', { kind: 'endpoint', slot: 1 }]]));
      assert.deepEqual(kernel.maps.cidrs(), [{ cidr: '10.0.0.0/8', peer: 2 ** 24 }]);
      assert.deepEqual(kernel.maps.rows(), [{ ruleset: 1, direction: 'egress', peer: 0, root }]);
      assert.deepEqual(kernel.maps.portTable(root), kept);
      assert.equal(kernel.maps.addPortTable(kept), root);
      kernel.maps.releasePortTable(root);
      kernel.maps.releasePortTable(root);
      assert.deepEqual(kernel.maps.portTable(root), kept, 'a row still leads to it');
      kernel.maps.removeRows([{ ruleset: 1, direction: 'egress', peer: 0 }]);
    });

    test('unloading leaves nothing', () => {
      kernel.programs.unload();
      assert.deepEqual(kernel.programs.loaded(), []);
      assert.throws(() => kernel.maps.rows(), isError('ENOENT'));
      assert.equal(kernel.programs.load().kind, 'loaded');
      assert.deepEqual(kernel.maps.endpoints(), []);
      kernel.programs.unload();
    });
  });
}
