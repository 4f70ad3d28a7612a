/** What packets get: the tables as the programs read them, through runs of single frames. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import { parseCidr, writeAddress } from '../address.ts';
import { verdictAt } from '../port-tree.ts';
import type { KernelEvent, KernelVerdict } from '../port.ts';
import type { ContractOptions, KernelFactory } from './contract.ts';
import { action, JudgedEndpoint, protocolTcp } from './judged-endpoint.ts';
import { allow, always, deny, ipv4, networkOf, portTable } from './samples.ts';

export function describeJudging(factory: KernelFactory, options: ContractOptions): void {
  describe('judging', () => {
    const endpoint = new JudgedEndpoint(factory);
    before(() => endpoint.start());
    after(() => endpoint.end());

    test('no row is denied, and says so', () => {
      const before = endpoint.kernel.maps.counters().get('no_row')!;
      assert.equal(endpoint.run(endpoint.key()), action.shot);
      assert.equal(endpoint.kernel.maps.counters().get('no_row'), before + 1n);
      assert.equal(endpoint.kernel.maps.endpointCounters(endpoint.me.slot).get('no_row'), 1n);
      assert.deepEqual(endpoint.connections(), []);
    });

    // Before anything else is denied: refusals are told up to a bound per second.
    test('events say what happened to whom, in order, as many as asked for', () => {
      const root = endpoint.egress(0, {
        otherwise: { action: 'deny', rule: 21 },
        ranges: [{ protocol: protocolTcp, from: 443, to: 443, verdict: allow }],
      });
      endpoint.kernel.events.drain(() => {}, 1_000_000);
      const opened = endpoint.key();
      const denied = endpoint.key({ destinationPort: 22 });
      endpoint.run(opened);
      endpoint.run(denied);
      const seen: KernelEvent[] = [];
      assert.equal(
        endpoint.kernel.events.drain((event) => seen.push(event), 1),
        1,
      );
      assert.equal(
        endpoint.kernel.events.drain((event) => seen.push(event), 10),
        1,
      );
      assert.deepEqual(
        seen.map(({ kind, reason, slot, key: at, egressRule, sourceIdentity, revision }) => ({
          kind,
          reason,
          slot,
          at,
          egressRule,
          sourceIdentity,
          revision,
        })),
        [
          {
            kind: 'new',
            reason: 'connections_opened',
            slot: endpoint.me.slot,
            at: opened,
            egressRule: allow.rule,
            sourceIdentity: endpoint.me.identity,
            revision: 4,
          },
          {
            kind: 'deny',
            reason: 'denied',
            slot: endpoint.me.slot,
            at: denied,
            egressRule: 21,
            sourceIdentity: endpoint.me.identity,
            revision: 4,
          },
        ],
      );
      assert.equal(endpoint.kernel.events.lost(), 0n);
      endpoint.kernel.maps.releasePortTable(root);
      endpoint.clear();
    });

    test('a connection is listed with who and why, in its own direction', () => {
      const root = endpoint.egress(0, always(allow));
      const at = endpoint.key();
      assert.equal(endpoint.run(at), action.ok);
      const [connection, ...others] = endpoint.connections();
      assert.deepEqual(others, []);
      assert.ok(connection);
      const { firstSeenNs, lastSeenNs, bytes, ...rest } = connection;
      assert.deepEqual(rest, {
        ...at,
        sourceSlot: endpoint.me.slot,
        destinationSlot: 0,
        sourceIdentity: endpoint.me.identity,
        destinationIdentity: 2,
        egressRule: allow.rule,
        ingressRule: 0,
        state: 'syn-sent',
        decided: false,
        reported: false,
        revision: 4,
        packets: [1n, 0n],
      });
      assert.ok(firstSeenNs > 0n && lastSeenNs >= firstSeenNs && bytes[0] > 0n);
      endpoint.kernel.maps.removeConnections([at]);
      assert.deepEqual(endpoint.connections(), []);
      endpoint.kernel.maps.removeConnections([at]);
      endpoint.kernel.maps.releasePortTable(root);
      endpoint.clear();
    });

    test('a port table answers as the reference does', () => {
      const verdicts = fc.constantFrom<KernelVerdict>(allow, deny, { action: 'deny', rule: 12 });
      fc.assert(
        fc.property(
          portTable(verdicts, 80),
          fc.array(fc.tuple(fc.constantFrom(6, 17), fc.integer({ min: 0, max: 2040 })), { maxLength: 6 }),
          (table, keys) => {
            const root = endpoint.egress(0, table);
            const edges = table.ranges
              .slice(0, 3)
              .flatMap((range) => [[range.protocol, range.from] as const, [range.protocol, range.to] as const]);
            for (const [protocol, port] of [...keys, ...edges]) {
              const expected = verdictAt(table, protocol, port).action === 'allow' ? action.ok : action.shot;
              assert.equal(
                endpoint.run(endpoint.key({ protocol, destinationPort: port })),
                expected,
                `${protocol}/${port}`,
              );
            }
            endpoint.kernel.maps.releasePortTable(root);
            endpoint.clear();
          },
        ),
        { numRuns: options.runs },
      );
    });

    test('the longest network gives an address its peer', () => {
      const cidr = fc
        .tuple(ipv4, fc.integer({ min: 0, max: 32 }))
        .map(([text, bits]) => networkOf(text, writeAddress, bits));
      fc.assert(
        fc.property(
          fc.uniqueArray(fc.tuple(cidr, fc.boolean()), { maxLength: 8, selector: ([text]) => text }),
          fc.array(ipv4, { maxLength: 5 }),
          (networks, addresses) => {
            const first = 2 ** 24;
            endpoint.kernel.maps.setCidrs(networks.map(([text], index) => ({ cidr: text, peer: first + index })));
            const roots = networks.map(([, allowed], index) =>
              endpoint.egress(first + index, always(allowed ? allow : deny)),
            );
            for (const destination of addresses) {
              const longest = networks
                .filter(([text]) => networkOf(destination, writeAddress, Number(text.split('/')[1])) === text)
                .sort(([a], [b]) => parseCidr(b).prefixBits - parseCidr(a).prefixBits)[0];
              assert.equal(
                endpoint.run(endpoint.key({ destination })),
                longest?.[1] === true ? action.ok : action.shot,
                destination,
              );
            }
            for (const root of roots) endpoint.kernel.maps.releasePortTable(root);
            endpoint.clear();
          },
        ),
        { numRuns: options.runs },
      );
    });

    test('an IPv6 network says nothing about IPv4 addresses', () => {
      const world = endpoint.egress(2, always(deny));
      const everything = endpoint.egress(2 ** 24, always(allow));
      endpoint.kernel.maps.setCidrs([{ cidr: '::/0', peer: 2 ** 24 }]);
      assert.equal(endpoint.run(endpoint.key()), action.shot);
      assert.equal(endpoint.run(endpoint.key({ source: endpoint.me.ipv6!, destination: '2001:db8::1' })), action.ok);
      endpoint.kernel.maps.setCidrs([{ cidr: '0.0.0.0/0', peer: 2 ** 24 }]);
      assert.equal(endpoint.run(endpoint.key()), action.ok);
      endpoint.kernel.maps.removeCidrs(['0.0.0.0/0']);
      assert.equal(endpoint.run(endpoint.key()), action.shot);
      assert.deepEqual(endpoint.kernel.maps.cidrs(), [{ cidr: '::/0', peer: 2 ** 24 }]);
      for (const root of [world, everything]) endpoint.kernel.maps.releasePortTable(root);
      endpoint.clear();
    });

    test('a row of a peer takes the place of the row for all others', () => {
      endpoint.kernel.maps.setCidrs([{ cidr: '192.0.2.0/24', peer: 2 ** 24 }]);
      const roots = [endpoint.egress(0, always(allow)), endpoint.egress(2 ** 24, always(deny))];
      assert.equal(endpoint.run(endpoint.key()), action.ok);
      assert.equal(endpoint.run(endpoint.key({ destination: '192.0.2.9' })), action.shot);
      for (const root of roots) endpoint.kernel.maps.releasePortTable(root);
      endpoint.clear();
    });

    test('one step changes the ruleset, and open connections are judged again', () => {
      const roots = [endpoint.egress(0, always(allow), 1), endpoint.egress(0, always(deny), 2)];
      const at = endpoint.key();
      assert.equal(endpoint.run(at), action.ok);
      assert.equal(endpoint.run(at, { tcpFlags: 16, sequence: 2 }), action.ok);
      endpoint.kernel.maps.setEndpoint({ ...endpoint.me, ruleset: 2, epoch: endpoint.me.epoch + 1 });
      assert.equal(endpoint.run(at, { tcpFlags: 16, sequence: 2 }), action.shot);
      assert.equal(endpoint.run(endpoint.key()), action.shot);
      assert.deepEqual(endpoint.connections(), []);
      endpoint.kernel.maps.setEndpoint(endpoint.me);
      assert.equal(endpoint.run(endpoint.key()), action.ok);
      for (const root of roots) endpoint.kernel.maps.releasePortTable(root);
      endpoint.clear();
    });

    test('a fenced endpoint sends nothing, and speaks for nobody else', () => {
      const root = endpoint.egress(0, always(allow));
      const { slot } = endpoint.me;
      endpoint.kernel.maps.setEndpoint({ ...endpoint.me, state: 'fenced' });
      assert.equal(endpoint.run(endpoint.key()), action.shot);
      endpoint.kernel.maps.setEndpoint(endpoint.me);
      const spoofed = endpoint.kernel.maps.endpointCounters(slot).get('spoofed')!;
      assert.equal(endpoint.run(endpoint.key({ source: '10.9.0.99' })), action.shot);
      assert.equal(endpoint.run(endpoint.key(), { sourceMac: '02:00:00:00:00:77' }), action.shot);
      assert.equal(endpoint.kernel.maps.endpointCounters(slot).get('spoofed'), spoofed + 2n);
      endpoint.kernel.maps.releasePortTable(root);
      endpoint.clear();
    });

    test('a budget bounds what an endpoint may open, and what is removed is given back', () => {
      const root = endpoint.egress(0, always(allow));
      endpoint.kernel.maps.setEndpoint({ ...endpoint.me, connectionsMax: 2 });
      const first = endpoint.key();
      assert.deepEqual(
        [endpoint.run(first), endpoint.run(endpoint.key()), endpoint.run(endpoint.key())],
        [action.ok, action.ok, action.shot],
      );
      assert.equal(endpoint.kernel.maps.endpointCounters(endpoint.me.slot).get('budget'), 1n);
      endpoint.kernel.maps.removeConnections([first]);
      assert.deepEqual([endpoint.run(endpoint.key()), endpoint.run(endpoint.key())], [action.ok, action.shot]);
      endpoint.forgetAll();
      endpoint.kernel.maps.setEndpoint(endpoint.me);
      endpoint.kernel.maps.releasePortTable(root);
      endpoint.clear();
    });

    test('connections of an endpoint that is gone are swept, each told once', () => {
      const root = endpoint.egress(0, always(allow));
      const keys = [endpoint.key(), endpoint.key(), endpoint.key()];
      for (const at of keys) assert.equal(endpoint.run(at), action.ok);
      const told: number[] = [];
      assert.equal(
        endpoint.kernel.maps.sweepConnections(({ sourcePort }) => told.push(sourcePort)),
        0,
      );
      endpoint.kernel.maps.removeEndpoint(endpoint.me.slot);
      assert.equal(
        endpoint.kernel.maps.sweepConnections(({ sourcePort }) => told.push(sourcePort)),
        3,
      );
      assert.deepEqual(told.sort(), keys.map((at) => at.sourcePort).sort());
      assert.equal(
        endpoint.kernel.maps.sweepConnections(({ sourcePort }) => told.push(sourcePort)),
        0,
      );
      endpoint.kernel.maps.setEndpoint({ ...endpoint.me, connectionsMax: 1 });
      assert.equal(endpoint.run(endpoint.key()), action.ok);
      endpoint.kernel.maps.setEndpoint(endpoint.me);
      endpoint.kernel.maps.releasePortTable(root);
      endpoint.clear();
    });
  });
}
