import type { PolicyDocument } from '../documents/document.ts';
import type { InvariantResult } from './invariant.ts';
import type { PartySet } from './terms.ts';

/**
 * What `recommend(set: PolicySet, flows: RecordedFlows, universe: Universe, options: RecommendOptions): Recommendation` gives: the least
 * policy that allows the recorded flows that were allowed. Rules are about segments, shared labels, networks and names, not workloads.
 */

export interface RecommendOptions {
  /** Only connections with an end in this segment; null for all. */
  readonly segment: string | null;
  /** Name of the recommended policy. */
  readonly name: string;
}

/** A rule of the recommended policy and the flows behind it. */
export interface RecommendedRule {
  readonly rule: string;
  readonly flows: number;
  /** Distinct pairs of parties seen. */
  readonly pairs: number;
  readonly from: PartySet;
  readonly to: PartySet;
}

/** A rule that would break invariants, or flows that no rule can describe. */
export interface LeftOut {
  readonly why: string;
  readonly flows: number;
  readonly from: PartySet;
  readonly to: PartySet;
  readonly ports: readonly { readonly protocol: number; readonly from: number; readonly to: number }[];
  readonly broken: readonly InvariantResult[];
}

export interface Recommendation {
  /** One policy, or several where one would have too many rules; parsed and checked. None where nothing was observed. */
  readonly documents: readonly PolicyDocument[];
  readonly rules: readonly RecommendedRule[];
  readonly leftOut: readonly LeftOut[];
  /** Allowed flows looked at, and those that the recommendation allows. */
  readonly flows: number;
  readonly flowsCovered: number;
}
