import {
  type Document,
  documentKey,
  type DocumentKind,
  documentName,
  type DocumentOf,
  isRuleKind,
  policyReference,
  type RulesDocument,
} from '../documents/document.ts';
import { isStaged } from '../documents/kubernetes-form.ts';
import type { Labels, Problem } from '../model.ts';
import { changedMap } from './changed-map.ts';
import { type Invariant, invariantOf } from './invariant.ts';
import { labelsOfNamespace, type Namespaces } from './namespace.ts';
import { builtinTiers, type Tier } from './precedence.ts';
import { checkConditions, checkNames, checkReferences, checkTiers, type Refuse } from './references.ts';
import { checkWalls } from './wall-references.ts';
import { type Segment, segmentOf } from './segment.ts';
import { wallOf } from './wall.ts';
import type { WallRule } from '../walls/wall.ts';

/** The documents of a set, by kind and name (see `documentName`). */
export type DocumentsByKind = { readonly [Kind in DocumentKind]: ReadonlyMap<string, DocumentOf<Kind>> };

/** Everything that documents say, resolved against each other. Immutable; `changePolicySet` gives the next one. */
export interface PolicySet {
  readonly documents: DocumentsByKind;
  readonly segments: ReadonlyMap<string, Segment>;
  /** Built-in ones included, in the order in which they are judged. */
  readonly tiers: readonly Tier[];
  readonly namespaces: Namespaces;
  readonly invariants: ReadonlyMap<string, Invariant>;
  readonly walls: ReadonlyMap<string, WallRule>;
  /** References of the policies that are staged. */
  readonly staged: ReadonlySet<string>;
  /** Whether the staged policies count as the others do; see `stagedPolicySet`. */
  readonly enforcesStaged: boolean;
  readonly lineage: Lineage;
}

/** Which set this one was made from and what differs, so that whoever has that one need not compare all of them. */
export interface Lineage {
  /** Stands for the set itself; an object of its own, so that no set keeps its ancestors alive. */
  readonly self: object;
  readonly parent: object | null;
  /** References of documents with rules (see `policyReference`) that came, went or changed. */
  readonly policies: readonly string[];
  /** Namespaces whose documents did. */
  readonly namespaces: readonly string[];
}

/** What is wrong with the text of a `when`. */
export interface ConditionFault {
  readonly reason: string;
  readonly allowed?: string;
}

export interface PolicySetOptions {
  /** Parses and type-checks the text of a `when`; null where it is right. */
  readonly checkCondition: (text: string) => ConditionFault | null;
  /**
   * Whoever keeps the contacts of walls says so; everybody else refuses Wall documents, since a wall that nobody keeps is worse than
   * none.
   */
  readonly keepsWalls?: boolean;
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
  documents: {
    Segment: new Map(),
    Tier: new Map(),
    Policy: new Map(),
    Namespace: new Map(),
    Invariant: new Map(),
    Wall: new Map(),
    NetworkPolicy: new Map(),
    ClusterNetworkPolicy: new Map(),
    AdminNetworkPolicy: new Map(),
    BaselineAdminNetworkPolicy: new Map(),
  },
  segments: new Map(),
  tiers: builtinTiers,
  namespaces: new Map(),
  invariants: new Map(),
  walls: new Map(),
  staged: new Set(),
  enforcesStaged: false,
  lineage: { self: {}, parent: null, policies: [], namespaces: [] },
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
  if (after.walls !== before.walls || after.segments !== before.segments)
    checkWalls(after, options.keepsWalls === true, refuse);
  for (const document of documentsToCheck(before, after, change.set ?? [])) {
    checkReferences(document, after, refuse);
    if (document.kind === 'Policy' && before.documents.Policy.get(document.metadata.name) !== document)
      checkConditions(document, options.checkCondition, refuse);
  }
  return problems.length > 0 ? { kind: 'refused', problems } : { kind: 'ok', policySet: after };
}

/** References of documents that did not change stay good unless something that they may refer to went away. */
function documentsToCheck(before: PolicySet, after: PolicySet, set: readonly Document[]): Iterable<Document> {
  if (!somethingWentAway(before, after)) return set;
  return [...after.documents.Policy.values(), ...after.documents.Invariant.values()];
}

function somethingWentAway(before: PolicySet, after: PolicySet): boolean {
  const segments =
    before.segments !== after.segments && [...before.segments.keys()].some((name) => !after.segments.has(name));
  return segments || before.tiers.some(({ name }) => !after.tiers.some((tier) => tier.name === name));
}

