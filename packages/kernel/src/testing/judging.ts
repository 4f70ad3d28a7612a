/** What packets get: the tables as the programs read them, through runs of single frames. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import { parseCidr, writeAddress } from '../address.ts';
import { verdictAt } from '../port-tree.ts';
import type {
  Connection,
  ConnectionKey,
  EndpointEntry,
  Kernel,
  KernelEvent,
  KernelPortTable,
  KernelVerdict,
  PortRoot,
} from '../port.ts';
import { frameOf, packetOf, sctpChunk, type Packet } from '../simulated/frame.ts';
import type { ContractOptions, KernelFactory, KernelUnderTest } from './contract.ts';
import { allow, always, deny, ipv4, networkOf, portTable, sampleEndpoint } from './samples.ts';

/** Results of a program: to the host's stack, dropped, sent elsewhere. */
const action = { ok: 0, shot: 2, redirect: 7 } as const;
const protocolTcp = 6;
const worldAddress = '198.51.100.7';
const veth = { name: 'bhBj0', peer: 'bhBj1', mac: '02:00:00:00:09:01', peerMac: '02:00:00:00:09:02', mtu: 1500 };

export function describeJudging(factory: KernelFactory, options: ContractOptions): void {
  describe('judging', () => {
    let under: KernelUnderTest;
    let kernel: Kernel;
    let me: EndpointEntry;
    let nextPort = 1024;

    before(async () => {
      under = await factory();
      kernel = under.kernel;
      kernel.programs.load();
      const made = await kernel.routes.createVeth(veth);
      await kernel.routes.setUp(veth.name, true);
      me = { ...sampleEndpoint, ifindex: made.ifindex };
      kernel.maps.setConfig({
        revision: 4,
        puntIfindex: 0,
        overlayIfindex: 0,
        puntRate: 0,
        puntBurst: 0,
        gatewayIpv4: null,
        gatewayIpv6: null,
      });
      kernel.maps.heartbeat();
      kernel.maps.setEndpoint(me);
      kernel.maps.setAddress(me.ipv4!, { kind: 'endpoint', slot: me.slot });
      kernel.maps.setAddress(me.ipv6!, { kind: 'endpoint', slot: me.slot });
    });
    after(async () => {
      kernel.programs.unload();
      await kernel.routes.deleteInterface(veth.name);
      await under.dispose();
    });

    /** A connection of its own each time, so that no entry answers in the tables' place. */
    const key = (rest: Partial<ConnectionKey> = {}): ConnectionKey => ({
      protocol: protocolTcp,
      source: me.ipv4!,
      sourcePort: (nextPort = nextPort === 65_535 ? 1024 : nextPort + 1),
      destination: worldAddress,
      destinationPort: 443,
      ...rest,
    });
    const run = (at: ConnectionKey, rest: Partial<Packet> = {}): number => {
      const frame = frameOf(packetOf(at, { sourceMac: me.mac, destinationMac: me.gatewayMac, ...rest }));
      return kernel.programs.testRun('from_workload', frame, { ifindex: me.ifindex }).result;
    };
    const connections = (): Connection[] => {
      const found: Connection[] = [];
      kernel.maps.forEachConnection((connection) => found.push({ ...connection }));
      return found;
    };
    const forgetAll = (): void => kernel.maps.removeConnections(connections());
    const egress = (peer: number, table: KernelPortTable, ruleset = me.ruleset): PortRoot => {
      const root = kernel.maps.addPortTable(table);
      kernel.maps.setRows([{ ruleset, direction: 'egress', peer, root }]);
      return root;
    };
    const clear = (): void => {
      kernel.maps.removeRows(kernel.maps.rows());
      kernel.maps.removeCidrs(kernel.maps.cidrs().map((entry) => entry.cidr));
      forgetAll();
    };

    test('no row is denied, and says so', () => {
      const before = kernel.maps.counters().get('no_row')!;
      assert.equal(run(key()), action.shot);
      assert.equal(kernel.maps.counters().get('no_row'), before + 1n);
      assert.equal(kernel.maps.endpointCounters(me.slot).get('no_row'), 1n);
      assert.deepEqual(connections(), []);
    });

    // Before anything else is denied: refusals are told up to a bound per second.
    test('events say what happened to whom, in order, as many as asked for', () => {
      const root = egress(0, {
        otherwise: { action: 'deny', rule: 21 },
        ranges: [{ protocol: protocolTcp, from: 443, to: 443, verdict: allow }],
      });
      kernel.events.drain(() => {}, 1_000_000);
      const opened = key();
      const denied = key({ destinationPort: 22 });
      run(opened);
      run(denied);
      const seen: KernelEvent[] = [];
      assert.equal(
        kernel.events.drain((event) => seen.push(event), 1),
        1,
      );
      assert.equal(
        kernel.events.drain((event) => seen.push(event), 10),
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
            slot: me.slot,
            at: opened,
            egressRule: allow.rule,
            sourceIdentity: me.identity,
            revision: 4,
          },
          {
            kind: 'deny',
            reason: 'denied',
            slot: me.slot,
            at: denied,
            egressRule: 21,
            sourceIdentity: me.identity,
            revision: 4,
          },
        ],
      );
      assert.equal(kernel.events.lost(), 0n);
      kernel.maps.releasePortTable(root);
      clear();
    });

    test('a connection is listed with who and why, in its own direction', () => {
      const root = egress(0, always(allow));
      const at = key();
      assert.equal(run(at), action.ok);
      const [connection, ...others] = connections();
      assert.deepEqual(others, []);
      assert.ok(connection);
      const { firstSeenNs, lastSeenNs, bytes, ...rest } = connection;
      assert.deepEqual(rest, {
        ...at,
        sourceSlot: me.slot,
        destinationSlot: 0,
        sourceIdentity: me.identity,
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
      kernel.maps.removeConnections([at]);
      assert.deepEqual(connections(), []);
      kernel.maps.removeConnections([at]);
      kernel.maps.releasePortTable(root);
      clear();
    });

    test('a port table answers as the reference does', () => {
      const verdicts = fc.constantFrom<KernelVerdict>(allow, deny, { action: 'deny', rule: 12 });
      fc.assert(
        fc.property(
          portTable(verdicts, 80),
          fc.array(fc.tuple(fc.constantFrom(6, 17), fc.integer({ min: 0, max: 2040 })), { maxLength: 6 }),
          (table, keys) => {
            const root = egress(0, table);
            const edges = table.ranges
              .slice(0, 3)
              .flatMap((range) => [[range.protocol, range.from] as const, [range.protocol, range.to] as const]);
            for (const [protocol, port] of [...keys, ...edges]) {
              const expected = verdictAt(table, protocol, port).action === 'allow' ? action.ok : action.shot;
              assert.equal(run(key({ protocol, destinationPort: port })), expected, `${protocol}/${port}`);
            }
            kernel.maps.releasePortTable(root);
            clear();
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
            kernel.maps.setCidrs(networks.map(([text], index) => ({ cidr: text, peer: first + index })));
            const roots = networks.map(([, allowed], index) => egress(first + index, always(allowed ? allow : deny)));
            for (const destination of addresses) {
              const longest = networks
                .filter(([text]) => networkOf(destination, writeAddress, Number(text.split('/')[1])) === text)
                .sort(([a], [b]) => parseCidr(b).prefixBits - parseCidr(a).prefixBits)[0];
              assert.equal(run(key({ destination })), longest?.[1] === true ? action.ok : action.shot, destination);
            }
            for (const root of roots) kernel.maps.releasePortTable(root);
            clear();
          },
        ),
        { numRuns: options.runs },
      );
    });

    test('an IPv6 network says nothing about IPv4 addresses', () => {
      const world = egress(2, always(deny));
      const everything = egress(2 ** 24, always(allow));
      kernel.maps.setCidrs([{ cidr: '::/0', peer: 2 ** 24 }]);
      assert.equal(run(key()), action.shot);
      assert.equal(run(key({ source: me.ipv6!, destination: '2001:db8::1' })), action.ok);
      kernel.maps.setCidrs([{ cidr: '0.0.0.0/0', peer: 2 ** 24 }]);
      assert.equal(run(key()), action.ok);
      kernel.maps.removeCidrs(['0.0.0.0/0']);
      assert.equal(run(key()), action.shot);
      assert.deepEqual(kernel.maps.cidrs(), [{ cidr: '::/0', peer: 2 ** 24 }]);
      for (const root of [world, everything]) kernel.maps.releasePortTable(root);
      clear();
    });

    test('a row of a peer takes the place of the row for all others', () => {
      kernel.maps.setCidrs([{ cidr: '192.0.2.0/24', peer: 2 ** 24 }]);
      const roots = [egress(0, always(allow)), egress(2 ** 24, always(deny))];
      assert.equal(run(key()), action.ok);
      assert.equal(run(key({ destination: '192.0.2.9' })), action.shot);
      for (const root of roots) kernel.maps.releasePortTable(root);
      clear();
    });

    test('one step changes the ruleset, and open connections are judged again', () => {
      const roots = [egress(0, always(allow), 1), egress(0, always(deny), 2)];
      const at = key();
      assert.equal(run(at), action.ok);
      assert.equal(run(at, { tcpFlags: 16, sequence: 2 }), action.ok);
      kernel.maps.setEndpoint({ ...me, ruleset: 2, epoch: me.epoch + 1 });
      assert.equal(run(at, { tcpFlags: 16, sequence: 2 }), action.shot);
      assert.equal(run(key()), action.shot);
      assert.deepEqual(connections(), []);
      kernel.maps.setEndpoint(me);
      assert.equal(run(key()), action.ok);
      for (const root of roots) kernel.maps.releasePortTable(root);
      clear();
    });

    test('an address outside is who its workload learnt it to be, and only to a workload that learns', () => {
      const learntPeer = 2 ** 24 + 9;
      const entry = { slot: me.slot, address: worldAddress, peer: learntPeer, lapsed: false };
      const roots = [egress(0, always(deny)), egress(learntPeer, always(allow))];
      kernel.maps.setLearnt([entry]);
      assert.equal(run(key()), action.shot);
      kernel.maps.setEndpoint({ ...me, learns: true });
      assert.equal(run(key({ destination: '198.51.100.8' })), action.shot);
      const at = key();
      assert.equal(run(at), action.ok);
      assert.equal(connections()[0]?.destinationIdentity, learntPeer);
      // Its time is over: what lives goes on, also when it is judged again, and nothing new is admitted.
      kernel.maps.setLearnt([{ ...entry, lapsed: true }]);
      assert.equal(run(key()), action.shot);
      kernel.maps.setEndpoint({ ...me, learns: true, epoch: me.epoch + 1 });
      assert.equal(run(at, { tcpFlags: 16, sequence: 2 }), action.ok);
      kernel.maps.removeLearnt([entry]);
      kernel.maps.setEndpoint({ ...me, learns: true, epoch: me.epoch + 2 });
      assert.equal(run(at, { tcpFlags: 16, sequence: 2 }), action.shot);
      // An address that somebody of ours has is that, whatever was learnt.
      kernel.maps.setAddress('198.51.100.20', { kind: 'host' });
      kernel.maps.setLearnt([{ ...entry, address: '198.51.100.20' }]);
      assert.equal(run(key({ destination: '198.51.100.20' })), action.shot);
      kernel.maps.removeAddress('198.51.100.20');
      kernel.maps.removeLearnt(kernel.maps.learnt());
      kernel.maps.setEndpoint(me);
      for (const root of roots) kernel.maps.releasePortTable(root);
      clear();
    });

    const verdict = (name: KernelVerdict['action'], rule: number, live?: KernelVerdict['live']): KernelPortTable =>
      always(live === undefined ? { action: name, rule } : { action: name, rule, live });
    const again = { tcpFlags: 16, sequence: 2, acknowledgement: 9 };
    /** A connection opened by rule 7, and the rules that follow, each of which judges it again. */
    const followed = (tables: readonly KernelPortTable[]): readonly (readonly [number, string, number])[] => {
      const roots = [egress(0, always(allow), 1)];
      const at = key();
      kernel.maps.setEndpoint({ ...me, ruleset: 1 });
      assert.equal(run(at), action.ok);
      const results = tables.map((table, index) => {
        const ruleset = index + 2;
        roots.push(egress(0, table, ruleset));
        kernel.maps.setEndpoint({ ...me, ruleset, epoch: me.epoch + index + 1 });
        const result = run(at, again);
        const [found] = connections();
        return [result, found?.state ?? 'gone', found?.egressRule ?? 0] as const;
      });
      kernel.maps.setEndpoint(me);
      for (const root of roots) kernel.maps.releasePortTable(root);
      clear();
      return results;
    };

    test('a rule that keeps lets what lives go on, again and again, and admits nothing', () => {
      const keeps = verdict('deny', 30, 'keep');
      assert.deepEqual(followed([keeps, keeps, verdict('reject', 31, 'keep'), always(allow), verdict('deny', 32)]), [
        [action.ok, 'syn-sent', 30],
        [action.ok, 'syn-sent', 30],
        [action.ok, 'syn-sent', 31],
        [action.ok, 'syn-sent', 7],
        [action.shot, 'gone', 0],
      ]);
      const root = egress(0, keeps);
      assert.equal(run(key()), action.shot);
      kernel.maps.releasePortTable(root);
      clear();
      // The rule that admitted it is no news when it denies: it is judged.
      assert.deepEqual(followed([verdict('deny', 7, 'keep')]), [[action.shot, 'gone', 0]]);
    });

    test('a rule that resets ends what lives, whatever it says of what is new', () => {
      const reset = kernel.maps.counters().get('connections_reset')!;
      const resets = verdict('allow', 40, 'reset');
      assert.deepEqual(followed([verdict('allow', 7, 'reset'), resets, always(allow)]), [
        [action.ok, 'syn-sent', 7],
        // Answered to its sender, and again for as long as somebody speaks of it.
        [action.redirect, 'reset', 7],
        [action.redirect, 'reset', 7],
      ]);
      assert.equal(kernel.maps.counters().get('connections_reset'), reset + 1n);
      const roots = [egress(0, always(allow), 1), egress(0, resets, 2)];
      const at = key();
      assert.equal(run(at), action.ok);
      kernel.maps.setEndpoint({ ...me, ruleset: 2, epoch: me.epoch + 1 });
      assert.equal(run(at, again), action.redirect);
      assert.equal(run(at, { sequence: 77 }), action.ok, 'a new attempt on the same ports');
      const datagram = key({ protocol: 17 });
      kernel.maps.setEndpoint({ ...me, ruleset: 1, epoch: me.epoch + 2 });
      assert.equal(run(datagram), action.ok);
      kernel.maps.setEndpoint({ ...me, ruleset: 2, epoch: me.epoch + 3 });
      assert.deepEqual([run(datagram), run(datagram)], [action.redirect, action.ok]);
      kernel.maps.setEndpoint(me);
      for (const root of roots) kernel.maps.releasePortTable(root);
      clear();
    });

    test('rows between two others leave what lives as it was', () => {
      const between = verdict('deny', 50, 'stay');
      assert.deepEqual(followed([between, verdict('deny', 51, 'keep'), between, verdict('allow', 52, 'reset')]), [
        [action.ok, 'syn-sent', 7],
        [action.ok, 'syn-sent', 51],
        [action.ok, 'syn-sent', 51],
        [action.redirect, 'reset', 51],
      ]);
    });

    test('an association of SCTP begins, is there, and ends by its chunks', () => {
      const root = egress(0, {
        ranges: [{ protocol: 132, from: 443, to: 443, verdict: allow }],
        otherwise: { action: 'reject', rule: 8 },
      });
      const at = key({ protocol: 132 });
      const state = (): string => connections()[0]?.state ?? 'gone';
      const send = (chunk: number, rest: Partial<Packet> = {}): readonly [number, string] => [
        run(at, { chunk, ...rest }),
        state(),
      ];
      assert.deepEqual(send(sctpChunk.init), [action.ok, 'syn-sent']);
      assert.deepEqual(send(sctpChunk.cookieEcho), [action.ok, 'syn-sent']);
      assert.deepEqual(send(sctpChunk.shutdown), [action.ok, 'closing']);
      assert.deepEqual(send(sctpChunk.shutdownComplete), [action.ok, 'closed']);
      assert.deepEqual(send(sctpChunk.init, { sequence: 5 }), [action.ok, 'syn-sent']);
      assert.deepEqual(send(sctpChunk.abort), [action.ok, 'closed']);
      assert.equal(run(key({ protocol: 132, destinationPort: 80 })), action.redirect, 'an ABORT for its sender');
      assert.equal(run(key({ protocol: 132, destinationPort: 80 }), { chunk: sctpChunk.abort }), action.shot);
      kernel.maps.releasePortTable(root);
      clear();
    });

    test('a fenced endpoint sends nothing, and speaks for nobody else', () => {
      const root = egress(0, always(allow));
      const { slot } = me;
      kernel.maps.setEndpoint({ ...me, state: 'fenced' });
      assert.equal(run(key()), action.shot);
      kernel.maps.setEndpoint(me);
      const spoofed = kernel.maps.endpointCounters(slot).get('spoofed')!;
      assert.equal(run(key({ source: '10.9.0.99' })), action.shot);
      assert.equal(run(key(), { sourceMac: '02:00:00:00:00:77' }), action.shot);
      assert.equal(kernel.maps.endpointCounters(slot).get('spoofed'), spoofed + 2n);
      kernel.maps.releasePortTable(root);
      clear();
    });

    test('a budget bounds what an endpoint may open, and what is removed is given back', () => {
      const root = egress(0, always(allow));
      kernel.maps.setEndpoint({ ...me, connectionsMax: 2 });
      const first = key();
      assert.deepEqual([run(first), run(key()), run(key())], [action.ok, action.ok, action.shot]);
      assert.equal(kernel.maps.endpointCounters(me.slot).get('budget'), 1n);
      kernel.maps.removeConnections([first]);
      assert.deepEqual([run(key()), run(key())], [action.ok, action.shot]);
      forgetAll();
      kernel.maps.setEndpoint(me);
      kernel.maps.releasePortTable(root);
      clear();
    });

    test('connections of an endpoint that is gone are swept, each told once', () => {
      const root = egress(0, always(allow));
      const keys = [key(), key(), key()];
      for (const at of keys) assert.equal(run(at), action.ok);
      const told: number[] = [];
      assert.equal(
        kernel.maps.sweepConnections(({ sourcePort }) => told.push(sourcePort)),
        0,
      );
      kernel.maps.removeEndpoint(me.slot);
      assert.equal(
        kernel.maps.sweepConnections(({ sourcePort }) => told.push(sourcePort)),
        3,
      );
      assert.deepEqual(told.sort(), keys.map((at) => at.sourcePort).sort());
      assert.equal(
        kernel.maps.sweepConnections(({ sourcePort }) => told.push(sourcePort)),
        0,
      );
      kernel.maps.setEndpoint({ ...me, connectionsMax: 1 });
      assert.equal(run(key()), action.ok);
      kernel.maps.setEndpoint(me);
      kernel.maps.releasePortTable(root);
      clear();
    });
  });
}
