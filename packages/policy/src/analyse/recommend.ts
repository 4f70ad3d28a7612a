import type { Document, PolicyDocument, RuleDocument } from '../documents/document.ts';
import { ruleKinds } from '../documents/document.ts';
import { parseDocument } from '../documents/parse.ts';
import { apiVersion } from '../documents/schema.ts';
import { changePolicySet, type PolicySet } from '../resolve/policy-set.ts';
import { FlowGroups } from './flow-groups.ts';
import type { InvariantResult } from './invariant.ts';
import { checkInvariants } from './invariant-check.ts';
import { LabelUnits } from './label-units.ts';
import { observe } from './observed.ts';
import { draftRules, namedRule, type RuleDraft } from './recommend-rules.ts';
import {
  type LeftOut,
  leftOutMax,
  type Recommendation,
  type RecommendedRule,
  type RecommendOptions,
  rulesPerPolicy,
} from './recommendation.ts';
import type { RecordedFlows } from './simulation.ts';
import type { Universe } from './universe.ts';

/** The least policy, in readable rules, that allows the recorded flows that were allowed and breaks no invariant. */
export function recommend(
  set: PolicySet,
  flows: RecordedFlows,
  universe: Universe,
  options: RecommendOptions,
): Recommendation {
  const workloads = [
    ...universe.workloads,
    ...flows.parties.flatMap((party) => (party.kind === 'workload' ? [{ labels: party.labels, count: 0 }] : [])),
  ];
  const units = new LabelUnits(workloads);
  const groups = new FlowGroups(set, units, universe.workloads);
  const observed = observe(flows, groups, options.segment);
  const { drafts, indescribable } = draftRules(observed.between, groups.groups, units);
  const chosen = chooseRules(set, universe, options, drafts.toSorted(byFlows));

  const leftOut = [...chosen.leftOut, ...indescribable.map((lost) => ({ ...lost, rule: null }))];
  return {
    documents: chosen.documents,
    rules: chosen.rules,
    leftOut: leftOut.sort((a, b) => b.flows - a.flows).slice(0, leftOutMax),
    broken: chosen.broken,
    flows: observed.flows,
    flowsCovered: chosen.rules.reduce((sum, rule) => sum + rule.flows, 0),
  };
}

function byFlows(a: RuleDraft, b: RuleDraft): number {
  return b.flows - a.flows;
}

interface Chosen {
  readonly documents: readonly PolicyDocument[];
  readonly rules: readonly RecommendedRule[];
  readonly leftOut: readonly LeftOut[];
  readonly broken: readonly InvariantResult[];
}

/** Leaves out rules until no invariant breaks because of one. Each round takes one rule away or takes it apart, so there is an end. */
function chooseRules(
  set: PolicySet,
  universe: Universe,
  options: RecommendOptions,
  drafts: readonly RuleDraft[],
): Chosen {
  const leftOut: LeftOut[] = [];
  let open = [...drafts];
  for (;;) {
    const documents = documentsOf(open, options.name);
    const proposed = withDocuments(set, documents, options.segment === null);
    const broken = proposed.invariants.size === 0 ? [] : brokenIn(proposed, universe);
    const culprit = culpritOf(broken, documents, open);
    if (culprit === null) return { documents, rules: supportOf(documents, open), leftOut, broken };
    const { draft, invariant } = culprit;
    const parts = draft.parts();
    open = open.filter((other) => other !== draft);
    if (parts.length > 1) {
      open = [...open, ...parts].sort(byFlows);
      continue;
    }
    const why = `it would break the invariant ${invariant}`;
    leftOut.push({ why, flows: draft.flows, rule: namedRule(draft, new Set()) });
  }
}

/** The policies that these rules make, in the order of the drafts. */
function documentsOf(drafts: readonly RuleDraft[], name: string): readonly PolicyDocument[] {
  const documents: PolicyDocument[] = [];
  const taken = new Set<string>();
  const rules = drafts.map((draft) => namedRule(draft, taken));
  for (let start = 0; start < rules.length; start += rulesPerPolicy) {
    const number = start / rulesPerPolicy + 1;
    documents.push(parsedPolicy(number === 1 ? name : `${name}-${number}`, rules.slice(start, start + rulesPerPolicy)));
  }
  return documents;
}

function parsedPolicy(name: string, rules: readonly RuleDocument[]): PolicyDocument {
  const parsed = parseDocument({ apiVersion, kind: 'Policy', metadata: { name }, spec: { rules } }, {});
  if (parsed.kind === 'ok' && parsed.document.kind === 'Policy') return parsed.document;
  throw new Error(`a recommended policy is refused: ${JSON.stringify(parsed)}`);
}

/** The set with these policies beside the others, or in the place of all documents with rules. */
export function withDocuments(set: PolicySet, documents: readonly Document[], instead: boolean): PolicySet {
  const removed = instead
    ? ruleKinds.flatMap((kind) => [...set.documents[kind].keys()].map((name) => ({ kind, name })))
    : [];
  const result = changePolicySet(set, { set: documents, removed }, { checkCondition: () => null });
  if (result.kind === 'ok') return result.policySet;
  throw new Error(`a recommended policy does not resolve: ${JSON.stringify(result.problems)}`);
}

function brokenIn(set: PolicySet, universe: Universe): readonly InvariantResult[] {
  return checkInvariants(set, universe).results.filter(({ outcome }) => outcome.kind !== 'holds');
}

/** Of the rules of ours that a witness needs, the one with the fewest flows behind it; null where no witness needs one. */
function culpritOf(
  broken: readonly InvariantResult[],
  documents: readonly PolicyDocument[],
  drafts: readonly RuleDraft[],
): { readonly draft: RuleDraft; readonly invariant: string } | null {
  const byReason = new Map<string, RuleDraft>();
  let place = 0;
  for (const { metadata, spec } of documents) {
    for (const { name } of spec.rules) byReason.set(`${recommendedTier}/${metadata.name}/${name}`, drafts[place++]!);
  }
  for (const { name, invariant, outcome } of broken) {
    if (outcome.kind !== 'broken' || invariant === 'always') continue;
    const needed = outcome.witness
      .flatMap(({ egressReason, ingressReason }) => [egressReason, ingressReason])
      .flatMap((reason) => byReason.get(reason) ?? []);
    const [draft] = needed.sort((a, b) => a.flows - b.flows);
    if (draft !== undefined) return { draft, invariant: name };
  }
  return null;
}

/** The tier of a policy that names none. */
const recommendedTier = 'application';

function supportOf(documents: readonly PolicyDocument[], drafts: readonly RuleDraft[]): readonly RecommendedRule[] {
  let place = 0;
  return documents.flatMap(({ metadata, spec }) =>
    spec.rules.map(({ name }) => {
      const { flows, groups } = drafts[place++]!;
      return { policy: metadata.name, rule: name, flows, groups };
    }),
  );
}
