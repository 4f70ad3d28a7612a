/** What the agent makes of flows under policies that are only staged, held to decide(). */
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
import { StagedJudge, type StagedEnd } from '../../packages/agent/src/observe/staged-judge.ts';

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
