import type { Action } from '../model.ts';
import type { PartySet } from './terms.ts';
import type { PortSet } from './port-set.ts';
import type { UniverseSummary } from './universe.ts';

/**
 * What `diffPolicies(before: PolicySet, after: PolicySet, universe: Universe): PolicyDifference` gives; `differenceText` is it for people.
 */

/** `gained`: allowed where it was denied; `lost`: denied where it was allowed; `changed`: to or from a question, or the form of a denial. */
export type DifferenceKind = 'gained' | 'lost' | 'changed';

/** Connections from each of `from` to each of `to` on each of `ports` change their verdict from `before` to `after`. */
export interface DifferenceGroup {
  readonly kind: DifferenceKind;
  readonly before: Action;
  readonly after: Action;
  readonly from: PartySet;
  readonly to: PartySet;
  readonly ports: PortSet;
  /** What decided and what would, as `egress: REASON` and `ingress: REASON`; `reasonsMax` of each. */
  readonly because: { readonly before: readonly string[]; readonly after: readonly string[] };
}

/** Most groups in one difference. */
export const groupsMax = 1_000;
/** Most reasons named for one group, and most pairs of classes that are searched for them. */
export const reasonsMax = 10;
export const pairsSearchedMax = 10_000;

/**
 * `difference`: exactly what changes over the universe: no triple of (from, to, port) is in two groups, and one in none keeps its
 * verdict, unless groups were omitted, which `omitted` counts. `too-large`: more pairs
 * of classes would have to be compared than those of `classesMax` classes; where only rules differ, those of which they speak.
 */
export type PolicyDifference =
  | {
      readonly kind: 'difference';
      readonly groups: readonly DifferenceGroup[];
      /** Groups beyond `groupsMax`. */
      readonly omitted: number;
      /** Pairs of classes whose verdict changes on some port, and all pairs. */
      readonly pairsChanged: number;
      readonly pairs: number;
      /** Pairs of classes that keep all verdicts and are decided by other rules somewhere. */
      readonly pairsReasonOnly: number;
      readonly universe: UniverseSummary;
    }
  | { readonly kind: 'too-large'; readonly classes: number; readonly classesMax: number; readonly pairs: number };
