/** Tables of pods under documents of Kubernetes, alone and beside ours, made at once and change by change. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decideSide } from '../decide/decide.ts';
import { type Document, documentKey, documentName } from '../documents/document.ts';
import { type IdentityId, identityFirst, type Labels } from '../model.ts';
import { changePolicySet, createPolicySet, emptyPolicySet, type PolicySet } from '../resolve/policy-set.ts';
import { stagedPolicySet } from '../resolve/staged.ts';
import { type CompiledWorld, describeTables, generateProbes } from '../testing/compiled.ts';
import { generateDocuments, pick, type Random, seededRandom } from '../testing/generate.ts';
import { generateKubernetesDocument, generatePodLabels } from '../testing/generate-kubernetes.ts';
import { type Compiler, createCompiler } from './compiler.ts';

const options = { checkCondition: () => null };

function generateMixed(random: Random, ours: boolean): Document[] {
  const kubernetes = Array.from({ length: 1 + random(10) }, (_, index) => generateKubernetesDocument(random, index));
  const native = ours ? generateDocuments(random, { segments: random(4), policies: random(5) }) : [];
  return [...new Map([...native, ...kubernetes].map((document) => [documentKey(document), document])).values()];
}

function policySetOf(documents: readonly Document[]): PolicySet {
  const result = createPolicySet(documents, options);
  if (result.kind === 'refused') assert.fail(JSON.stringify(result.problems));
  return result.policySet;
}

function generatePods(random: Random, count: number): Map<IdentityId, Labels> {
  const pods = Array.from({ length: count }, () => generatePodLabels(random));
  return new Map(pods.map((labels, index) => [(identityFirst + index) as IdentityId, labels]));
}

function assertAsDecided(random: Random, compiler: Compiler, world: CompiledWorld, probes: number): void {
  for (const { direction, compiled, flow } of generateProbes(random, compiler, world, probes))
    assert.deepEqual(compiled, decideSide(world.policySet, direction, flow), JSON.stringify({ direction, flow }));
}

test('tables say what decide says', () => {
  fc.assert(
    fc.property(fc.integer(), fc.boolean(), (seed, ours) => {
      const random = seededRandom(seed);
      const set = policySetOf(generateMixed(random, ours));
      const policySet = random(2) === 0 ? set : (stagedPolicySet(set) ?? set);
      const identities = generatePods(random, 8);
      const subjects = new Set(identities.keys());
      const compiler = createCompiler();
      compiler.update({ policySet, identities: { set: identities }, subjects: { added: subjects } });
      assertAsDecided(random, compiler, { policySet, identities, subjects }, 250);
    }),
    { numRuns: 400 },
  );
});

test('what is made change by change is what is made at once', () => {
  fc.assert(
    fc.property(fc.integer(), fc.boolean(), (seed, ours) => {
      const random = seededRandom(seed);
      const compiler = createCompiler();
      let policySet = policySetOf([]);
      const identities = generatePods(random, 8);
      const subjects = new Set(identities.keys());
      compiler.update({ identities: { set: identities }, subjects: { added: subjects } });
      for (let round = 0; round < 8; round++) {
        policySet = changedSet(random, policySet, generateMixed(random, ours));
        const relabelled = pick(random, [...identities.keys()]);
        identities.set(relabelled, generatePodLabels(random));
        compiler.update({ policySet, identities: { set: [[relabelled, identities.get(relabelled)!]] } });
        const world = { policySet, identities, subjects };
        assertAsDecided(random, compiler, world, 60);
        const fresh = createCompiler();
        fresh.update({ policySet, identities: { set: identities }, subjects: { added: subjects } });
        assert.deepEqual(describeTables(compiler, world), describeTables(fresh, world));
      }
    }),
    { numRuns: 60 },
  );
});

/** Some documents come or take the place of others, and one that nothing needs goes. */
function changedSet(random: Random, before: PolicySet, documents: readonly Document[]): PolicySet {
  const known = Object.values(before.documents).flatMap((ofKind): readonly Document[] => [...ofKind.values()]);
  const removable = known.filter(({ kind }) => kind !== 'Segment' && kind !== 'Tier');
  const gone = removable.length === 0 ? [] : [pick(random, removable)];
  const removed = gone.map((document) => ({ kind: document.kind, name: documentName(document) }));
  const result = changePolicySet(before, { set: documents, removed }, options);
  if (result.kind === 'refused') assert.fail(JSON.stringify(result.problems));
  return result.policySet;
}

test('an empty set has no rules left of what went', () => {
  const random = seededRandom(1);
  const compiler = createCompiler();
  compiler.update({
    policySet: policySetOf(generateMixed(random, true)),
    identities: { set: generatePods(random, 4) },
  });
  compiler.update({ policySet: emptyPolicySet });
  assert.equal(compiler.sizes().rules, 0);
});
