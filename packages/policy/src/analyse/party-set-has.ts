import { peersMatch } from '../decide/decide.ts';
import { factPrefix, namespaceLabel, type Party } from '../model.ts';
import type { PolicySet } from '../resolve/policy-set.ts';
import { addressBits, parsePrefix, type PrefixBits, prefixContains } from '../select/prefix.ts';
import { labelOf, selectorMatches } from '../select/selector.ts';
import { askedPeers, namedPrefixes, readKeys } from './classifier.ts';
import type { PartySet, PartyTerm } from './terms.ts';

/**
 * Reads a set of parties back: whether the party is in it, by the words of the set alone. `sets` are those that the analysis was
 * about, in its order.
 */
export function partySetHas(sets: readonly PolicySet[], { terms }: PartySet, party: Party): boolean {
  return terms.some((term) => termHas(sets, term, party));
}

function termHas(sets: readonly PolicySet[], term: PartyTerm, party: Party): boolean {
  switch (term.kind) {
    case 'workloads':
      return party.kind === 'workload' && !term.except.some((one) => termHas(sets, one, party));
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
        readKeys(sets).every((key) => labelOf(party.labels, key) === labelOf(term.labels, key))
      );
    case 'addresses':
      return party.kind === 'address';
    case 'network':
      return party.kind === 'address' && !isNamed(sets, party) && inPiece(party.address, term);
    case 'world':
      return party.kind === 'address' && !isNamed(sets, party) && !inAny(party.address, namedPrefixes(sets));
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

const kindOfMembers = { workloads: 'workload', addresses: 'address', hosts: 'host' } as const;

function hostName({ labels = {} }: Extract<Party, { kind: 'host' }>): string | undefined {
  return labelOf(labels, `${factPrefix}host`);
}

/** Whether some rule knows the address by a name of it. */
function isNamed(sets: readonly PolicySet[], party: Party): boolean {
  const dns = askedPeers(sets, []).filter(({ kind }) => kind === 'dns');
  return sets.some((set) => peersMatch(set, { key: '', list: dns }, party));
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
