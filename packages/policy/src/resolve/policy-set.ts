import { defaultTier, peerList } from '../documents/canonical.ts';
import {
  type Document,
  documentKey,
  type DocumentKind,
  type PolicyDocument,
  type SegmentDocument,
  type TierDocument,
} from '../documents/document.ts';
import { nearestName } from '../documents/names.ts';
import type { Problem } from '../model.ts';
import { builtinTiers, compareInTier, type Tier } from './precedence.ts';
import { type ResolvedRule, rulesOf } from './rule.ts';
import { type Segment, segmentOf } from './segment.ts';

/** The documents of a set, by kind and name. */
export interface DocumentsByKind {
  readonly Segment: ReadonlyMap<string, SegmentDocument>;
  readonly Tier: ReadonlyMap<string, TierDocument>;
  readonly Policy: ReadonlyMap<string, PolicyDocument>;
}

/** Everything that documents say, resolved against each other. Immutable; `changePolicySet` gives the next one. */
export interface PolicySet {
  readonly documents: DocumentsByKind;
  readonly segments: ReadonlyMap<string, Segment>;
  /** Built-in ones included, in the order in which they are judged. */
  readonly tiers: readonly Tier[];
  readonly lineage: Lineage;
}

/** Which set this one was made from and which policies differ, so that whoever has that one need not compare all of them. */
export interface Lineage {
  /** Stands for the set itself; an object of its own, so that no set keeps its ancestors alive. */
  readonly self: object;
  readonly parent: object | null;
  readonly policies: readonly string[];
}

/** What is wrong with the text of a `when`. */
export interface ConditionFault {
  readonly reason: string;
  readonly allowed?: string;
}

export interface PolicySetOptions {
  /** Parses and type-checks the text of a `when`; null where it is right. */
  readonly checkCondition: (text: string) => ConditionFault | null;
  /** The file that a document came from, for messages. */
  readonly fileOf?: (document: Document) => string | undefined;
}

export interface PolicySetChange {
  /** New documents, and new versions of known ones. */
  readonly set?: readonly Document[];
  readonly removed?: readonly { readonly kind: string; readonly name: string }[];
}

export type PolicySetResult =
  | { readonly kind: 'ok'; readonly policySet: PolicySet }
  | { readonly kind: 'refused'; readonly problems: readonly Problem[] };

export const emptyPolicySet: PolicySet = {
  documents: { Segment: new Map(), Tier: new Map(), Policy: new Map() },
  segments: new Map(),
  tiers: builtinTiers,
  lineage: { self: {}, parent: null, policies: [] },
};

/** Most problems that a set of documents is refused with; whoever has more mends these first. */
export const setProblemsMax = 1_000;

/** Resolves the documents against each other: all of them, or none and every problem. Their order has no meaning. */
export function createPolicySet(documents: readonly Document[], options: PolicySetOptions): PolicySetResult {
  return changePolicySet(emptyPolicySet, { set: documents }, options);
}

export function changePolicySet(
  before: PolicySet,
  change: PolicySetChange,
  options: PolicySetOptions,
): PolicySetResult {
  const problems: Problem[] = [];
  const refuse: Refuse = (document, path, reason, allowed) => {
    if (problems.length >= setProblemsMax) return;
    const file = options.fileOf?.(document);
    problems.push({ path, reason, allowed, document: documentKey(document), ...(file === undefined ? {} : { file }) });
  };

  checkNames(change.set ?? [], refuse);
  const after = changedSet(before, change);
  checkTiers(after, refuse);
  // References of policies that did not change stay good unless something that they may refer to went away.
  const policies = somethingWentAway(before, after) ? after.documents.Policy.keys() : after.lineage.policies;
  for (const name of policies) {
    const document = after.documents.Policy.get(name);
    if (document === undefined) continue;
    checkReferences(document, after, refuse);
    if (before.documents.Policy.get(name) !== document) checkConditions(document, options.checkCondition, refuse);
  }
  return problems.length > 0 ? { kind: 'refused', problems } : { kind: 'ok', policySet: after };
}

type Refuse = (document: Document, path: string, reason: string, allowed: string) => void;

function checkNames(documents: readonly Document[], refuse: Refuse): void {
  const given = new Set<string>();
  for (const document of documents) {
    const key = documentKey(document);
    if (given.has(key)) refuse(document, 'metadata.name', `there is another ${key}`, 'a name once per kind');
    given.add(key);
  }
}

function changedSet(before: PolicySet, { set = [], removed = [] }: PolicySetChange): PolicySet {
  const documents = {
    Segment: changedMap(before.documents.Segment, 'Segment', set, removed),
    Tier: changedMap(before.documents.Tier, 'Tier', set, removed),
    Policy: changedMap(before.documents.Policy, 'Policy', set, removed),
  };
  const segmentsSame = documents.Segment === before.documents.Segment;
  const segments = segmentsSame
    ? before.segments
    : new Map([...documents.Segment].map(([name, document]) => [name, segmentOf(document)]));
  const tiers = new Map(builtinTiers.map((tier) => [tier.name, tier]));
  for (const [name, { spec }] of documents.Tier) {
    tiers.set(name, { name, position: spec.position, order: spec.order ?? 'severity' });
  }
  const inOrder = [...tiers.values()].sort((a, b) => a.position - b.position);
  const touched = [
    ...set.filter(({ kind }) => kind === 'Policy').map(({ metadata }) => metadata.name),
    ...removed.filter(({ kind }) => kind === 'Policy').map(({ name }) => name),
  ];
  const lineage = { self: {}, parent: before.lineage.self, policies: [...new Set(touched)] };
  return { documents, segments, tiers: inOrder, lineage };
}

