import type { PolicyDocument, RuleDocument } from '../documents/document.ts';
import type { InvariantResult } from './invariant.ts';

/**
 * What `recommend(set: PolicySet, flows: RecordedFlows, universe: Universe, options: RecommendOptions): Recommendation` gives: the least
 * policy that allows the recorded flows that were allowed. Rules are about segments, shared labels, networks and names, not workloads.
 * Workloads in no segment are told apart by their labels, so `flows` and `universe` should have all labels that they have, not only
 * those that documents read already.
 */

export interface RecommendOptions {
  /**
   * Only connections with an end in this segment: the recommendation stands beside the documents that there are. Null for all: it
   * stands in the place of all documents with rules.
   */
  readonly segment: string | null;
  /** Name of the recommended policy; further ones are `NAME-2` and so on. */
  readonly name: string;
}

/** A rule of a recommended policy and the flows behind it. */
export interface RecommendedRule {
  readonly policy: string;
  readonly rule: string;
  readonly flows: number;
  /** Groups of flows that are alike. */
  readonly groups: number;
}

/** Observed flows that the recommendation does not allow, and why: they cannot be described, or would break an invariant. */
export interface LeftOut {
  readonly why: string;
  readonly flows: number;
  /** The rule that would allow them; null where none can. */
  readonly rule: RuleDocument | null;
}

export interface Recommendation {
  /** One policy, or several where one would have too many rules; parsed and checked. None where nothing was observed. */
  readonly documents: readonly PolicyDocument[];
  /** In the order of the documents' rules. */
  readonly rules: readonly RecommendedRule[];
  /** By number of flows, most first; `leftOutMax` are kept, `flows` says what all come to. */
  readonly leftOut: readonly LeftOut[];
  /** Invariants that are broken with the recommendation and that leaving out its rules does not mend. */
  readonly broken: readonly InvariantResult[];
  /** Allowed flows that were looked at, and those that the recommended rules describe. */
  readonly flows: number;
  readonly flowsCovered: number;
}

export const leftOutMax = 1_000;
/** Rules of one recommended policy. */
export const rulesPerPolicy = 1_000;
/** Most networks in which the addresses at one end of a rule are told; closer ones are joined until they are so few. */
export const networksPerRule = 64;
