/** Which label keys documents read: the only ones that make an identity. */
import { factPrefix } from '../model.ts';
import type { Selector } from '../select/selector.ts';
import { peerList } from './canonical.ts';
import type { Document, RuleDocument } from './document.ts';

/** Keys that a document reads of a workload, facts included; a key may stand there twice. */
export function documentLabelKeys(document: Document): readonly string[] {
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
        [...rulePeers(rule.from), ...rulePeers(rule.to)].flatMap((peer) => selectorKeys(peer.selector)),
      );
  }
}

/** The peers of one end of a rule; none when the end is left out, which means everybody. */
export function rulePeers(peers: RuleDocument['from']): ReturnType<typeof peerList> {
  return peers === undefined ? [] : peerList(peers);
}

function selectorKeys(selector: Selector | undefined): readonly string[] {
  if (selector === undefined) return [];
  return [...Object.keys(selector.matchLabels ?? {}), ...(selector.matchExpressions ?? []).map(({ key }) => key)];
}
