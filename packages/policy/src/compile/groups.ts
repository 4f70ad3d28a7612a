/** The groups that the peers of rules and the segments stand for. */
import { namespaceLabel, type Labels } from '../model.ts';
import { namespaceOf } from '../resolve/namespace.ts';
import { namespaceSelectionKey, type Network, networkKey, type Peer, type Peers } from '../resolve/peers.ts';
import { hasHost, membershipOf, type Segment } from '../resolve/segment.ts';
import { type Selector, selectorKey, selectorMatches } from '../select/selector.ts';
import { FewSet } from './few-set.ts';
import type { NetworkGroup, Networks } from './networks.ts';
import type { PeerSet } from './peer-set.ts';
import type { Group, PeerEntry } from './peer.ts';
import type { Selection, SelectionGroup, Selections, WorkloadSelection } from './selections.ts';
import { demandedTerms, type Term } from './term-index.ts';

/** Addresses that were learnt under a name that the pattern covers. */
export interface NameGroup extends Group {
  readonly pattern: string;
}

export class Groups {
  readonly #selections: Selections;
  readonly #networks: Networks;
  readonly #hostGroup: Group;
  readonly #networkGroups = new Map<string, NetworkGroup>();
  readonly #nameGroups = new Map<string, NameGroup>();
  readonly #nextNumber: () => number;
  /** Raised whenever patterns of names came or went. */
  patternsVersion = 0;

  constructor(parts: { selections: Selections; networks: Networks; hostGroup: Group; nextNumber: () => number }) {
    this.#selections = parts.selections;
    this.#networks = parts.networks;
    this.#hostGroup = parts.hostGroup;
    this.#nextNumber = parts.nextNumber;
  }

  names(): Iterable<NameGroup> {
    return this.#nameGroups.values();
  }

