import type { Labels, Party } from '../model.ts';
import type { Selector } from '../select/selector.ts';

/** One readable piece of a set of parties. The pieces of a set are alternatives. */
export type PartyTerm =
  /** Every workload of the universe, but for those. */
  | { readonly kind: 'workloads'; readonly except: readonly PartyTerm[] }
  /** The members of one kind; `only: null` where the segment has none of other kinds. */
  | {
      readonly kind: 'segment';
      readonly segment: string;
      readonly as: DefinedIn;
      readonly only: 'workloads' | 'addresses' | 'hosts' | null;
    }
  | { readonly kind: 'selector'; readonly selector: Selector }
  | { readonly kind: 'namespace'; readonly namespace: string }
  /** Workloads that have exactly these labels among the keys that documents read. */
  | { readonly kind: 'labels'; readonly labels: Labels }
  /** Every address outside. */
  | { readonly kind: 'addresses' }
  /** A network without those inside it that are told apart. */
  | { readonly kind: 'network'; readonly cidr: string; readonly except: readonly string[] }
  /** Addresses in no network that a document names. */
  | { readonly kind: 'world' }
  /** Addresses outside for which a name was learnt that the pattern covers. */
  | { readonly kind: 'dns'; readonly pattern: string }
  /** An address for which these names were learnt. */
  | { readonly kind: 'named-address'; readonly address: string; readonly names: readonly string[] }
  | { readonly kind: 'host' }
  | { readonly kind: 'named-host'; readonly host: string };

/** A segment may be another one after a change: which of the two definitions a term means. */
export type DefinedIn = 'both' | 'before' | 'after';

/** A set of parties: the union of the terms, exactly. */
export interface PartySet {
  readonly terms: readonly PartyTerm[];
  /** Known workloads in it; 0 where it has none, or hypothetical ones alone. */
  readonly workloads: number;
  /** Some of their names. */
  readonly examples: readonly string[];
  /** True where no known workload, host or address is in it. */
  readonly hypothetical: boolean;
}

/** A party with a name that people know. */
export interface NamedParty {
  readonly party: Party;
  readonly name: string;
  readonly hypothetical: boolean;
}
