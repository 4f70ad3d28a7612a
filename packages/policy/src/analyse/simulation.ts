import type { Action, Party } from '../model.ts';
import type { PartySet } from './terms.ts';

/** A verdict as a flow has it when it was recorded. Its place is its number in `FlowColumns.verdict`. */
export const recordedVerdicts = ['allow', 'deny', 'reject'] as const;
export type RecordedVerdict = (typeof recordedVerdicts)[number];

/**
 * Recorded flows: the parties and reasons that occur, and batches of flows that name them by their place. `createFlowTable()` makes one
 * flow by flow; whoever has columns already gives them as they are. A party has the labels of its recorded identity (labels in force
 * then), and an address the names that the source had learnt for it.
 */
export interface RecordedFlows {
  readonly parties: readonly Party[];
  readonly reasons: readonly string[];
  readonly batches: readonly FlowColumns[];
}

/**
 * Flows in columns, `length` groups: flows that are alike in everything here are one group with their number in `count`. Flows that
 * were dropped for something else than policy (`dropReason`) do not belong here.
 */
export interface FlowColumns {
  readonly length: number;
  /** Places in `RecordedFlows.parties`. */
  readonly source: Int32Array | Uint32Array;
  readonly destination: Int32Array | Uint32Array;
  readonly protocol: Uint8Array;
  /** See `Flow.port`. */
  readonly port: Uint16Array;
  /** How many flows; at least 1. */
  readonly count: Float64Array;
  /** Index into `recordedVerdicts`. */
  readonly verdict: Uint8Array;
  /** 1 where a question decided (a human, a condition, or its timeout), else 0. */
  readonly asked: Uint8Array;
  /** Places in `RecordedFlows.reasons`: the recorded attribution of each side. */
  readonly egressReason: Int32Array | Uint32Array;
  readonly ingressReason: Int32Array | Uint32Array;
}

/** What becomes of recorded flows; a flow is in exactly one of these. */
export type FlowFate =
  /** The same verdict. */
  | 'same'
  /** Another verdict. */
  | 'changed'
  /** A question decided it, and a question would again: what the answer would be nobody knows. */
  | 'undecided';

/** Flows that share everything here, counted. */
export interface SimulatedChange {
  readonly fate: 'changed' | 'undecided';
  readonly recorded: RecordedVerdict;
  readonly proposed: Action;
  readonly from: PartySet;
  readonly to: PartySet;
  readonly protocol: number;
  readonly port: number;
  readonly recordedReasons: { readonly egress: string; readonly ingress: string };
  readonly proposedReasons: { readonly egress: string; readonly ingress: string };
  readonly flows: number;
  /** One of the pairs of parties behind it. */
  readonly example: { readonly source: Party; readonly destination: Party };
}

export interface SimulationResult {
  readonly flows: number;
  readonly groups: number;
  /** Flows by what becomes of them. */
  readonly same: number;
  readonly changed: number;
  readonly undecided: number;
  /** Of `same`, those that another rule would decide. */
  readonly otherReason: number;
  /** By number of flows, most first. */
  readonly changes: readonly SimulatedChange[];
  /** Flows of `changed` and `undecided` in changes beyond `changesMax`. */
  readonly flowsOmitted: number;
  /** Distinct changes that were told apart; from `changesTrackedMax` on new ones are counted in `flowsOmitted` alone. */
  readonly changesTracked: number;
}

export const changesMax = 1_000;
export const changesTrackedMax = 200_000;

/** Made by `createSimulation(proposed: PolicySet)`; `simulate(proposed, flows)` is all of it in one call, `simulationText` for people. */
export interface Simulation {
  /** Judges more flows. Of one simulation all calls must number parties and reasons alike; the lists may grow between them. */
  add(flows: RecordedFlows): void;
  result(): SimulationResult;
}

/** One recorded flow, for `FlowTable`. */
export interface RecordedFlow {
  readonly source: Party;
  readonly destination: Party;
  readonly protocol: number;
  readonly port: number;
  readonly verdict: RecordedVerdict;
  readonly asked: boolean;
  readonly egressReason: string;
  readonly ingressReason: string;
}

/** Collects flows into groups: equal ones are counted together. Made by `createFlowTable()`. */
export interface FlowTable {
  add(flow: RecordedFlow, count?: number): void;
  flows(): RecordedFlows;
}
