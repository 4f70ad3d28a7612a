import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KernelError, type Punt, type PuntDevice } from '@bulkhead/kernel';
import { VirtualClock } from '../testing/virtual-clock.ts';
import { Answers } from './answers.ts';
import { HeldPackets } from './held-packets.ts';
import { questionLimits } from './limits.ts';
import { UnknownWorkloads } from './unknown-workloads.ts';

const broken = (): never => {
  throw new KernelError('answer a held packet', 'ENOLINK');
};
const device: PuntDevice = {
  ...{ ifindex: 1, onPunt: () => undefined, admit: broken, judge: broken, refuse: broken, lost: () => 0n },
  [Symbol.asyncDispose]: () => Promise.resolve(),
};
const punt: Punt = {
  ...{ id: 1, reason: 'held', sourceSlot: 1, destinationSlot: 2, sourceIdentity: 3, destinationIdentity: 3 },
  ...{ egressRule: 0, ingressRule: 0, atNs: 0n },
  key: { protocol: 6, source: '10.0.0.1', sourcePort: 1, destination: '10.0.0.2', destinationPort: 2 },
};

test('a punt device that fails ends no timer, no pass and no hold: what it held is lost, and counted out', async () => {
  const clock = new VirtualClock();
  const held = new HeldPackets(device);
  const unknown = new UnknownWorkloads(device, clock, held);
  for (let each = 0; each < questionLimits.packetsPerEndpointMax + 1; each++) unknown.take(punt, new Uint8Array(60));
  assert.equal(held.overflowed, 1);
  unknown.judgeAgain(() => false);
  assert.deepEqual([unknown.size, held.packets, held.bytes], [0, 0, 0]);
  unknown.take(punt, new Uint8Array(60));
  await clock.advance(questionLimits.unknownMs + 1);
  assert.deepEqual([unknown.size, held.packets, unknown.expired], [0, 0, 1]);
});

test('a remembered answer is not older than it says: a clock that is set back makes it none', () => {
  const answers = new Answers();
  answers.remember('key', { verdict: 'allow', fromMs: 1_000_000, untilMs: 1_060_000, question: 'q' });
  assert.notEqual(answers.find(['key'], 1_030_000), undefined);
  assert.equal(answers.find(['key'], 900_000), undefined);
});