/** The same map where nothing of its kind changes. What is both removed and set is set. */
function changedMap<Kind extends DocumentKind>(
  before: DocumentsByKind[Kind],
  kind: Kind,
  set: readonly Document[],
  removed: readonly { readonly kind: string; readonly name: string }[],
): DocumentsByKind[Kind] {
  const gone = removed.filter((document) => document.kind === kind);
  const given = set.filter((document) => document.kind === kind);
  if (gone.length === 0 && given.length === 0) return before;
  const after = new Map<string, Document>(before);
  for (const { name } of gone) after.delete(name);
  for (const document of given) after.set(document.metadata.name, document);
  return after as ReadonlyMap<string, Document> as DocumentsByKind[Kind];
}

function checkTiers(set: PolicySet, refuse: Refuse): void {
  for (const document of set.documents.Tier.values()) {
    const other = set.tiers.find(
      (tier) => tier.position === document.spec.position && tier.name !== document.metadata.name,
    );
    if (other === undefined) continue;
    const taken = set.tiers.map(({ name, position }) => `${name} ${position}`).join(', ');
    refuse(
      document,
      'spec.position',
      `the position ${other.position} is that of tier ${other.name}`,
      `a position of its own; taken: ${taken}`,
    );
  }
}

function somethingWentAway(before: PolicySet, after: PolicySet): boolean {
  const segments =
    before.segments !== after.segments && [...before.segments.keys()].some((name) => !after.segments.has(name));
  return segments || before.tiers.some(({ name }) => !after.tiers.some((tier) => tier.name === name));
}

function checkReferences(document: PolicyDocument, set: PolicySet, refuse: Refuse): void {
  const tier = document.spec.tier ?? defaultTier;
  if (!set.tiers.some(({ name }) => name === tier)) {
    refuse(
      document,
      'spec.tier',
      ...unknownName(
        'tier',
        tier,
        set.tiers.map(({ name }) => name),
      ),
    );
  }
  for (const [index, rule] of document.spec.rules.entries()) {
    for (const end of ['from', 'to'] as const) {
      const peers = rule[end];
      if (peers === undefined) continue;
      for (const [position, { segment }] of peerList(peers).entries()) {
        if (segment === undefined || set.segments.has(segment)) continue;
        const at = Array.isArray(peers) ? `[${position}]` : '';
        refuse(
          document,
          `spec.rules[${index}].${end}${at}.segment`,
          ...unknownName('segment', segment, set.segments.keys()),
        );
      }
    }
  }
}

const namesListedMax = 20;

function unknownName(what: string, name: string, known: Iterable<string>): [reason: string, allowed: string] {
  const names = [...known].sort();
  const nearest = nearestName(name, names);
  const listed = names.slice(0, namesListedMax).join(', ') + (names.length > namesListedMax ? ', …' : '');
  const hint = nearest === null ? '' : `; did you mean "${nearest}"?`;
  return [`there is no ${what} "${name}"${hint}`, listed === '' ? `no ${what} is defined` : listed];
}

function checkConditions(document: PolicyDocument, check: PolicySetOptions['checkCondition'], refuse: Refuse): void {
  for (const [index, { when }] of document.spec.rules.entries()) {
    const fault = when === undefined ? null : check(when);
    if (fault !== null)
      refuse(document, `spec.rules[${index}].when`, fault.reason, fault.allowed ?? 'a CEL expression of type bool');
  }
}

/** The names of the policies that came, went or changed. */
export function* changedPolicies(before: PolicySet, after: PolicySet): Generator<string> {
  if (after.lineage.parent === before.lineage.self) {
    yield* after.lineage.policies;
    return;
  }
  const [old, now] = [before.documents.Policy, after.documents.Policy];
  for (const name of old.keys()) if (!now.has(name)) yield name;
  for (const [name, document] of now) if (old.get(name) !== document) yield name;
}

const orderedRules = new WeakMap<PolicySet, readonly (readonly [Tier, readonly ResolvedRule[]])[]>();

/** The tiers with their rules, both in the order in which they are judged. Computed at the first call for a set. */
export function rulesInOrder(set: PolicySet): readonly (readonly [Tier, readonly ResolvedRule[]])[] {
  let ordered = orderedRules.get(set);
  if (ordered === undefined) {
    const byTier = Map.groupBy([...set.documents.Policy.values()].flatMap(rulesOf), ({ tier }) => tier);
    ordered = set.tiers.map((tier) => {
      const rules = [...(byTier.get(tier.name) ?? [])].sort((a, b) => compareInTier(tier.order, a, b));
      return [tier, rules] as const;
    });
    orderedRules.set(set, ordered);
  }
  return ordered;
}
