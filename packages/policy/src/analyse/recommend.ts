import { defaultTier } from '../documents/canonical.ts';
import { type Document, type PolicyDocument, type RuleDocument, ruleKinds } from '../documents/document.ts';
import { parseDocument } from '../documents/parse.ts';
import { apiVersion } from '../documents/schema.ts';
import { changePolicySet, type PolicySet } from '../resolve/policy-set.ts';
import { FlowGroups } from './flow-groups.ts';
import type { InvariantResult } from './invariant.ts';
import { checkInvariants, culprits } from './invariant-check.ts';
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
  let open = drafts;
  for (;;) {
    const documents = documentsOf(open, options.name);
    const proposed = withDocuments(set, documents, options.segment === null);
    const byReason = draftsByReason(documents, open);
    const found =
      proposed.invariants.size === 0 ? [] : culprits(proposed, universe, (reason) => byReason.get(reason)?.flows);
    if (found.length === 0) {
      const broken = proposed.invariants.size === 0 ? [] : brokenIn(proposed, universe);
      return { documents, rules: supportOf(documents, open), leftOut, broken };
    }
    const gone = new Map(found.map(({ reason, invariant }) => [byReason.get(reason)!, invariant]));
    open = open
      .flatMap((draft) => {
        const invariant = gone.get(draft);
        if (invariant === undefined) return [draft];
        const parts = draft.parts();
        if (parts.length > 1) return parts;
        const why = `it would break the invariant ${invariant}`;
        leftOut.push({ why, flows: draft.flows, rule: namedRule(draft, new Set()) });
        return [];
      })
      .sort(byFlows);
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

/** The drafts by the reason that the rules made of them give. */
function draftsByReason(documents: readonly PolicyDocument[], drafts: readonly RuleDraft[]): Map<string, RuleDraft> {
  let place = 0;
  const entries = documents.flatMap(({ metadata, spec }) =>
    spec.rules.map(({ name }) => [`${defaultTier}/${metadata.name}/${name}`, drafts[place++]!] as const),
  );
  return new Map(entries);
}

function supportOf(documents: readonly PolicyDocument[], drafts: readonly RuleDraft[]): readonly RecommendedRule[] {
  let place = 0;
  return documents.flatMap(({ metadata, spec }) =>
    spec.rules.map(({ name }) => {
      const { flows, groups } = drafts[place++]!;
      return { policy: metadata.name, rule: name, flows, groups };
    }),
  );
}
