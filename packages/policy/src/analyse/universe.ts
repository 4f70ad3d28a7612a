import type { Labels } from '../model.ts';

/**
 * Who an analysis is about. An analysis is exact over its universe and says nothing beyond it:
 *
 * - every label set in `workloads`, each standing for any number of workloads with these labels;
 * - every address outside, as seen by a workload that learnt no name for it: the networks that documents name cut all of IPv4 and
 *   IPv6 into pieces that policy cannot tell apart, and each piece is looked at;
 * - the addresses in `addresses` with the names that were learnt for them;
 * - the hosts in `hosts`, and a host without labels;
 * - hypothetical workloads: for each segment and each selector of a rule one that satisfies it with as few labels as can be, where no
 *   known workload does; and one without labels.
 *
 * Workloads whose labels are not known yet are not in it: they are always denied.
 */
export interface Universe {
  readonly workloads: readonly KnownWorkloads[];
  readonly hosts: readonly KnownHost[];
  readonly addresses: readonly KnownAddress[];
}

/** The workloads of one identity: one distinct set of labels. */
export interface KnownWorkloads {
  /** The identity's labels, facts included. More labels than documents read do no harm. */
  readonly labels: Labels;
  /** How many workloads have them. */
  readonly count: number;
  /** Names of some of them, for witnesses and texts; `examplesMax` are kept. */
  readonly examples: readonly string[];
}

export interface KnownHost {
  readonly name: string;
  readonly labels: Labels;
}

export interface KnownAddress {
  readonly address: string;
  /** Names that some workload learnt for it. */
  readonly names: readonly string[];
}

/** Most names that stand for one class in a result. */
export const examplesMax = 5;
/** Most classes that an analysis of all pairs takes on: 4,000 are 16 million pairs. Whoever has more is told so, not half an answer. */
export const classesMax = 4_000;

export const emptyUniverse: Universe = { workloads: [], hosts: [], addresses: [] };

/** What the answer covers, in numbers. */
export interface UniverseSummary {
  /** Parties that neither policy can tell apart are one class. */
  readonly classes: number;
  readonly workloads: number;
  readonly hypothetical: number;
  readonly hosts: number;
  /** Pieces of the address space, named addresses among them. */
  readonly addresses: number;
}
