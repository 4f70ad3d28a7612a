import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decideSide } from '../decide/decide.ts';
import type { Document } from '../documents/document.ts';
import type { IdentityId, Labels } from '../model.ts';
import { createPolicySet, type PolicySet } from '../resolve/policy-set.ts';
import {
  type CompiledWorld,
  describeTables,
  generateProbes,
  hostIdentity,
  unknownIdentity,
} from '../testing/compiled.ts';
import {
  generateAddress,
  generateDocuments,
  generateHostLabels,
  generateIdentities,
  generateNames,
  type Random,
  seededRandom,
} from '../testing/generate.ts';
import { type Compiler, createCompiler } from './compiler.ts';

const options = { checkCondition: () => null };
const everything = { live: true, staged: true, hosts: true } as const;

function policySetOf(documents: readonly Document[]): PolicySet {
  const result = createPolicySet(documents, options);
  if (result.kind === 'refused') assert.fail(JSON.stringify(result.problems));
  return result.policySet;
}

function assertAsDecided(random: Random, compiler: Compiler, world: CompiledWorld, probes: number): void {
  for (const { direction, compiled, flow } of generateProbes(random, compiler, world, probes)) {
    assert.deepEqual(compiled, decideSide(world.policySet, direction, flow));
  }
}

test('compiled tables say what decide says', () => {
  fc.assert(
    fc.property(fc.integer(), fc.nat(10), fc.nat(12), fc.nat(16), (seed, segments, policies, kubernetes) => {
      const random = seededRandom(seed);
      const policySet = policySetOf(generateDocuments(random, { segments, policies, kubernetes, ...everything }));
      const identities = generateIdentities(random, 8);
      const host = generateHostLabels(random);
      const subjects = new Set([...identities.keys()].slice(0, 5).concat(unknownIdentity, hostIdentity));
      const compiler = createCompiler();
      compiler.update({ policySet, host, identities: { set: identities }, subjects: { added: subjects } });
      const answers = Array.from({ length: 4 }, () => ({
        address: generateAddress(random),
        names: generateNames(random),
      }));
      const { learnt } = compiler.learn(answers);
      assertAsDecided(random, compiler, { policySet, identities, subjects, host, learnt }, 200);
    }),
    { numRuns: 500 },
  );
});

test('the order of documents, identities and subjects has no meaning', () => {
  fc.assert(
    fc.property(fc.integer(), fc.infiniteStream(fc.nat()), (seed, stream) => {
      const random = seededRandom(seed);
      const documents = generateDocuments(random, { segments: 5, policies: 8, kubernetes: 8, ...everything });
      const identities = generateIdentities(random, 6);
      const subjects = new Set([...identities.keys()].slice(0, 3));
      const shuffled = <T>(items: Iterable<T>): T[] =>
        [...items]
          .map((item) => [stream.next().value ?? 0, item] as const)
          .sort(([a], [b]) => a - b)
          .map(([, item]) => item);
      const [one, other] = [createCompiler(), createCompiler()];
      const policySet = policySetOf(documents);
      one.update({ policySet, identities: { set: identities }, subjects: { added: subjects } });
      other.update({
        policySet: policySetOf(shuffled(documents)),
        identities: { set: shuffled(identities) },
        subjects: { added: shuffled(subjects) },
      });
      assert.deepEqual(
        describeTables(one, { policySet, identities, subjects }),
        describeTables(other, { policySet, identities, subjects }),
      );
    }),
    { numRuns: 150 },
  );
});

const apiVersion = 'bulkhead.dev/v1';

test('what is the same for all workloads needs no row for each', () => {
  const everyWorkload = { selector: {} };
  const policySet = policySetOf([
    { apiVersion, kind: 'Segment', metadata: { name: 'all' }, spec: everyWorkload },
    {
      apiVersion,
      kind: 'Policy',
      metadata: { name: 'p' },
      spec: { rules: [{ name: 'r', action: 'allow', to: everyWorkload }] },
    },
  ]);
  const identities = new Map(
    Array.from({ length: 500 }, (_, n) => [(256 + n) as IdentityId, { app: `a${n}` } as Labels]),
  );
  const compiler = createCompiler();
  compiler.update({ policySet, identities: { set: identities }, subjects: { added: [256 as IdentityId] } });
  const { egress, ingress } = compiler.subject(256 as IdentityId)!;
  assert.equal(egress.others.otherwise.action, 'allow');
  // The unknown, the host and the world are no workloads with labels.
  assert.deepEqual([...egress.rows.keys()].sort(), [1, 2, 3]);
  assert.deepEqual([...ingress.rows.keys()].sort(), [3]);
});

test('equal functions of ports are one object', () => {
  const ports = [{ protocol: 'tcp', port: 80 }] as const;
  const rule = (to: string) =>
    ({ name: `to-${to}`, action: 'deny', to: { selector: { matchLabels: { app: to } } }, ports }) as const;
  const segment = { selector: {}, posture: { egress: 'deny', ingress: 'deny' } } as const;
  const policySet = policySetOf([
    { apiVersion, kind: 'Segment', metadata: { name: 'all' }, spec: segment },
    {
      apiVersion,
      kind: 'Policy',
      metadata: { name: 'p' },
      spec: { rules: [rule('a'), { ...rule('b'), ports: [{ protocol: 'tcp', port: 80, endPort: 80 }] }] },
    },
  ]);
  const compiler = createCompiler();
  const [one, other] = [256, 257] as IdentityId[] as [IdentityId, IdentityId];
  compiler.update({
    policySet,
    identities: {
      set: [
        [one, { app: 'a', x: '1' }],
        [other, { app: 'a', x: '2' }],
      ],
    },
    subjects: { added: [one, other] },
  });
  const tables = [...compiler.subject(one)!.egress.rows].filter(([peer]) => peer >= 256).map(([, table]) => table);
  assert.equal(tables.length, 2);
  assert.equal(tables[0], tables[1]);
  assert.equal(compiler.subject(one)!.ingress.others, compiler.subject(other)!.ingress.others);
});
