import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  createPolicySet,
  decide,
  emptyPolicySet,
  type IdentityId,
  type Labels,
  type Party,
  type PolicySet,
  reasonText,
  reservedIdentity,
  stagedPolicySet,
} from '@bulkhead/policy';
import {
  generateAddress,
  generateDocuments,
  generateIdentities,
  generateNames,
  generateService,
  pick,
  seededRandom,
  type Random,
} from '@bulkhead/policy/testing';
import { AgentFixture } from '../testing/agent-fixture.ts';
import { policy, rule, segment } from '../testing/documents.ts';
import { StagedJudge, type StagedEnd } from './staged-judge.ts';

const noGuard = { egress: false, ingress: false };

interface Known {
  policySet: PolicySet;
  identities: Map<number, Labels>;
}

/** A random end, and the party that it is. */
function generateEnd(random: Random, { identities }: Known): readonly [StagedEnd, Party] {
  const address = generateAddress(random);
  const kind = random(10);
  if (kind === 0) return [{ identity: reservedIdentity.host, address, subject: false }, { kind: 'host' }];
  if (kind === 1) return [{ identity: reservedIdentity.unknown, address, subject: true }, { kind: 'unknown' }];
  if (kind < 5) {
    // The number of a network in other tables: here it says no more than that the address is outside.
    const identity = pick(random, [reservedIdentity.world, 2 ** 24, 2 ** 24 + random(5)]);
    return [
      { identity, address, subject: false },
      { kind: 'address', address },
    ];
  }
  const [identity, labels] = pick(random, [...identities]);
  return [
    { identity, address, subject: true },
    { kind: 'workload', labels },
  ];
}

function checkFlows(random: Random, known: Known, judge: StagedJudge): number {
  const set = stagedPolicySet(known.policySet);
  let named = 0;
  for (let made = 0; made < 300; made++) {
    const [source, from] = generateEnd(random, known);
    const [destination, to] = generateEnd(random, known);
    const names = from.kind === 'workload' && to.kind === 'address' && random(2) === 0 ? generateNames(random) : [];
    if (names.length > 0) named++;
    const service = generateService(random);
    const found = judge.judge({ source, destination, ...service, names, guarded: noGuard });
    if (set === null) {
      assert.equal(found, null);
      continue;
    }
    const { action, egress, ingress } = decide(set, {
      source: from,
      destination: to.kind === 'address' ? { ...to, names } : to,
      ...service,
    });
    assert.deepEqual(found, {
      verdict: action,
      egressReason: reasonText(egress.reason),
      ingressReason: reasonText(ingress.reason),
    });
  }
  return named;
}

test('what is staged is judged as decide() does, through revisions, and not at all where nothing is', () => {
  let named = 0;
  for (let seed = 1; seed <= 15; seed++) {
    const random = seededRandom(seed);
    const known: Known = { policySet: emptyPolicySet, identities: new Map() };
    const judge = new StagedJudge(known, {});
    for (let revision = 1; revision <= 4; revision++) {
      const before = [...known.identities.keys()];
      const staged = revision !== 3;
      const documents = generateDocuments(random, { segments: 6, policies: 8, kubernetes: 6, staged });
      const resolved = createPolicySet(documents, { checkCondition: () => null });
      assert.ok(resolved.kind === 'ok', `seed ${seed}`);
      known.policySet = resolved.policySet;
      known.identities = new Map(generateIdentities(random, 12) as ReadonlyMap<IdentityId, Labels>);
      const identitiesRemoved = before.filter((id) => !known.identities.has(id));
      judge.changed({ identitiesSet: [...known.identities.keys()], identitiesRemoved });
      assert.equal(judge.isActive, stagedPolicySet(known.policySet) !== null);
      named += checkFlows(random, known, judge);
    }
  }
  assert.ok(named > 100);
});

test('a staged policy is told with the flows that it would change, and changes none', async () => {
  await using fixture = await AgentFixture.start();
  const staged = (...rules: Parameters<typeof rule>[]): Record<string, unknown> => {
    const document = policy('strict', ...rules.map((each) => rule(...each)));
    return { ...document, spec: { ...(document['spec'] as object), mode: 'staged' } };
  };
  fixture.manager.apply(
    segment('web', { app: 'web' }),
    segment('database', { app: 'database' }),
    policy('app', rule('query', 'allow', 'web', 'database', 5432), rule('admin', 'allow', 'web', 'database', 22)),
    staged(['no-admin', 'deny', 'web', 'database', 22], ['metrics', 'allow', 'web', 'database', 9100]),
  );
  await fixture.attach('a', { app: 'web' }, '10.0.0.1');
  await fixture.attach('b', { app: 'database' }, '10.0.0.2');
  const outcomes: unknown[] = [];
  for (const port of [5432, 22, 9100, 80]) outcomes.push(await fixture.outcome('a', 'b', { port }));
  assert.deepEqual(outcomes, ['allowed', 'allowed', 'denied', 'denied'], 'only what is enforced counts');
  await fixture.clock.advance(5_000);
  const told = new Map(fixture.manager.flows.map(({ destination, staged: found }) => [destination.port, found]));
  assert.equal(told.get(5432), null);
  assert.equal(told.get(80), null);
  const reasonOf = (name: string): string => `application/strict/${name}`;
  assert.deepEqual(told.get(22), {
    verdict: 'deny',
    egressReason: reasonOf('no-admin'),
    ingressReason: reasonOf('no-admin'),
  });
  assert.deepEqual(told.get(9100), {
    verdict: 'allow',
    egressReason: reasonOf('metrics'),
    ingressReason: reasonOf('metrics'),
  });
  fixture.manager.apply({
    ...staged(['no-admin', 'deny', 'web', 'database', 22]),
    spec: { tier: 'application', rules: [rule('no-admin', 'deny', 'web', 'database', 22)] },
  });
  assert.equal(await fixture.outcome('a', 'b', { port: 22 }), 'denied', 'enforced now');
  await fixture.clock.advance(5_000);
  const { staged: last, verdict } = fixture.manager.flows.findLast(({ destination }) => destination.port === 22)!;
  assert.deepEqual([last, verdict], [null, 'deny']);
});
