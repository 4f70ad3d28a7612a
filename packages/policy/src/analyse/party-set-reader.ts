import { peersMatch } from '../decide/decide.ts';
import { factPrefix, namespaceLabel, type Party } from '../model.ts';
import type { Peers } from '../resolve/peers.ts';
import type { PolicySet } from '../resolve/policy-set.ts';
import { addressBits, parsePrefix, type PrefixBits, prefixContains } from '../select/prefix.ts';
import { labelOf, selectorMatches } from '../select/selector.ts';
import { askedPeers, namedPrefixes, readKeys } from './classifier.ts';
import type { PartySet, PartyTerm } from './terms.ts';

/**
 * Reads sets of parties back: whether a party is in one, by the words of the set alone. `sets` are the policy sets that the analysis
 * was about, in its order.
 */
export class PartySetReader {
  readonly #sets: readonly PolicySet[];
  readonly #keys: readonly string[];
  readonly #prefixes: ReadonlySet<PrefixBits>;
  readonly #names: Peers;

  constructor(sets: readonly PolicySet[]) {
    const ends = sets.flatMap(({ invariants }) => [...invariants.values()].flatMap(({ from, to }) => [from, to]));
    const peers = askedPeers(sets, ends);
    this.#sets = sets;
    this.#keys = readKeys(sets);
    this.#prefixes = namedPrefixes(sets, peers);
    this.#names = { key: '', list: peers.filter(({ kind }) => kind === 'dns') };
  }

  has({ terms }: PartySet, party: Party): boolean {
    return terms.some((term) => this.#termHas(term, party));
  }

  #termHas(term: PartyTerm, party: Party): boolean {
    const sets = this.#sets;
    switch (term.kind) {
      case 'workloads':
        return party.kind === 'workload' && !term.except.some((one) => this.#termHas(one, party));
      case 'segment': {
        const set =
          term.as === 'both'
            ? sets.find(({ segments }) => segments.has(term.segment))
            : sets[term.as === 'before' ? 0 : 1];
        if (term.only !== null && party.kind !== kindOfMembers[term.only]) return false;
        return (
          set !== undefined && peersMatch(set, { key: '', list: [{ kind: 'segment', segment: term.segment }] }, party)
        );
      }
      case 'selector':
        return party.kind === 'workload' && selectorMatches(term.selector, party.labels);
      case 'namespace':
        return party.kind === 'workload' && labelOf(party.labels, namespaceLabel) === term.namespace;
      case 'labels':
        return (
          party.kind === 'workload' &&
          this.#keys.every((key) => labelOf(party.labels, key) === labelOf(term.labels, key))
        );
      case 'addresses':
        return party.kind === 'address';
      case 'network':
        return party.kind === 'address' && !this.#isNamed(party) && inPiece(party.address, term);
      case 'world':
        return party.kind === 'address' && !this.#isNamed(party) && !inAny(party.address, this.#prefixes);
      case 'dns': {
        const peer = { kind: 'dns', pattern: term.pattern } as const;
        return sets.some((set) => peersMatch(set, { key: '', list: [peer] }, party));
      }
      case 'named-address':
        return (
          party.kind === 'address' &&
          party.address === term.address &&
          JSON.stringify(party.names ?? []) === JSON.stringify(term.names)
        );
      case 'host':
        return party.kind === 'host' && hostName(party) === undefined;
      case 'named-host':
        return party.kind === 'host' && hostName(party) === term.host;
    }
  }

  /** Whether some document knows the address by a name of it. */
  #isNamed(party: Party): boolean {
    return this.#sets.some((set) => peersMatch(set, this.#names, party));
  }
}

const kindOfMembers = { workloads: 'workload', addresses: 'address', hosts: 'host' } as const;

function hostName({ labels = {} }: Extract<Party, { kind: 'host' }>): string | undefined {
  return labelOf(labels, `${factPrefix}host`);
}

function inPiece(
  address: string,
  { cidr, except }: { readonly cidr: string; readonly except: readonly string[] },
): boolean {
  return inAny(address, [bitsOf(cidr)]) && !inAny(address, except.map(bitsOf));
}

function inAny(address: string, prefixes: Iterable<PrefixBits>): boolean {
  const bits = addressBits(address) ?? '';
  for (const prefix of prefixes) if (prefixContains(prefix, bits)) return true;
  return false;
}

function bitsOf(cidr: string): PrefixBits {
  const parsed = parsePrefix(cidr);
  if (parsed.kind === 'refused') throw new Error(`a set of parties has the network ${cidr}: ${parsed.reason}`);
  return parsed.prefix.bits;
}