  /** The group of the segment's workloads and hosts, with what the segment says now. */
  setSegment(segment: Segment): SelectionGroup {
    const { name, selector, networks } = segment;
    const group = this.#selections.setGroup(segmentKey(name), {
      workloads:
        selector === null
          ? null
          : {
              namespaces: null,
              terms: () => demandedTerms(selector),
              matches: (labels) => membershipOf(segment, labels).kind === 'member',
            },
      host: (labels) => hasHost(segment, labels),
    });
    this.#networks.redefine(this.#networkGroup(segmentNetworksKey(name), []), networks);
    return group;
  }

  segment(name: string): SelectionGroup | undefined {
    return this.#selections.group(segmentKey(name));
  }

  /** The segment's rules are gone already. */
  removeSegment(name: string): void {
    const selection = this.#selections.group(segmentKey(name));
    if (selection !== undefined) this.#selections.removeGroup(selection);
    const networks = this.#networkGroups.get(segmentNetworksKey(name));
    if (networks === undefined) return;
    this.#networks.deactivate(networks);
    this.#networkGroups.delete(networks.key);
  }

  /** The groups whose union the peers are. */
  of({ key, list }: Peers): readonly Group[] {
    const [only] = list;
    // The key of a single peer is that of the whole, and costs as much as the rest to make.
    if (list.length === 1 && only?.kind === 'pods') return [this.#selection(key, podSelection(only))];
    return [...new Set(list.flatMap((peer) => this.#groupsOf(peer)))];
  }

  #groupsOf(peer: Peer): readonly Group[] {
    switch (peer.kind) {
      case 'any':
        return [];
      case 'host':
        return [this.#hostGroup];
      case 'hosts':
        return [
          this.#selection(`hosts:${selectorKey(peer.selector)}`, {
            workloads: null,
            host: (labels) => selectorMatches(peer.selector, labels),
          }),
        ];
      case 'segment':
        return this.#segmentGroups(peer.segment);
      case 'network':
        return this.#networkAndInside(peer.network, peer.inside);
      case 'selector':
        return [this.#selection(`selector:${selectorKey(peer.selector)}`, workloadsOf(peer.selector))];
      case 'pods': {
        const key = `pods:${namespaceSelectionKey(peer.namespaces)}/${selectorKey(peer.pods)}`;
        return [this.#selection(key, podSelection(peer))];
      }
      case 'dns':
        return [this.#nameGroup(peer.pattern)];
    }
  }

  #selection(key: string, selection: Selection): SelectionGroup {
    return this.#selections.group(key) ?? this.#selections.setGroup(key, selection);
  }

  #segmentGroups(name: string): readonly Group[] {
    const selection = this.#selections.group(segmentKey(name));
    const networks = this.#networkGroups.get(segmentNetworksKey(name));
    if (selection === undefined || networks === undefined)
      throw new Error(`a rule names the segment ${name}, which was not set`);
    return [selection, networks];
  }

  #networkAndInside(network: Network, inside: Selector | null): readonly Group[] {
    const group = this.#networkGroup(`network:${networkKey(network)}`, [network]);
    if (inside === null) return [group];
    const host = (labels: Labels): boolean => selectorMatches(inside, labels);
    const key = `inside:${selectorKey(inside)}`;
    return [group, this.#selection(key, { ...workloadsOf(inside), host })];
  }

  #networkGroup(key: string, networks: readonly Network[]): NetworkGroup {
    let group = this.#networkGroups.get(key);
    if (group === undefined) {
      const [members, peerSets] = [new FewSet<PeerEntry>(), new FewSet<PeerSet>()];
      group = { key, number: this.#nextNumber(), networks, active: false, members, peerSets };
      this.#networkGroups.set(key, group);
    }
    return group;
  }

  #nameGroup(pattern: string): NameGroup {
    let group = this.#nameGroups.get(pattern);
    if (group === undefined) {
      const [members, peerSets] = [new FewSet<PeerEntry>(), new FewSet<PeerSet>()];
      group = { key: `dns:${pattern}`, number: this.#nextNumber(), pattern, members, peerSets };
      this.#nameGroups.set(pattern, group);
      this.patternsVersion++;
    }
    return group;
  }

  /** To be called for a group that a peer set has no more, or that nobody may look at any more. */
  sweep(group: Group): void {
    const isUnused = group.peerSets.size === 0;
    if (isNetworkGroup(group)) {
      if (![...group.peerSets].some(({ watchers }) => watchers > 0)) this.#networks.deactivate(group);
      if (isUnused && !group.key.startsWith(segmentNetworksPrefix)) this.#networkGroups.delete(group.key);
    } else if (isNameGroup(group)) {
      if (isUnused && this.#nameGroups.delete(group.pattern)) this.patternsVersion++;
    } else if (isUnused && group !== this.#hostGroup && !isSegmentGroup(group)) {
      if (this.#selections.group(group.key) === group) this.#selections.removeGroup(group as SelectionGroup);
    }
  }

  /** Somebody looks at the group: its networks become peers. */
  activate(group: Group): void {
    if (isNetworkGroup(group)) this.#networks.activate(group);
  }
}

function workloadsOf(selector: Selector): Selection {
  return { workloads: new LabelSelection(selector), host: null };
}

function podSelection(peer: PodPeer): Selection {
  return { workloads: new PodSelection(peer), host: null };
}

/** Workloads by their labels alone. */
class LabelSelection implements WorkloadSelection {
  readonly namespaces = null;
  readonly #selector: Selector;

  constructor(selector: Selector) {
    this.#selector = selector;
  }

  terms(): readonly (readonly Term[])[] {
    return demandedTerms(this.#selector);
  }

  matches(labels: Labels): boolean {
    return selectorMatches(this.#selector, labels);
  }
}

type PodPeer = Extract<Peer, { readonly kind: 'pods' }>;

/** A namespace by its name is a label like any other. */
class PodSelection implements WorkloadSelection {
  readonly #peer: PodPeer;

  constructor(peer: PodPeer) {
    this.#peer = peer;
  }

  get namespaces(): Selector | null {
    const { namespaces } = this.#peer;
    return namespaces.kind === 'selector' ? namespaces.selector : null;
  }

  terms(): readonly (readonly Term[])[] {
    const { namespaces, pods } = this.#peer;
    const terms = demandedTerms(pods);
    return namespaces.kind === 'name' ? [[`${namespaceLabel}=${namespaces.name}`], ...terms] : terms;
  }

  matches(labels: Labels): boolean {
    const { namespaces, pods } = this.#peer;
    return (namespaces.kind !== 'name' || namespaceOf(labels) === namespaces.name) && selectorMatches(pods, labels);
  }
}

const none: readonly string[] = [];
const segmentPrefix = 'segment:';
const segmentNetworksPrefix = 'segment-networks:';
const segmentKey = (name: string): string => `${segmentPrefix}${name}`;
const segmentNetworksKey = (name: string): string => `${segmentNetworksPrefix}${name}`;

/** The names of the segments that the workload or host of the entry is a member of. */
export function segmentNamesOf(entry: PeerEntry): readonly string[] {
  let names: string[] | null = null;
  for (const { key } of entry.groups)
    if (key.startsWith(segmentPrefix)) (names ??= []).push(key.slice(segmentPrefix.length));
  return names?.sort() ?? none;
}

export function isSegmentGroup(group: Group): boolean {
  return group.key.startsWith(segmentPrefix);
}

function isNetworkGroup(group: Group): group is NetworkGroup {
  return 'networks' in group;
}

function isNameGroup(group: Group): group is NameGroup {
  return 'pattern' in group;
}
