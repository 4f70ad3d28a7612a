import { peersMatch } from '../decide/decide.ts';
import type { Labels, Party } from '../model.ts';
import type { Network, Peer } from '../resolve/peers.ts';
import type { PolicySet } from '../resolve/policy-set.ts';
import { hasHost, inNetwork, isolationSuffices, membershipOf, type Segment } from '../resolve/segment.ts';
import { addressBits, type PrefixBits } from '../select/prefix.ts';
import { labelOf, type Selector } from '../select/selector.ts';

interface Question<About> {
  readonly number: number;
  readonly holds: (about: About) => boolean;
}

/**
 * What policy sets may ask about a party: parties with the same answers are alike. Each question is found by something that a party
 * must have for a yes (a label, a key, a prefix around it), so that a party is asked few of them.
 */
export class PartyQuestions {
  readonly #byLabel = new Map<string, Question<Labels>[]>();
  readonly #byKey = new Map<string, Question<Labels>[]>();
  readonly #ofWorkloads: Question<Labels>[] = [];
  readonly #ofHosts: Question<Party>[] = [];
  readonly #ofNames: Question<Party>[] = [];
  readonly #byPrefix = new Map<PrefixBits, Question<PrefixBits>[]>();
  #asked = 0;

  askSegment(segment: Segment): void {
    const { selector, networks, hosts, isolation } = segment;
    const isMember = (labels: Labels): boolean => membershipOf(segment, labels).kind === 'member';
    if (selector !== null) this.#askWorkloads(selector, isMember);
    if (selector !== null && isolation !== null)
      this.#askWorkloads(selector, (labels) => isMember(labels) && isolationSuffices(isolation, labels));
    this.#askAddresses(networks);
    if (hosts === 'all' || hosts.length > 0)
      this.#ofHosts.push(this.#question((party) => party.kind === 'host' && hasHost(segment, party.labels ?? {})));
  }

  /** What a peer selects may hang on the set: on the labels that it gives a namespace. */
  askPeer(set: PolicySet, peer: Peer): void {
    const matches = (party: Party): boolean => peersMatch(set, { key: '', list: [peer] }, party);
    const ofWorkload = (labels: Labels): boolean => matches({ kind: 'workload', labels });
    switch (peer.kind) {
      // Segments are asked about themselves, and of everybody and of hosts as such there is nothing to ask.
      case 'any':
      case 'host':
      case 'segment':
        return;
      case 'selector':
        this.#askWorkloads(peer.selector, ofWorkload);
        return;
      case 'pods':
        this.#askWorkloads(peer.pods, ofWorkload);
        return;
      case 'hosts':
        this.#ofHosts.push(this.#question(matches));
        return;
      case 'network':
        this.#askAddresses([peer.network]);
        if (peer.inside === null) return;
        this.#askWorkloads(peer.inside, ofWorkload);
        this.#ofHosts.push(this.#question(matches));
        return;
      case 'dns':
        this.#ofNames.push(this.#question(matches));
    }
  }

  /** The questions to which the answer is yes, in some order. */
  answers(party: Party): readonly number[] {
    switch (party.kind) {
      case 'workload':
        return yes(this.#aboutLabels(party.labels), party.labels);
      case 'host':
        return yes(this.#ofHosts, party);
      case 'address': {
        const bits = addressBits(party.address) ?? '';
        const named = party.names === undefined ? [] : yes(this.#ofNames, party);
        return [...named, ...yes(this.#aboutAddress(bits), bits)];
      }
      case 'unknown':
        return [];
    }
  }

  *#aboutLabels(labels: Labels): Generator<Question<Labels>> {
    yield* this.#ofWorkloads;
    for (const key of Object.keys(labels)) {
      yield* this.#byKey.get(key) ?? [];
      yield* this.#byLabel.get(labelTerm(key, labelOf(labels, key) ?? '')) ?? [];
    }
  }

  *#aboutAddress(bits: PrefixBits): Generator<Question<PrefixBits>> {
    for (let length = 0; length <= bits.length; length++) yield* this.#byPrefix.get(bits.slice(0, length)) ?? [];
  }

  #question<About>(holds: (about: About) => boolean): Question<About> {
    return { number: this.#asked++, holds };
  }

  #askWorkloads(selector: Selector, holds: (labels: Labels) => boolean): void {
    const question = this.#question(holds);
    const [label] = Object.entries(selector.matchLabels ?? {});
    const key = selector.matchExpressions?.find(({ operator }) => operator === 'In' || operator === 'Exists')?.key;
    if (label !== undefined) append(this.#byLabel, labelTerm(...label), question);
    else if (key !== undefined) append(this.#byKey, key, question);
    else this.#ofWorkloads.push(question);
  }

  /** One question, found by each of the networks. */
  #askAddresses(networks: readonly Network[]): void {
    const question = this.#question((bits: PrefixBits) => networks.some((network) => inNetwork(network, bits)));
    for (const bits of new Set(networks.map(({ prefix }) => prefix.bits))) append(this.#byPrefix, bits, question);
  }
}

function labelTerm(key: string, value: string): string {
  return `${key}=${value}`;
}

/** A question may be found in several ways. */
function yes<About>(questions: Iterable<Question<About>>, about: About): number[] {
  const numbers = new Set<number>();
  for (const { number, holds } of questions) if (!numbers.has(number) && holds(about)) numbers.add(number);
  return [...numbers];
}

function append<Key, Item>(lists: Map<Key, Item[]>, key: Key, item: Item): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [item]);
  else list.push(item);
}
