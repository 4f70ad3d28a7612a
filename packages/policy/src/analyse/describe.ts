import { peersMatch } from '../decide/decide.ts';
import { namespaceLabel, type Party } from '../model.ts';
import type { PolicySet } from '../resolve/policy-set.ts';
import { rulesInOrder } from '../resolve/rules-in-order.ts';
import type { Peer } from '../resolve/peers.ts';
import { labelOf, selectorKey } from '../select/selector.ts';
import { ClassSet } from './class-set.ts';
import type { PartyClass } from './classifier.ts';
import type { DefinedIn, PartySet, PartyTerm } from './terms.ts';
import { examplesMax } from './universe.ts';

/** A term and the classes that are in it, each as a whole. */
interface Candidate {
  readonly term: PartyTerm;
  readonly classes: ClassSet;
}

type MemberKind = 'workload' | 'address' | 'host';
const memberKinds: readonly MemberKind[] = ['workload', 'address', 'host'];
const memberNames = { workload: 'workloads', address: 'addresses', host: 'hosts' } as const;

/** What is outside of a set is named instead where that takes at most so many terms, and the set itself more than so many. */
const exceptionsMax = 2;
const termsEasy = 4;

/** Finds words for sets of classes: segments first, then selectors of rules, then labels; what is left is named class by class. */
export class Describer {
  readonly #classes: readonly PartyClass[];
  readonly #omitted: readonly Party[];
  readonly #candidates: readonly Candidate[];
  readonly #workloads: ClassSet;
  readonly #addresses: ClassSet;
  readonly #described = new Map<string, PartySet>();

