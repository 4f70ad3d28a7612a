import { guardFact } from '../decide/lock-out-guard.ts';
import { documentLabelKeys } from '../documents/label-keys.ts';
import { type Labels, namedPortPrefix, namespaceLabel, type Party } from '../model.ts';
import type { PolicySet } from '../resolve/policy-set.ts';
import { rulesInOrder } from '../resolve/rules-in-order.ts';
import { type Peer, type Peers, peersOf } from '../resolve/peers.ts';
import type { Segment } from '../resolve/segment.ts';
import { addressBits, type PrefixBits } from '../select/prefix.ts';
import { labelOf } from '../select/selector.ts';
import type { AddressPiece } from './address-pieces.ts';
import { PartyQuestions } from './party-questions.ts';
import { examplesMax, type KnownAddress } from './universe.ts';

/** Parties that none of the policy sets tells apart: `decide` says the same about each of them. */
export interface PartyClass {
  readonly index: number;
  /** One of them. */
  readonly party: Party;
  /** The distinct labels of its workloads, cut down to the keys that documents read. */
  readonly labelSets: readonly Labels[];
  readonly pieces: readonly AddressPiece[];
  /** Addresses that are in it for their names. */
  readonly named: readonly KnownAddress[];
  /** Names of its hosts; null is a host of which nothing is known. */
  readonly hosts: readonly (string | null)[];
  /** Known workloads, and names of some of them. */
  readonly workloads: number;
  readonly examples: readonly string[];
  /** True where nothing that is known is in it. */
  readonly hypothetical: boolean;
}

/** What is known of a party beside itself. */
export interface Sighting {
  readonly workloads?: number;
  readonly examples?: readonly string[];
  readonly piece?: AddressPiece;
  readonly named?: KnownAddress;
  readonly host?: string | null;
  readonly hypothetical?: boolean;
}

interface GrowingClass extends PartyClass {
  readonly labelSets: Labels[];
  readonly pieces: AddressPiece[];
  readonly named: KnownAddress[];
  readonly hosts: (string | null)[];
  readonly examples: string[];
  workloads: number;
  hypothetical: boolean;
}

/** Sorts parties into classes, which come into being with the first party of each. */
export class Classifier {
  /** Every prefix that a segment, a rule, an end of `also` or an exception names. */
  readonly prefixes: ReadonlySet<PrefixBits>;
  /** Every peer that the rules of the sets or `also` name, each once. */
  readonly peers: readonly Peer[];
  readonly #keys: readonly string[];
  readonly #questions = new PartyQuestions();
  readonly #classes: GrowingClass[] = [];
  readonly #bySignature = new Map<string, GrowingClass>();
  readonly #byPrefix = new Map<string, GrowingClass>();
  readonly #byLabels = new Map<string, GrowingClass>();

  /** `also`: ends that are asked about beside those of the rules. */
  constructor(sets: readonly PolicySet[], also: readonly Peers[] = []) {
    this.#keys = readKeys(sets);
    this.peers = askedPeers(sets, also);
    this.prefixes = namedPrefixes(sets, this.peers);
    const asked = new Set<Segment>();
    for (const set of sets) {
      for (const segment of set.segments.values()) if (isNew(asked, segment)) this.#questions.askSegment(segment);
    }
    // What a peer selects may hang on the set: on the labels that it gives a namespace.
    for (const [index, set] of sets.entries()) {
      for (const peer of this.peers) if (index === 0 || peer.kind === 'pods') this.#questions.askPeer(set, peer);
    }
  }

  get classes(): readonly PartyClass[] {
    return this.#classes;
  }

  /** The class of the party, to which the sighting is added. */
  classify(party: Party, sighting: Sighting = {}): PartyClass {
    const found = this.#find(party);
    found.workloads += sighting.workloads ?? 0;
    for (const example of sighting.examples ?? [])
      if (found.examples.length < examplesMax) found.examples.push(example);
    if (sighting.piece !== undefined) found.pieces.push(sighting.piece);
    // A name that no document names tells an address from no other.
    if (sighting.named !== undefined && found.pieces.length === 0) found.named.push(sighting.named);
    if (sighting.host !== undefined) found.hosts.push(sighting.host);
    if (sighting.hypothetical !== true) found.hypothetical = false;
    return found;
  }

