/** Which label keys documents read: the only ones that make identities. */
import { factPrefix } from '@bulkhead/policy';
import { documentsOf } from './set-documents.ts';
import type { Document, PeerDocument, PolicySet, Selector } from '@bulkhead/policy';

/** Parsed documents never change, so each is read once. */
const known = new WeakMap<Document, readonly string[]>();

export function labelKeysOf(set: PolicySet): ReadonlySet<string> {
  const keys = new Set<string>();
  for (const document of documentsOf(set)) {
    let ofDocument = known.get(document);
    if (ofDocument === undefined) {
      ofDocument = documentKeys(document);
      known.set(document, ofDocument);
    }
    for (const key of ofDocument) keys.add(key);
  }
  return keys;
}

function documentKeys(document: Document): readonly string[] {
  switch (document.kind) {
    case 'Tier':
      return [];
    case 'Segment': {
      const { selector, bind, posture } = document.spec;
      const facts = [
        ...(bind?.images === undefined ? [] : ['image']),
        ...(bind?.hosts === undefined ? [] : ['host']),
        ...(posture?.isolation === undefined ? [] : ['class', 'boundary']),
      ];
      return [...selectorKeys(selector), ...facts.map((fact) => factPrefix + fact)];
    }
    case 'Policy':
      return document.spec.rules.flatMap((rule) =>
        [...peersOf(rule.from), ...peersOf(rule.to)].flatMap((peer) => selectorKeys(peer.selector)),
      );
  }
}

/** The peers of one end of a rule; none when the end is left out, which means everybody. */
export function peersOf(peers: PeerDocument | readonly PeerDocument[] | undefined): readonly PeerDocument[] {
  if (peers === undefined) return [];
  return Array.isArray(peers) ? (peers as readonly PeerDocument[]) : [peers as PeerDocument];
}

function selectorKeys(selector: Selector | undefined): readonly string[] {
  if (selector === undefined) return [];
  return [...Object.keys(selector.matchLabels ?? {}), ...(selector.matchExpressions ?? []).map(({ key }) => key)];
}
