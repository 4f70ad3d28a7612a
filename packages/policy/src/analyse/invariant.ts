import type { Action, Direction } from '../model.ts';
import type { ClaimKind } from '../documents/claim.ts';
import type { NamedParty, PartySet } from './terms.ts';
import type { PortSet } from './port-set.ts';
import type { UniverseSummary } from './universe.ts';

/**
 * What `checkInvariants(set: PolicySet, universe: Universe): InvariantReport` gives: every Invariant document of the set with its
 * argument or its witness. `invariantText(result)` says it in a few lines, `argumentText(result)` line by line (`bulkhead prove`).
 */

/** What an invariant claims: one of the fields of its `spec`. */
export type InvariantKind = ClaimKind;

/** One permitted, or for `always` one missing, connection. */
export interface WitnessHop {
  readonly from: NamedParty;
  readonly to: NamedParty;
  readonly protocol: number;
  readonly port: number;
  readonly verdict: Action;
  /** As `reasonText` gives them. */
  readonly egressReason: string;
  readonly ingressReason: string;
}

/** One line of an argument. Every connection from each of `from` to each of `to` on `ports` is decided as said: `decide` agrees. */
export type Statement =
  /** One side denies, which is enough. */
  | {
      readonly kind: 'denied';
      readonly from: PartySet;
      readonly to: PartySet;
      readonly ports: PortSet;
      readonly side: Direction;
      readonly reason: string;
    }
  | {
      readonly kind: 'allowed';
      readonly from: PartySet;
      readonly to: PartySet;
      readonly ports: PortSet;
      readonly egressReason: string;
      readonly ingressReason: string;
    }
  /** Paths from the invariant's `from` stay inside these parties: the statements after it say that nothing leads out of them. */
  | { readonly kind: 'reachable'; readonly parties: PartySet };

/**
 * `broken`: the witness is one connection, or the hops of a shortest path, of several with as few questions as can be. `not-checked`:
 * parties of more than `classesMax` classes are at the ends, or may be on a path between them; whoever applies documents must take that for broken.
 */
export type InvariantOutcome =
  | {
      readonly kind: 'holds';
      readonly argument: readonly Statement[];
      /** Statements beyond `statementsMax`. */
      readonly omitted: number;
    }
  | { readonly kind: 'broken'; readonly witness: readonly WitnessHop[] }
  | { readonly kind: 'not-checked'; readonly why: string };

export interface InvariantResult {
  readonly name: string;
  readonly invariant: InvariantKind;
  readonly outcome: InvariantOutcome;
  /** Whom the ends stand for in this universe. */
  readonly from: PartySet;
  readonly to: PartySet;
  /** At whatever is at the end `to`: named ports are each destination's own. */
  readonly ports: PortSet;
  /** What was looked at: the ends, and what an end stands for where nothing that exists satisfies it. */
  readonly checked: string;
}

export interface InvariantReport {
  readonly results: readonly InvariantResult[];
  readonly universe: UniverseSummary;
}

/** Most statements in one argument. */
export const statementsMax = 500;