  #find(party: Party): GrowingClass {
    switch (party.kind) {
      case 'workload':
        return this.#workloadClass(party.labels);
      case 'address':
        return this.#addressClass(party);
      case 'host':
      case 'unknown':
        return this.#classOf(party, this.#signature(party));
    }
  }

  /** Addresses with one longest prefix around them and the same names are alike. */
  #addressClass(party: Extract<Party, { kind: 'address' }>): GrowingClass {
    const bits = addressBits(party.address) ?? '';
    let length = bits.length;
    while (length > 0 && !this.prefixes.has(bits.slice(0, length))) length--;
    const key = `${bits.slice(0, length)} ${party.names === undefined ? '' : JSON.stringify(party.names)}`;
    let found = this.#byPrefix.get(key);
    if (found === undefined) {
      found = this.#classOf(party, this.#signature(party));
      this.#byPrefix.set(key, found);
    }
    return found;
  }

  /** The labels that documents read, in the order of their keys. */
  projected(labels: Labels): Labels {
    return Object.fromEntries(
      this.#keys.flatMap((key) => {
        const value = labelOf(labels, key);
        return value === undefined ? [] : [[key, value]];
      }),
    );
  }

  #workloadClass(labels: Labels): GrowingClass {
    const projected = this.projected(labels);
    const key = JSON.stringify(projected);
    let found = this.#byLabels.get(key);
    if (found === undefined) {
      const party: Party = { kind: 'workload', labels: projected };
      found = this.#classOf(party, this.#signature(party));
      found.labelSets.push(projected);
      this.#byLabels.set(key, found);
    }
    return found;
  }

  #classOf(party: Party, signature: string): GrowingClass {
    let found = this.#bySignature.get(signature);
    if (found === undefined) {
      found = {
        index: this.#classes.length,
        party,
        labelSets: [],
        pieces: [],
        named: [],
        hosts: [],
        examples: [],
        workloads: 0,
        hypothetical: true,
      };
      this.#classes.push(found);
      this.#bySignature.set(signature, found);
    }
    return found;
  }

  #signature(party: Party): string {
    const answers = this.#questions.answers(party).toSorted((a, b) => a - b);
    // Named ports resolve at the workload, and its namespace is the reason of its posture: they are compared as they are.
    const compared =
      party.kind === 'workload'
        ? Object.entries(party.labels).filter(([key]) => key.startsWith(namedPortPrefix) || key === namespaceLabel)
        : [];
    // The guard of a host is said by its labels.
    const guard =
      party.kind === 'host' ? Object.values(guardFact).map((fact) => labelOf(party.labels ?? {}, fact)) : [];
    return JSON.stringify([party.kind, answers, compared, guard]);
  }
}

/** Every peer that the rules of the sets or `also` name, each once. */
export function askedPeers(sets: readonly PolicySet[], also: readonly Peers[]): readonly Peer[] {
  const ends = new Map<string, Peers>();
  for (const set of sets) {
    for (const [, rules] of rulesInOrder(set)) {
      for (const { from, to } of rules) ends.set(from.key, from).set(to.key, to);
    }
  }
  for (const end of also) ends.set(end.key, end);
  const peers = [...ends.values()].flatMap(({ list }) => list);
  return [...new Map(peers.map((peer) => [peersOf([peer]).key, peer])).values()];
}

/** Every prefix that a segment, a rule or an exception names. */
export function namedPrefixes(sets: readonly PolicySet[], peers = askedPeers(sets, [])): Set<PrefixBits> {
  const networks = [
    ...peers.flatMap((peer) => (peer.kind === 'network' ? [peer.network] : [])),
    ...sets.flatMap(({ segments }) => [...segments.values()].flatMap((segment) => segment.networks)),
  ];
  return new Set(networks.flatMap(({ prefix, except }) => [prefix, ...except]).map(({ bits }) => bits));
}

function isNew<Item>(known: Set<Item>, item: Item): boolean {
  const before = known.size;
  return known.add(item).size > before;
}

/** Every label key that a document of the sets reads, sorted. */
export function readKeys(sets: readonly PolicySet[]): readonly string[] {
  const keys = new Set<string>();
  for (const set of sets) {
    for (const documents of Object.values(set.documents)) {
      for (const document of documents.values()) for (const key of documentLabelKeys(document)) keys.add(key);
    }
  }
  return [...keys].sort();
}
