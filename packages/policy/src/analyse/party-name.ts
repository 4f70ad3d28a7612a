import type { PartyClass } from './classifier.ts';
import type { NamedParty } from './terms.ts';
import { labelList } from './terms-text.ts';

/** One party of the class, by the name that people know. */
export function nameOf({ party, examples, hypothetical, pieces, named, hosts }: PartyClass, place = 0): NamedParty {
  switch (party.kind) {
    case 'workload': {
      const example = examples[place];
      if (example !== undefined) return { party, name: example, hypothetical: false };
      const [first] = examples;
      const name =
        first === undefined ? `a workload with ${labelList(party.labels)}` : `another workload like ${first}`;
      return { party, name, hypothetical: first === undefined ? hypothetical : true };
    }
    case 'address': {
      const [known] = named;
      const [piece] = pieces;
      const network = piece?.network;
      if (known !== undefined) return { party, name: `${known.address} (${known.names.join(', ')})`, hypothetical };
      const text =
        network === null || network === undefined ? `an outside address, e.g. ${party.address}` : network.cidr;
      return { party, name: text, hypothetical };
    }
    case 'host': {
      const host = hosts.find((name) => name !== null);
      return { party, name: host === undefined || host === null ? 'the host' : `host ${host}`, hypothetical };
    }
    case 'unknown':
      return { party, name: 'an unknown workload', hypothetical };
  }
}

/** Two parties that a connection is between: two of one class are two workloads. */
export function namesOfHop(from: PartyClass, to: PartyClass): { readonly from: NamedParty; readonly to: NamedParty } {
  return { from: nameOf(from), to: nameOf(to, from === to ? 1 : 0) };
}
