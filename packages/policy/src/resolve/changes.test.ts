/** Policy sets that change: what was made step by step means what is made at once, staged policies included. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decide } from '../decide/decide.ts';
import {
  type Document,
  documentKey,
  documentName,
  policyReference,
  type RulesDocument,
} from '../documents/document.ts';
import { parseDocument } from '../documents/parse.ts';
import { type Flow, type IdentityId, identityFirst, type Labels, type Party } from '../model.ts';
import {
  generateDocuments,
  generateFlow,
  generatePolicy,
  generatedTiers,
  pick,
  type Random,
  seededRandom,
} from '../testing/generate.ts';
import { generateKubernetesDocument, generatePodLabels } from '../testing/generate-kubernetes.ts';
import { changePolicySet, createPolicySet, emptyPolicySet, type PolicySet } from './policy-set.ts';
import { changedNamespaces, changedPolicies, policyRules } from './rules-in-order.ts';
import { stagedPolicySet } from './staged.ts';

const options = { checkCondition: () => null };
const segments = ['s0', 's1', 's2'];

function changedDocuments(
  random: Random,
  known: ReadonlyMap<string, Document>,
): { set: Document[]; removed: Document[] } {
  const set: Document[] = [];
  for (let count = random(4); count > 0; count--) {
    const document =
      random(3) === 0
        ? generatePolicy(random, `p${random(4)}`, segments, generatedTiers)
        : generateKubernetesDocument(random, random(3));
    set.push(
      random(8) === 0 && document.kind === 'Policy'
        ? { ...document, spec: { ...document.spec, mode: 'staged' } }
        : document,
    );
  }
  const distinct = [...new Map(set.map((document) => [documentKey(document), document])).values()];
  const removable = [...known.values()].filter(({ kind }) => kind !== 'Segment' && kind !== 'Tier');
  const removed = removable.length === 0 || random(3) > 0 ? [] : [pick(random, removable)];
  return { set: distinct, removed };
}

function changed(before: PolicySet, set: readonly Document[], removed: readonly Document[] = []): PolicySet {
  const gone = removed.map((document) => ({ kind: document.kind, name: documentName(document) }));
  const result = changePolicySet(before, { set, removed: gone }, options);
  if (result.kind === 'refused') assert.fail(JSON.stringify(result.problems));
  return result.policySet;
}

function podWorld(random: Random): ReadonlyMap<IdentityId, Labels> {
  return new Map(
    Array.from({ length: 8 }, (_, index) => [(identityFirst + index) as IdentityId, generatePodLabels(random)]),
  );
}

/** With names that were learnt, and hosts with labels. */
function podFlow(random: Random, world: ReadonlyMap<IdentityId, Labels>): Flow {
  const flow = generateFlow(random, world);
  const dressed = (party: Party): Party => {
    if (party.kind === 'host') return { kind: 'host', labels: { zone: pick(random, ['a', 'b']) } };
    return party.kind === 'address'
      ? { ...party, names: [pick(random, ['api.example.com', 'example.org', 'x.test'])] }
      : party;
  };
  return { ...flow, source: dressed(flow.source), destination: dressed(flow.destination) };
}

const rounds = 12;

test('a set that was changed step by step means what one made of the same documents means', () => {
  fc.assert(
    fc.property(fc.integer(), (seed) => {
      const random = seededRandom(seed);
      const base = generateDocuments(random, { segments: segments.length, policies: 2 });
      const known = new Map(base.map((document) => [documentKey(document), document]));
      let set = changed(emptyPolicySet, base);
      const world = podWorld(random);
      for (let round = 0; round < rounds; round++) {
        const { set: given, removed } = changedDocuments(random, known);
        for (const document of removed) known.delete(documentKey(document));
        for (const document of given) known.set(documentKey(document), document);
        const after = changed(set, given, removed);
        checkLineage(set, after);
        set = after;
        const fresh = createPolicySet([...known.values()].toReversed(), options);
        assert.ok(fresh.kind === 'ok');
        checkSame(random, world, set, fresh.policySet);
        const [staged, freshStaged] = [stagedPolicySet(set), stagedPolicySet(fresh.policySet)];
        assert.equal(staged === null, freshStaged === null);
        if (staged !== null && freshStaged !== null) checkSame(random, world, staged, freshStaged);
      }
    }),
    { numRuns: 60 },
  );
});

function checkSame(random: Random, world: ReadonlyMap<IdentityId, Labels>, one: PolicySet, other: PolicySet): void {
  assert.deepEqual(one.staged, other.staged);
  assert.deepEqual(new Map([...one.namespaces].sort()), new Map([...other.namespaces].sort()));
  for (let count = 0; count < 15; count++) {
    const flow = podFlow(random, world);
    assert.deepEqual(decide(one, flow), decide(other, flow));
  }
}

/** What the lineage says changed is what a comparison of everything finds, and nothing else that counts. */
function checkLineage(before: PolicySet, after: PolicySet): void {
  const said = new Set(changedPolicies(before, after));
  const stranger = { ...after, lineage: { ...after.lineage, parent: null } };
  for (const reference of changedPolicies(before, stranger)) assert.ok(said.has(reference), reference);
  for (const name of changedNamespaces(before, stranger))
    assert.ok(new Set(changedNamespaces(before, after)).has(name));
  const [staged, stagedAfter] = [stagedPolicySet(before), stagedPolicySet(after)];
  if (staged !== null && stagedAfter !== null) assert.deepEqual(new Set(changedPolicies(staged, stagedAfter)), said);
}

test('the rules of every set are those of its documents, and staged ones count in the staged set alone', () => {
  fc.assert(
    fc.property(fc.integer(), (seed) => {
      const random = seededRandom(seed);
      const documents = Array.from({ length: 12 }, (_, index) => generateKubernetesDocument(random, index));
      const set = changed(emptyPolicySet, [
        ...new Map(documents.map((document) => [documentKey(document), document])).values(),
      ]);
      const references = [...changedPolicies(emptyPolicySet, set)];
      for (const reference of references) {
        const rules = policyRules(stagedPolicySet(set) ?? set, reference);
        assert.deepEqual(policyRules(set, reference), set.staged.has(reference) ? [] : rules);
        assert.ok(rules.every((rule) => rule.policy === reference && rule.staged === set.staged.has(reference)));
        assert.equal(new Set(rules.map(({ name }) => name)).size, rules.length);
      }
      const ruleDocuments = documents.filter(({ kind }) => kind !== 'Namespace') as RulesDocument[];
      assert.deepEqual(new Set(references), new Set(ruleDocuments.map(policyReference)));
    }),
    { numRuns: 200 },
  );
});

test('a generated document is parsed as it stands, and its parsed form once more', () => {
  fc.assert(
    fc.property(fc.integer(), (seed) => {
      const document = generateKubernetesDocument(seededRandom(seed), 0);
      const again = parseDocument(document, {});
      assert.deepEqual(again, { kind: 'ok', document });
    }),
    { numRuns: 500 },
  );
});
