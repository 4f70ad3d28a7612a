/** Verdicts about what lives: rules that keep or reset, rows between others, learnt peers that lapse, and associations of SCTP. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { KernelPortTable, KernelVerdict } from '../port.ts';
import { sctpChunk, type Packet } from '../simulated/frame.ts';
import type { KernelFactory } from './contract.ts';
import { action, JudgedEndpoint, worldAddress } from './judged-endpoint.ts';
import { allow, always, deny } from './samples.ts';

export function describeJudgingAgain(factory: KernelFactory): void {
  describe('judging again', () => {
    const endpoint = new JudgedEndpoint(factory);
    before(() => endpoint.start());
    after(() => endpoint.end());

    test('an address outside is who its workload learnt it to be, and only to a workload that learns', () => {
      const learntPeer = 2 ** 24 + 9;
      const entry = { slot: endpoint.me.slot, address: worldAddress, peer: learntPeer, lapsed: false };
      const roots = [endpoint.egress(0, always(deny)), endpoint.egress(learntPeer, always(allow))];
      endpoint.kernel.maps.setLearnt([entry]);
      assert.equal(endpoint.run(endpoint.key()), action.shot);
      endpoint.kernel.maps.setEndpoint({ ...endpoint.me, learns: true });
      assert.equal(endpoint.run(endpoint.key({ destination: '198.51.100.8' })), action.shot);
      const at = endpoint.key();
      assert.equal(endpoint.run(at), action.ok);
      assert.equal(endpoint.connections()[0]?.destinationIdentity, learntPeer);
      // Its time is over: what lives goes on, also when it is judged again, and nothing new is admitted.
      endpoint.kernel.maps.setLearnt([{ ...entry, lapsed: true }]);
      assert.equal(endpoint.run(endpoint.key()), action.shot);
      endpoint.kernel.maps.setEndpoint({ ...endpoint.me, learns: true, epoch: endpoint.me.epoch + 1 });
      assert.equal(endpoint.run(at, { tcpFlags: 16, sequence: 2 }), action.ok);
      endpoint.kernel.maps.removeLearnt([entry]);
      endpoint.kernel.maps.setEndpoint({ ...endpoint.me, learns: true, epoch: endpoint.me.epoch + 2 });
      assert.equal(endpoint.run(at, { tcpFlags: 16, sequence: 2 }), action.shot);
      const six = { source: endpoint.me.ipv6!, destination: '2001:db8::7' };
      assert.equal(endpoint.run(endpoint.key(six)), action.shot);
      endpoint.kernel.maps.setLearnt([{ ...entry, address: six.destination }]);
      assert.equal(endpoint.run(endpoint.key(six)), action.ok);
      // An address that somebody of ours has is that, whatever was learnt.
      endpoint.kernel.maps.setAddress('198.51.100.20', { kind: 'host' });
      endpoint.kernel.maps.setLearnt([{ ...entry, address: '198.51.100.20' }]);
      assert.equal(endpoint.run(endpoint.key({ destination: '198.51.100.20' })), action.shot);
      endpoint.kernel.maps.removeAddress('198.51.100.20');
      endpoint.kernel.maps.removeLearnt(endpoint.kernel.maps.learnt());
      endpoint.kernel.maps.setEndpoint(endpoint.me);
      for (const root of roots) endpoint.kernel.maps.releasePortTable(root);
      endpoint.clear();
    });

    const verdict = (name: KernelVerdict['action'], rule: number, live?: KernelVerdict['live']): KernelPortTable =>
      always(live === undefined ? { action: name, rule } : { action: name, rule, live });
    const again = { tcpFlags: 16, sequence: 2, acknowledgement: 9 };
    /** A connection opened by rule 7, and the rules that follow, each of which judges it again. */
    const followed = (tables: readonly KernelPortTable[]): readonly (readonly [number, string, number])[] => {
      const roots = [endpoint.egress(0, always(allow), 1)];
      const at = endpoint.key();
      endpoint.kernel.maps.setEndpoint({ ...endpoint.me, ruleset: 1 });
      assert.equal(endpoint.run(at), action.ok);
      const results = tables.map((table, index) => {
        const ruleset = index + 2;
        roots.push(endpoint.egress(0, table, ruleset));
        endpoint.kernel.maps.setEndpoint({ ...endpoint.me, ruleset, epoch: endpoint.me.epoch + index + 1 });
        const result = endpoint.run(at, again);
        const [found] = endpoint.connections();
        return [result, found?.state ?? 'gone', found?.egressRule ?? 0] as const;
      });
      endpoint.kernel.maps.setEndpoint(endpoint.me);
      for (const root of roots) endpoint.kernel.maps.releasePortTable(root);
      endpoint.clear();
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
      const root = endpoint.egress(0, keeps);
      assert.equal(endpoint.run(endpoint.key()), action.shot);
      endpoint.kernel.maps.releasePortTable(root);
      endpoint.clear();
      // The rule that admitted it is no news when it denies: it is judged.
      assert.deepEqual(followed([verdict('deny', 7, 'keep')]), [[action.shot, 'gone', 0]]);
    });

    test('a rule that resets ends what lives, whatever it says of what is new', () => {
      const reset = endpoint.kernel.maps.counters().get('connections_reset')!;
      const resets = verdict('allow', 40, 'reset');
      assert.deepEqual(followed([verdict('allow', 7, 'reset'), resets, always(allow)]), [
        [action.ok, 'syn-sent', 7],
        // Answered to its sender, and again for as long as somebody speaks of it.
        [action.redirect, 'reset', 7],
        [action.redirect, 'reset', 7],
      ]);
      assert.equal(endpoint.kernel.maps.counters().get('connections_reset'), reset + 1n);
      const roots = [endpoint.egress(0, always(allow), 1), endpoint.egress(0, resets, 2)];
      const at = endpoint.key();
      assert.equal(endpoint.run(at), action.ok);
      endpoint.kernel.maps.setEndpoint({ ...endpoint.me, ruleset: 2, epoch: endpoint.me.epoch + 1 });
      assert.equal(endpoint.run(at, again), action.redirect);
      assert.equal(endpoint.run(at, { sequence: 77 }), action.ok, 'a new attempt on the same ports');
      const datagram = endpoint.key({ protocol: 17 });
      endpoint.kernel.maps.setEndpoint({ ...endpoint.me, ruleset: 1, epoch: endpoint.me.epoch + 2 });
      assert.equal(endpoint.run(datagram), action.ok);
      endpoint.kernel.maps.setEndpoint({ ...endpoint.me, ruleset: 2, epoch: endpoint.me.epoch + 3 });
      assert.deepEqual([endpoint.run(datagram), endpoint.run(datagram)], [action.redirect, action.ok]);
      endpoint.kernel.maps.setEndpoint(endpoint.me);
      for (const root of roots) endpoint.kernel.maps.releasePortTable(root);
      endpoint.clear();
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
      const root = endpoint.egress(0, {
        ranges: [{ protocol: 132, from: 443, to: 443, verdict: allow }],
        otherwise: { action: 'reject', rule: 8 },
      });
      const at = endpoint.key({ protocol: 132 });
      const state = (): string => endpoint.connections()[0]?.state ?? 'gone';
      const send = (chunk: number, rest: Partial<Packet> = {}): readonly [number, string] => [
        endpoint.run(at, { chunk, ...rest }),
        state(),
      ];
      assert.deepEqual(send(sctpChunk.init), [action.ok, 'syn-sent']);
      assert.deepEqual(send(sctpChunk.cookieEcho), [action.ok, 'syn-sent']);
      assert.deepEqual(send(sctpChunk.shutdown), [action.ok, 'closing']);
      assert.deepEqual(send(sctpChunk.shutdownComplete), [action.ok, 'closed']);
      assert.deepEqual(send(sctpChunk.init, { sequence: 5 }), [action.ok, 'syn-sent']);
      assert.deepEqual(send(sctpChunk.abort), [action.ok, 'closed']);
      assert.equal(
        endpoint.run(endpoint.key({ protocol: 132, destinationPort: 80 })),
        action.redirect,
        'an ABORT for its sender',
      );
      assert.equal(
        endpoint.run(endpoint.key({ protocol: 132, destinationPort: 80 }), { chunk: sctpChunk.abort }),
        action.shot,
      );
      endpoint.kernel.maps.releasePortTable(root);
      endpoint.clear();
    });
  });
}