function changedSet(before: PolicySet, { set = [], removed = [] }: PolicySetChange): PolicySet {
  const documents = changedDocuments(before.documents, set, removed);
  const same = (kind: DocumentKind): boolean => documents[kind] === before.documents[kind];
  const { policies, staged } = changedRules(before, set, removed);
  return {
    documents,
    segments: same('Segment') ? before.segments : resolvedMap(documents.Segment, segmentOf),
    tiers: same('Tier') ? before.tiers : tiersOf(documents),
    namespaces: same('Namespace') ? before.namespaces : changedNamespaces(before.namespaces, set, removed),
    walls: same('Wall') ? before.walls : resolvedMap(documents.Wall, wallOf),
    invariants: same('Invariant') ? before.invariants : resolvedMap(documents.Invariant, invariantOf),
    staged,
    enforcesStaged: before.enforcesStaged,
    lineage: {
      self: {},
      parent: before.lineage.self,
      policies,
      namespaces: namesOf('Namespace', set, removed),
    },
  };
}

type Removed = NonNullable<PolicySetChange['removed']>;

/** Maps of kinds of which nothing changes stay the same. What is both removed and set is set. */
function changedDocuments(before: DocumentsByKind, set: readonly Document[], removed: Removed): DocumentsByKind {
  const given = Map.groupBy(set, ({ kind }) => kind);
  const gone = Map.groupBy(removed, ({ kind }) => kind);
  const after: Partial<Record<DocumentKind, ReadonlyMap<string, Document>>> = {};
  for (const kind of Object.keys(before) as DocumentKind[]) {
    const names = (gone.get(kind) ?? []).map(({ name }) => name);
    const documents = (given.get(kind) ?? []).map((document) => [documentName(document), document] as const);
    after[kind] = changedMap<Document>(before[kind], names, documents);
  }
  return after as DocumentsByKind;
}

function resolvedMap<From, To>(documents: ReadonlyMap<string, From>, resolve: (document: From) => To): Map<string, To> {
  return new Map(Array.from(documents, ([name, document]) => [name, resolve(document)]));
}

function tiersOf(documents: DocumentsByKind): readonly Tier[] {
  const tiers = new Map(builtinTiers.map((tier) => [tier.name, tier]));
  for (const [name, { spec }] of documents.Tier)
    tiers.set(name, { name, position: spec.position, order: spec.order ?? 'severity' });
  return [...tiers.values()].sort((a, b) => a.position - b.position);
}

function changedNamespaces(before: Namespaces, set: readonly Document[], removed: Removed): Namespaces {
  const gone = removed.filter(({ kind }) => kind === 'Namespace').map(({ name }) => name);
  const given = set.flatMap((document): (readonly [string, Labels])[] =>
    document.kind === 'Namespace' ? [[document.metadata.name, labelsOfNamespace(document)]] : [],
  );
  return changedMap(before, gone, given);
}

/** Which documents with rules are touched, and the staged ones afterwards. */
function changedRules(
  before: PolicySet,
  set: readonly Document[],
  removed: Removed,
): { policies: readonly string[]; staged: ReadonlySet<string> } {
  const given = new Map(set.filter(isRulesDocument).map((document) => [policyReference(document), document]));
  const gone = removed.filter(({ kind }) => isRuleKind(kind)).map(referenceOf);
  const staged = new Set(before.staged);
  for (const reference of gone) staged.delete(reference);
  for (const [reference, document] of given) {
    if (isStaged(document)) staged.add(reference);
    else staged.delete(reference);
  }
  return { policies: [...new Set([...gone, ...given.keys()])], staged };
}

function isRulesDocument(document: Document): document is RulesDocument {
  return isRuleKind(document.kind);
}

function referenceOf({ kind, name }: { readonly kind: string; readonly name: string }): string {
  return kind === 'Policy' ? name : `${kind}:${name}`;
}

function namesOf(kind: DocumentKind, set: readonly Document[], removed: Removed): readonly string[] {
  const given = set.filter((document) => document.kind === kind).map(documentName);
  const gone = removed.filter((document) => document.kind === kind).map(({ name }) => name);
  return [...new Set([...gone, ...given])];
}

/** The document with rules that a reason's `policy` names. */
export function policyDocument(set: PolicySet, reference: string): RulesDocument | undefined {
  const colon = reference.indexOf(':');
  if (colon < 0) return set.documents.Policy.get(reference);
  const kind = reference.slice(0, colon);
  return isRuleKind(kind) ? set.documents[kind].get(reference.slice(colon + 1)) : undefined;
}
