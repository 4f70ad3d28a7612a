/** Which label keys documents read: the only ones that make identities. */
import { factPrefix } from '@bulkhead/policy';
import type { Document, PeerDocument, Selector } from '@bulkhead/policy';

/** Label key → how many documents read it. */
export type KeyCounts = ReadonlyMap<string, number>;

/** What a change of documents makes of the counts, at the cost of the change alone. */
export function changedKeyCounts(
  counts: KeyCounts,
  changes: Iterable<{ readonly before: Document | null; readonly after: Document | null }>,
): KeyCounts {
  const changed = new Map(counts);
  const add = (document: Document | null, by: 1 | -1) => {
    for (const key of new Set(document === null ? [] : documentKeys(document))) {
      const count = (changed.get(key) ?? 0) + by;
      if (count === 0) changed.delete(key);
      else changed.set(key, count);
    }
  };
  for (const { before, after } of changes) {
    add(before, -1);
    add(after, 1);
  }
  return changed;
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