  /** One set, or the one before and the one after a change. `omitted`: addresses that are in no class, so that no term may mean them. */
  constructor(sets: readonly PolicySet[], classes: readonly PartyClass[], omitted: readonly Party[] = []) {
    this.#classes = classes;
    this.#omitted = omitted;
    this.#workloads = this.#where(({ party }) => party.kind === 'workload');
    this.#addresses = this.#where(({ party }) => party.kind === 'address');
    this.#candidates = [
      ...this.#segmentCandidates(sets),
      ...this.#peerCandidates(sets),
      ...this.#labelCandidates(),
    ].filter(({ classes }) => classes.size > 0);
  }

  describe(set: ClassSet): PartySet {
    const key = set.key();
    let described = this.#described.get(key);
    if (described === undefined) {
      described = { terms: this.#terms(set), ...this.#known(set) };
      this.#described.set(key, described);
    }
    return described;
  }

  #known(set: ClassSet): Omit<PartySet, 'terms'> {
    const classes = [...set].map((index) => this.#classes[index]!);
    return {
      workloads: classes.reduce((sum, { workloads }) => sum + workloads, 0),
      examples: classes.flatMap(({ examples }) => examples.slice(0, 1)).slice(0, examplesMax),
      hypothetical: classes.every(({ hypothetical }) => hypothetical),
    };
  }

  #terms(set: ClassSet): PartyTerm[] {
    const [workloads, addresses] = [set.shared(this.#workloads), set.shared(this.#addresses)];
    const rest = set.without(this.#workloads).without(this.#addresses);
    return [
      ...this.#workloadTerms(workloads),
      ...(addresses.size > 0 && addresses.size === this.#addresses.size && this.#omitted.length === 0
        ? [{ kind: 'addresses' } as const]
        : this.#covering(addresses)),
      ...this.#covering(rest),
    ];
  }

  #workloadTerms(set: ClassSet): PartyTerm[] {
    if (set.size === 0) return [];
    const outside = this.#workloads.without(set);
    if (outside.size === 0) return [{ kind: 'workloads', except: [] }];
    const terms = this.#covering(set);
    if (terms.length <= termsEasy) return terms;
    const except = this.#covering(outside);
    return except.length <= exceptionsMax ? [{ kind: 'workloads', except }] : terms;
  }

  /** The candidate inside the set that covers most of what is not covered yet, again and again (greedy set cover). */
  #covering(set: ClassSet): PartyTerm[] {
    const terms: PartyTerm[] = [];
    const inside = this.#candidates.filter(({ classes }) => classes.isInside(set));
    let rest = set;
    while (rest.size > 0) {
      let best: Candidate | null = null;
      let bestCount = 0;
      for (const candidate of inside) {
        const count = candidate.classes.sizeShared(rest);
        if (count > bestCount) [best, bestCount] = [candidate, count];
      }
      if (best === null) break;
      terms.push(best.term);
      rest = rest.without(best.classes);
    }
    return [...terms, ...[...rest].flatMap((index) => ownTerms(this.#classes[index]!))];
  }

  #where(holds: (candidate: PartyClass) => boolean): ClassSet {
    const members = this.#classes.filter(holds).map(({ index }) => index);
    return ClassSet.of(this.#classes.length, members);
  }

  #matching(set: PolicySet, peer: Peer, kind: MemberKind): ClassSet {
    const peers = { key: '', list: [peer] };
    if (kind === 'address' && this.#meansOmitted(set, peer)) return new ClassSet(this.#classes.length);
    return this.#where(({ party }) => party.kind === kind && peersMatch(set, peers, party));
  }

  #meansOmitted(set: PolicySet, peer: Peer): boolean {
    if (peer.kind === 'segment' && set.segments.get(peer.segment)?.networks.length === 0) return false;
    return this.#omitted.some((party) => peersMatch(set, { key: '', list: [peer] }, party));
  }

  /** A segment's workloads, addresses and hosts apart, each in one definition or, where they differ, in both. */
  *#segmentCandidates(sets: readonly PolicySet[]): Generator<Candidate> {
    const names = new Set(sets.flatMap(({ segments }) => [...segments.keys()]));
    for (const name of [...names].sort()) {
      const parts = memberKinds.map((kind) => ({ kind, definitions: this.#definitions(sets, name, kind) }));
      const inUse = parts.filter(({ definitions }) => definitions.some(({ classes }) => classes.size > 0));
      const withOmitted = sets.some((set) => set.segments.has(name) && this.#meansOmitted(set, segmentPeer(name)));
      for (const { kind, definitions } of inUse) {
        const only = inUse.length === 1 && !withOmitted ? null : memberNames[kind];
        const agree = new Set(definitions.map(({ classes }) => classes.key())).size === 1;
        for (const { index, classes } of agree ? definitions.slice(0, 1) : definitions) {
          const as: DefinedIn = agree ? 'both' : index === 0 ? 'before' : 'after';
          yield { term: { kind: 'segment', segment: name, as, only }, classes };
        }
      }
    }
  }

  #definitions(sets: readonly PolicySet[], segment: string, kind: MemberKind): { index: number; classes: ClassSet }[] {
    return sets.flatMap((set, index) =>
      set.segments.has(segment) ? [{ index, classes: this.#matching(set, segmentPeer(segment), kind) }] : [],
    );
  }

  *#peerCandidates(sets: readonly PolicySet[]): Generator<Candidate> {
    const seen = new Set<string>();
    for (const set of sets) {
      for (const peer of rulesInOrder(set).flatMap(([, rules]) =>
        rules.flatMap(({ from, to }) => [...from.list, ...to.list]),
      )) {
        if (peer.kind === 'dns' && !seen.has(peer.pattern)) {
          seen.add(peer.pattern);
          yield { term: { kind: 'dns', pattern: peer.pattern }, classes: this.#matching(set, peer, 'address') };
        }
        if (peer.kind !== 'selector' || seen.has(selectorKey(peer.selector))) continue;
        seen.add(selectorKey(peer.selector));
        yield { term: { kind: 'selector', selector: peer.selector }, classes: this.#matching(set, peer, 'workload') };
      }
    }
  }

  /** Single labels, where no class has members with it and without. */
  *#labelCandidates(): Generator<Candidate> {
    const terms = new Map<string, { key: string; value: string; classes: ClassSet; divided: boolean }>();
    for (const { index, labelSets } of this.#classes) {
      const counts = new Map<string, { key: string; value: string; count: number }>();
      for (const labels of labelSets) {
        for (const key of Object.keys(labels)) {
          const value = labelOf(labels, key)!;
          const id = `${key}=${value}`;
          const count = (counts.get(id)?.count ?? 0) + 1;
          counts.set(id, { key, value, count });
        }
      }
      for (const [id, { key, value, count }] of counts) {
        const term = terms.get(id) ?? { key, value, classes: new ClassSet(this.#classes.length), divided: false };
        term.classes.add(index);
        if (count < labelSets.length) term.divided = true;
        terms.set(id, term);
      }
    }
    for (const { key, value, classes, divided } of terms.values()) {
      if (divided) continue;
      const term: PartyTerm =
        key === namespaceLabel
          ? { kind: 'namespace', namespace: value }
          : { kind: 'selector', selector: { matchLabels: { [key]: value } } };
      yield { term, classes };
    }
  }
}

function segmentPeer(segment: string): Peer {
  return { kind: 'segment', segment };
}

/** A class by what it consists of. */
function ownTerms({ labelSets, pieces, named, hosts, party }: PartyClass): PartyTerm[] {
  switch (party.kind) {
    case 'workload':
      return labelSets.map((labels) => ({ kind: 'labels', labels }));
    case 'address':
      return [
        ...pieces.map(({ network }) =>
          network === null ? ({ kind: 'world' } as const) : ({ kind: 'network', ...network } as const),
        ),
        ...named.map(({ address, names }) => ({ kind: 'named-address', address, names }) as const),
      ];
    case 'host':
      return hosts.map((host) => (host === null ? { kind: 'host' } : { kind: 'named-host', host }));
    case 'unknown':
      return [];
  }
}
