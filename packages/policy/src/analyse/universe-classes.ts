import { peersMatch } from '../decide/decide.ts';
import type { Labels, Party } from '../model.ts';
import type { PolicySet } from '../resolve/policy-set.ts';
import { rulesInOrder } from '../resolve/rules-in-order.ts';
import type { Peer, Peers } from '../resolve/peers.ts';
import type { PrefixBits } from '../select/prefix.ts';
import { addressPieces } from './address-pieces.ts';
import { Classifier, type PartyClass } from './classifier.ts';
import { memberLabels, satisfyingLabels } from './hypothetical.ts';
import type { Universe, UniverseSummary } from './universe.ts';

/** The universe as classes, of which no set of `sets` and no end in `also` divides one. */
export interface UniverseClasses {
  readonly classes: readonly PartyClass[];
  readonly classifier: Classifier;
  readonly summary: UniverseSummary;
}

export function universeClasses(
  sets: readonly PolicySet[],
  universe: Universe,
  also: readonly Peers[] = [],
): UniverseClasses {
  const classifier = new Classifier(sets, also);
  for (const { labels, count, examples } of universe.workloads) {
    classifier.classify({ kind: 'workload', labels }, { workloads: count, examples });
  }
  const peers = askedPeers(sets, also);
  for (const piece of addressPieces(namedPrefixes(sets, peers))) {
    classifier.classify({ kind: 'address', address: piece.example }, { piece });
  }
  for (const named of universe.addresses) {
    if (named.names.length > 0) classifier.classify({ kind: 'address', ...named }, { named });
  }
  classifier.classify({ kind: 'host' });
  for (const { name, labels } of universe.hosts) classifier.classify(hostParty(labels), { host: name });
  const hypothetical = addHypothetical(classifier, sets, peers);
  const { classes } = classifier;
  const summary = {
    classes: classes.length,
    workloads: universe.workloads.reduce((sum, { count }) => sum + count, 0),
    hypothetical,
    hosts: universe.hosts.length,
    addresses: classes.reduce((sum, { pieces, named }) => sum + pieces.length + named.length, 0),
  };
  return { classes, classifier, summary };
}

/** Every peer that the sets or `also` name, each once. */
function askedPeers(sets: readonly PolicySet[], also: readonly Peers[]): readonly Peer[] {
  const ends = new Map<string, Peers>();
  for (const set of sets) {
    for (const [, rules] of rulesInOrder(set)) {
      for (const { from, to } of rules) ends.set(from.key, from).set(to.key, to);
    }
  }
  for (const end of also) ends.set(end.key, end);
  return [...ends.values()].flatMap(({ list }) => list);
}

/** Every prefix that a segment, a rule or an exception names. */
export function namedPrefixes(sets: readonly PolicySet[], peers = askedPeers(sets, [])): Set<PrefixBits> {
  const networks = [
    ...peers.flatMap((peer) => (peer.kind === 'network' ? [peer.network] : [])),
    ...sets.flatMap(({ segments }) => [...segments.values()].flatMap((segment) => segment.networks)),
  ];
  return new Set(networks.flatMap(({ prefix, except }) => [prefix, ...except]).map(({ bits }) => bits));
}

/** Adds a workload for each segment and selector that no known workload satisfies, and one without labels. Says how many classes came. */
function addHypothetical(classifier: Classifier, sets: readonly PolicySet[], peers: readonly Peer[]): number {
  const known = [...classifier.classes];
  const parties = known.flatMap(({ party }) => (party.kind === 'workload' ? [party] : []));
  const add = (labels: Labels | null): void => {
    if (labels !== null) classifier.classify({ kind: 'workload', labels }, { hypothetical: true });
  };
  const satisfied = (set: PolicySet, peer: Peer): boolean =>
    parties.some((party: Party) => peersMatch(set, { key: '', list: [peer] }, party));
  for (const set of sets) {
    for (const segment of set.segments.values()) {
      if (!satisfied(set, { kind: 'segment', segment: segment.name })) add(memberLabels(segment));
    }
  }
  const [anySet] = sets;
  for (const peer of peers) {
    if (peer.kind === 'selector' && anySet !== undefined && !satisfied(anySet, peer))
      add(satisfyingLabels(peer.selector));
  }
  add(satisfyingLabels({}));
  return classifier.classes.length - known.length;
}

function hostParty(labels: Labels): Party {
  return { kind: 'host', ...{ labels } };
}
