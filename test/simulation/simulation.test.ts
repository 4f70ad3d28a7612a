/**
 * Seeded worlds of one manager and two hosts under a virtual clock. `BULKHEAD_SEED` runs one seed alone, `BULKHEAD_SEEDS` another number
 * of them.
 */
import type { EndpointEntry, Kernel, LearntEntry, LearntKey } from '@bulkhead/kernel';
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import type { Credentials } from '../../packages/agent/src/link/credentials.ts';
import { newRequest } from '../../packages/agent/src/link/certificate-request.ts';
import { defaultLifetimes, openAuthority } from '../../packages/manager/src/hosts/authority.ts';
import { runWorld, Violation } from './world.ts';

const steps = 60;
const single = process.env['BULKHEAD_SEED'];
const seeds =
  single === undefined
    ? Array.from({ length: Number(process.env['BULKHEAD_SEEDS'] ?? 500) }, (_, index) => index + 1)
    : [Number(single)];

/** One real certificate for all: who may connect is another test's subject. */
async function makeCredentials(): Promise<Credentials> {
  const directory = mkdtempSync(path.join(tmpdir(), 'bulkhead-simulation-'));
  try {
    const authority = await openAuthority(directory, Date.now, defaultLifetimes);
    const { keyPem, requestPem } = await newRequest('h1');
    const issued = await authority.issueHost('h1', requestPem);
    if (issued.kind !== 'issued') throw new Error('no certificate was issued');
    const certificatePem = issued.issued.pem;
    return {
      host: 'h1',
      keyPem,
      certificatePem,
      authorityPem: authority.certificatePem,
      linkHost: 'manager',
      linkPort: 1,
    };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

const credentials = await makeCredentials();
const asItIs = (kernel: Kernel): Kernel => kernel;

test(`nothing passes that policy in force denies, and quiet systems converge: ${seeds.length} seeds`, async (context) => {
  const total = { passed: 0, stopped: 0, revisions: 0 };
  for (const seed of seeds) {
    const report = await runWorld({ seed, steps, credentials, sabotage: asItIs }).catch((error: unknown) => {
      throw new Error(`seed ${seed} (repeat with BULKHEAD_SEED=${seed})`, { cause: error });
    });
    for (const key of ['passed', 'stopped', 'revisions'] as const) total[key] += report[key];
  }
  context.diagnostic(`${seeds.length} seeds: ${JSON.stringify(total)}`);
  assert.ok(total.passed > seeds.length && total.stopped > seeds.length, 'hardly anything happened');
});

/** Says that it has flipped an endpoint to its new policy, and has not. */
function neverFlips(kernel: Kernel): Kernel {
  const told = new Map<number, EndpointEntry>();
  const { maps } = kernel;
  const lying = new Proxy(maps, {
    get(target, property) {
      if (property === 'setEndpoint') {
        return (entry: EndpointEntry): void => {
          const now = target.endpoints().find(({ slot }) => slot === entry.slot);
          told.set(entry.slot, entry);
          const isFlip = now?.state === 'governed' && entry.state === 'governed' && now.ifindex === entry.ifindex;
          target.setEndpoint(
            isFlip ? { ...entry, ruleset: now.ruleset, epoch: now.epoch, identity: now.identity } : entry,
          );
        };
      }
      if (property === 'endpoints') return () => target.endpoints().map((entry) => told.get(entry.slot) ?? entry);
      if (property === 'endpoint') return (slot: number) => told.get(slot) ?? target.endpoint(slot);
      const value: unknown = Reflect.get(target, property, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
  return { ...kernel, maps: lying };
}

/** Says that it has written what endpoints learnt, and has not. */
function learnsNothing(kernel: Kernel): Kernel {
  const told = new Map<string, LearntEntry>();
  const keyOf = ({ slot, address }: LearntKey): string => `${slot} ${address}`;
  const { maps } = kernel;
  const lying: Partial<Kernel['maps']> = {
    setLearnt: (entries) => entries.forEach((entry) => told.set(keyOf(entry), entry)),
    removeLearnt: (keys) => keys.forEach((key) => told.delete(keyOf(key))),
    learnt: () => [...told.values()],
    learntPeer: (key) => told.get(keyOf(key)),
  };
  const proxy = new Proxy(maps, {
    get(target, property) {
      const value: unknown = Reflect.get(lying, property) ?? Reflect.get(target, property, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
  return { ...kernel, maps: proxy };
}

for (const sabotage of [neverFlips, learnsNothing])
  test(`a planted bug is found: ${sabotage.name}`, { skip: single !== undefined }, async () => {
    const most = 40;
    for (let seed = 1; seed <= most; seed++) {
      try {
        await runWorld({ seed, steps, credentials, sabotage });
      } catch (error) {
        assert.ok(error instanceof Violation, `seed ${seed}: ${String(error)}`);
        return;
      }
    }
    assert.fail(`the agent was not found out by ${most} seeds`);
  });
