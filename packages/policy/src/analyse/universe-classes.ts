import { peersMatch } from '../decide/decide.ts';
import { factPrefix, type Labels, namespaceLabel, type Party } from '../model.ts';
import { namespaceSelected } from '../resolve/namespace.ts';
import type { PolicySet } from '../resolve/policy-set.ts';
import type { Peer, Peers } from '../resolve/peers.ts';
import { addressPieces } from './address-pieces.ts';
import { Classifier, type PartyClass } from './classifier.ts';
import { memberLabels, satisfyingLabels } from './hypothetical.ts';
import type { Universe, UniverseSummary } from './universe.ts';

const hostFact = `${factPrefix}host`;

/** The universe as classes, of which no set of `sets` and no end in `also` divides one; of addresses only those that are wanted. */
export interface UniverseClasses {
  readonly classes: readonly PartyClass[];
  readonly classifier: Classifier;
  readonly summary: UniverseSummary;
  /** One of each kind of addresses that were not wanted. */
  readonly omitted: readonly Party[];
}

export function universeClasses(
  sets: readonly PolicySet[],
  universe: Universe,
  also: readonly Peers[] = [],
  wanted: (party: Party) => boolean = () => true,
): UniverseClasses {
  const classifier = new Classifier(sets, also);
  for (const { labels, count, examples } of universe.workloads) {
    classifier.classify({ kind: 'workload', labels }, { workloads: count, examples });
  }
  const omitted: Party[] = [];
  for (const piece of addressPieces(classifier.prefixes)) {
    const party: Party = { kind: 'address', address: piece.example };
    if (wanted(party)) classifier.classify(party, { piece });
    else omitted.push(party);
  }
  for (const named of universe.addresses) {
    const party: Party = { kind: 'address', ...named };
    if (named.names.length === 0) continue;
    if (wanted(party)) classifier.classify(party, { named });
    else omitted.push(party);
  }
  classifier.classify({ kind: 'host' }, { host: null });
  for (const { name, labels } of universe.hosts)
    classifier.classify({ kind: 'host', labels: { ...labels, [hostFact]: name } }, { host: name });
  const hypothetical = addHypothetical(classifier, sets);
  const { classes } = classifier;
  const summary = {
    classes: classes.length,
    workloads: universe.workloads.reduce((sum, { count }) => sum + count, 0),
    hypothetical,
    hosts: universe.hosts.length,
    addresses: classes.reduce((sum, { pieces, named }) => sum + pieces.length + named.length, 0),
  };
  return { classes, classifier, summary, omitted };
}

/** Adds a workload for each segment and selector that no known workload satisfies, and one without labels. Says how many classes came. */
function addHypothetical(classifier: Classifier, sets: readonly PolicySet[]): number {
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
  for (const peer of classifier.peers) {
    if (peer.kind === 'selector' && anySet !== undefined && !satisfied(anySet, peer))
      add(satisfyingLabels(peer.selector));
    if (peer.kind !== 'pods') continue;
    for (const set of sets) if (!satisfied(set, peer)) add(podLabels(set, peer));
  }
  add(satisfyingLabels({}));
  return classifier.classes.length - known.length;
}

/** Labels of a pod that the peer selects, in the first of its namespaces; null where there is none. */
function podLabels(set: PolicySet, peer: Extract<Peer, { kind: 'pods' }>): Labels | null {
  const { namespaces: selection } = peer;
  const namespace =
    selection.kind === 'name'
      ? selection.name
      : set.namespaces.keys().find((name) => namespaceSelected(set.namespaces, selection, name));
  const labels = satisfyingLabels(peer.pods);
  return namespace === undefined || labels === null ? null : { ...labels, [namespaceLabel]: namespace };
}
