import { defaultTier, peerList } from '../documents/canonical.ts';
import { type Document, documentKey, type PolicyDocument } from '../documents/document.ts';
import { nearestName } from '../documents/names.ts';
import type { Problem } from '../model.ts';
import { builtinTiers, compareInTier, type Tier } from './precedence.ts';
import { type ResolvedRule, rulesOf } from './rule.ts';
import { type Segment, segmentOf } from './segment.ts';

/** Everything that documents say, resolved against each other. Immutable; `changePolicySet` gives the next one. */
export interface PolicySet {
  /** By `Kind/name`. */
  readonly documents: ReadonlyMap<string, Document>;
  readonly segments: ReadonlyMap<string, Segment>;
  /** Built-in ones included, in the order in which they are judged. */
  readonly tiers: readonly Tier[];
  readonly policies: ReadonlyMap<string, PolicyDocument>;
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
  documents: new Map(),
  segments: new Map(),
  tiers: builtinTiers,
  policies: new Map(),
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
  const refuse = (document: Document, path: string, reason: string, allowed: string): void => {
    if (problems.length >= setProblemsMax) return;
    const file = options.fileOf?.(document);
    problems.push({ path, reason, allowed, document: documentKey(document), ...(file === undefined ? {} : { file }) });
  };

  const documents = new Map(before.documents);
  for (const { kind, name } of change.removed ?? []) documents.delete(`${kind}/${name}`);
  const given = new Set<string>();
  for (const document of change.set ?? []) {
    const key = documentKey(document);
    if (given.has(key)) refuse(document, 'metadata.name', `there is another ${key}`, 'a name once per kind');
    given.add(key);
    documents.set(key, document);
  }

  const after = indexDocuments(documents);
  checkTiers(after, refuse);
  // References of policies that did not change stay good unless something that they may refer to went away.
  const narrowed = [...before.segments.keys()].some((name) => !after.segments.has(name)) || tierWentAway(before, after);
  for (const document of after.policies.values()) {
    const changed = before.documents.get(documentKey(document)) !== document;
    if (changed || narrowed) checkReferences(document, after, refuse);
    if (changed) checkConditions(document, options.checkCondition, refuse);
  }
  return problems.length > 0 ? { kind: 'refused', problems } : { kind: 'ok', policySet: after };
}

type Refuse = (document: Document, path: string, reason: string, allowed: string) => void;

function indexDocuments(documents: ReadonlyMap<string, Document>): PolicySet {
  const segments = new Map<string, Segment>();
  const policies = new Map<string, PolicyDocument>();
  const tiers = new Map(builtinTiers.map((tier) => [tier.name, tier]));
  for (const document of documents.values()) {
    const { name } = document.metadata;
    if (document.kind === 'Segment') segments.set(name, segmentOf(document));
    else if (document.kind === 'Policy') policies.set(name, document);
    else tiers.set(name, { name, position: document.spec.position, order: document.spec.order ?? 'severity' });
  }
  const inOrder = [...tiers.values()].sort((a, b) => a.position - b.position);
  return { documents, segments, policies, tiers: inOrder };
}

function checkTiers(set: PolicySet, refuse: Refuse): void {
  for (const document of set.documents.values()) {
    if (document.kind !== 'Tier') continue;
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

function tierWentAway(before: PolicySet, after: PolicySet): boolean {
  return before.tiers.some(({ name }) => !after.tiers.some((tier) => tier.name === name));
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

const orderedRules = new WeakMap<PolicySet, readonly (readonly [Tier, readonly ResolvedRule[]])[]>();

/** The tiers with their rules, both in the order in which they are judged. Computed at the first call for a set. */
export function rulesInOrder(set: PolicySet): readonly (readonly [Tier, readonly ResolvedRule[]])[] {
  let ordered = orderedRules.get(set);
  if (ordered === undefined) {
    const byTier = Map.groupBy([...set.policies.values()].flatMap(rulesOf), ({ tier }) => tier);
    ordered = set.tiers.map((tier) => {
      const rules = [...(byTier.get(tier.name) ?? [])].sort((a, b) => compareInTier(tier.order, a, b));
      return [tier, rules] as const;
    });
    orderedRules.set(set, ordered);
  }
  return ordered;
}
