import { hasHost, inNetwork, membershipOf, type Segment } from '../resolve/segment.ts';
import { namespaceSelected, type Namespaces, namespaceOf } from '../resolve/namespace.ts';
import { type Network, networkKey, type Peer, type Peers } from '../resolve/peers.ts';
import { factPrefix, type Labels } from '../model.ts';
import { type Prefix, prefixContains, prefixFromBits } from '../select/prefix.ts';
import { labelOf, type Selector, selectorMatches } from '../select/selector.ts';
import type { Universe } from '../analyse/universe.ts';

/** Most networks that are kept with a number; whoever has more starts anew. */
const networksMax = 100_000;
const hostFact = `${factPrefix}host`;
const everywhere: readonly Network[] = ['4', '6'].map((bits) => ({ prefix: prefixFromBits(bits), except: [] }));

/**
 * Those of a universe who may keep what they learn, each with a number: workloads by their labels, hosts, and networks outside. Whom a
 * peer of a rule stands for is looked up once; documents that change leave the rest as it is.
 */
export class WallPlaces {
  readonly universe: Universe;
  readonly #labels: readonly Labels[];
  readonly #byTerm = new Map<string, number[]>();
  readonly #byNamespace = new Map<string, number[]>();
  readonly #networks: Network[] = [];
  readonly #networkNumbers = new Map<string, number>();
  readonly #selected = new Map<string, readonly number[]>();
  readonly #inSegments = new WeakMap<Segment, readonly number[]>();

  constructor(universe: Universe) {
    this.universe = universe;
    const hosts = universe.hosts.map(({ name, labels }) => ({ ...labels, [hostFact]: name }));
    this.#labels = [...universe.workloads.map(({ labels }) => labels), ...hosts];
    for (const [number, { labels }] of universe.workloads.entries()) {
      for (const key of Object.keys(labels)) push(this.#byTerm, `${key}=${labelOf(labels, key)}`, number);
      const namespace = namespaceOf(labels);
      if (namespace !== null) push(this.#byNamespace, namespace, number);
    }
  }

  get workloads(): number {
    return this.universe.workloads.length;
  }

  /** Workloads and hosts: those with lower numbers than this. */
  get parties(): number {
    return this.#labels.length;
  }

  get size(): number {
    return this.#labels.length + this.#networks.length;
  }

  /** Undefined for workloads and hosts. */
  network(number: number): Network | undefined {
    return this.#networks[number - this.#labels.length];
  }

  networkNumber(network: Network): number {
    const key = networkKey(network);
    let number = this.#networkNumbers.get(key);
    if (number === undefined) {
      if (this.#networks.length >= networksMax) throw new RangeError(`more than ${networksMax} networks`);
      number = this.#labels.length + this.#networks.push(network) - 1;
      this.#networkNumbers.set(key, number);
    }
    return number;
  }

  /** Whom these stand for; null for everybody. */
  of(peers: Peers, segments: ReadonlyMap<string, Segment>, namespaces: Namespaces): readonly number[] | null {
    if (peers.list.some(({ kind }) => kind === 'any')) return null;
    const [only] = peers.list;
    if (peers.list.length === 1) return this.#ofPeer(only!, segments, namespaces);
    return [...new Set(peers.list.flatMap((peer) => this.#ofPeer(peer, segments, namespaces)))];
  }

  /** Networks that stand for whatever has no other number. */
  everywhere(): readonly number[] {
    return everywhere.map((network) => this.networkNumber(network));
  }

  inNamespace(namespace: string): readonly number[] {
    return this.#byNamespace.get(namespace) ?? [];
  }

  inSegment(segment: Segment): readonly number[] {
    let members = this.#inSegments.get(segment);
    if (members === undefined) {
      const candidates = segment.selector === null ? [] : this.#candidates(segment.selector);
      const workloads = candidates.filter((number) => membershipOf(segment, this.#labels[number]!).kind === 'member');
      const hosts = this.hosts().filter((number) => hasHost(segment, this.#labels[number]!));
      const networks = segment.networks.map((network) => this.networkNumber(network));
      members = [...workloads, ...hosts, ...networks];
      this.#inSegments.set(segment, members);
    }
    return members;
  }

  #ofPeer(peer: Peer, segments: ReadonlyMap<string, Segment>, namespaces: Namespaces): readonly number[] {
    switch (peer.kind) {
      case 'any':
        throw new Error('everybody has no list');
      case 'host':
        return this.hosts();
      case 'hosts':
        return this.hosts().filter((number) => selectorMatches(peer.selector, this.#labels[number]!));
      case 'segment':
        return this.inSegment(segments.get(peer.segment)!);
      case 'selector':
        return this.#bySelector(peer.selector);
      case 'pods': {
        const { namespaces: selection, pods } = peer;
        const selected = this.#bySelector(pods);
        return selected.filter((number) => {
          const namespace = namespaceOf(this.#labels[number]!);
          return namespace !== null && namespaceSelected(namespaces, selection, namespace);
        });
      }
      case 'network': {
        const number = this.networkNumber(peer.network);
        return peer.inside === null ? [number] : [number, ...this.#bySelector(peer.inside)];
      }
      case 'dns':
        // What a name leads to is known when it is looked up: it may be anywhere outside.
        return this.everywhere();
    }
  }

  #bySelector(selector: Selector): readonly number[] {
    const key = JSON.stringify(selector);
    let selected = this.#selected.get(key);
    if (selected === undefined) {
      selected = this.#candidates(selector).filter((number) => selectorMatches(selector, this.#labels[number]!));
      this.#selected.set(key, selected);
    }
    return selected;
  }

  /** Workloads among which those that it selects are: by the label that is demanded and that the fewest have. */
  #candidates(selector: Selector): readonly number[] {
    let best: readonly number[] | null = null;
    const consider = (terms: readonly string[]): void => {
      const found = terms.flatMap((term) => this.#byTerm.get(term) ?? []);
      if (best === null || found.length < best.length) best = found;
    };
    for (const [key, value] of Object.entries(selector.matchLabels ?? {})) consider([`${key}=${value}`]);
    for (const { key, operator, values } of selector.matchExpressions ?? [])
      if (operator === 'In') consider([...new Set(values)].map((value) => `${key}=${value}`));
    return best ?? Array.from({ length: this.workloads }, (_, number) => number);
  }

  hosts(): readonly number[] {
    return Array.from({ length: this.parties - this.workloads }, (_, index) => this.workloads + index);
  }
}

function push(lists: Map<string, number[]>, key: string, number: number): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [number]);
  else list.push(number);
}

/** Whether some address is in both. */
export function networksMeet(a: Network, b: Network): boolean {
  return inNetwork(a, b.prefix.bits) || inNetwork(b, a.prefix.bits);
}

/** Whether every address of the network is in the other one. */
export function networkInside(inner: Network, outer: Network): boolean {
  if (!prefixContains(outer.prefix.bits, inner.prefix.bits)) return false;
  return outer.except.every(
    (hole) => isApart(hole, inner.prefix) || inner.except.some(({ bits }) => prefixContains(bits, hole.bits)),
  );
}

function isApart(a: Prefix, b: Prefix): boolean {
  return !prefixContains(a.bits, b.bits) && !prefixContains(b.bits, a.bits);
}
