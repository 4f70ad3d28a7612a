/** Whether documents fit together: what one names, another must be. */
import { defaultTier, peerList } from '../documents/canonical.ts';
import { claimOf } from '../documents/claim.ts';
import {
  type Document,
  documentKey,
  type InvariantDocument,
  type PeersDocument,
  type PolicyDocument,
} from '../documents/document.ts';
import { nearestName } from '../documents/names.ts';
import type { PolicySet, PolicySetOptions } from './policy-set.ts';

export type Refuse = (document: Document, path: string, reason: string, allowed: string) => void;

export function checkNames(documents: readonly Document[], refuse: Refuse): void {
  const given = new Set<string>();
  for (const document of documents) {
    const key = documentKey(document);
    if (given.has(key)) refuse(document, 'metadata.name', `there is another ${key}`, 'a name once per kind');
    given.add(key);
  }
}

export function checkTiers(set: PolicySet, refuse: Refuse): void {
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

/** Kubernetes' documents name nothing that has to be there: their selectors may select nobody. */
export function checkReferences(document: Document, set: PolicySet, refuse: Refuse): void {
  if (document.kind === 'Policy') checkPolicy(document, set, refuse);
  if (document.kind === 'Invariant') checkInvariant(document, set, refuse);
}

function checkPolicy(document: PolicyDocument, set: PolicySet, refuse: Refuse): void {
  const tier = document.spec.tier ?? defaultTier;
  if (!set.tiers.some(({ name }) => name === tier)) {
    const known = set.tiers.map(({ name }) => name);
    refuse(document, 'spec.tier', ...unknownName('tier', tier, known));
  }
  for (const [index, rule] of document.spec.rules.entries()) {
    for (const end of ['from', 'to'] as const)
      checkSegments(document, `spec.rules[${index}].${end}`, rule[end], set, refuse);
  }
}

function checkInvariant(document: InvariantDocument, set: PolicySet, refuse: Refuse): void {
  const [claim, claimed] = claimOf(document);
  for (const end of ['from', 'to'] as const) checkSegments(document, `spec.${claim}.${end}`, claimed[end], set, refuse);
}

function checkSegments(
  document: Document,
  path: string,
  peers: PeersDocument | undefined,
  set: PolicySet,
  refuse: Refuse,
): void {
  if (peers === undefined) return;
  for (const [position, { segment }] of peerList(peers).entries()) {
    if (segment === undefined || set.segments.has(segment)) continue;
    const at = Array.isArray(peers) ? `[${position}]` : '';
    refuse(document, `${path}${at}.segment`, ...unknownName('segment', segment, set.segments.keys()));
  }
}

const namesListedMax = 20;

export function unknownName(what: string, name: string, known: Iterable<string>): [reason: string, allowed: string] {
  const names = [...known].sort();
  const nearest = nearestName(name, names);
  const listed = names.slice(0, namesListedMax).join(', ') + (names.length > namesListedMax ? ', …' : '');
  const hint = nearest === null ? '' : `; did you mean "${nearest}"?`;
  return [`there is no ${what} "${name}"${hint}`, listed === '' ? `no ${what} is defined` : listed];
}

export function checkConditions(
  document: PolicyDocument,
  check: PolicySetOptions['checkCondition'],
  refuse: Refuse,
): void {
  for (const [index, { when }] of document.spec.rules.entries()) {
    const fault = when === undefined ? null : check(when);
    if (fault !== null)
      refuse(document, `spec.rules[${index}].when`, fault.reason, fault.allowed ?? 'a CEL expression of type bool');
  }
}
