/** Bounds on everything that walls remember. A request that would exceed one is refused; a fact is recorded whatever the bounds say. */
export interface WallLimits {
  readonly wallsMax: number;
  /** Conflicting pairs over all walls, classes written out. */
  readonly pairsMax: number;
  /** Names of datasets and roles, also of those that no document has any more. */
  readonly namesMax: number;
  /** Different lists of sanitizers and scopes: each keeps components of its own. */
  readonly domainsMax: number;
  readonly subjectsMax: number;
  readonly segmentsPerSubjectMax: number;
  readonly contactsMax: number;
  /** Datasets and roles that one component may carry. */
  readonly marksMax: number;
  readonly transactionsMax: number;
  readonly bindingsMax: number;
  readonly transactionMsMax: number;
  readonly overridesMax: number;
  readonly overrideMsMax: number;
  /** Contacts that the history of one taint goes back. */
  readonly chainStepsMax: number;
  /** Datasets of which a subject remembers how it came by them; of those beyond it knows only that it did. */
  readonly historiesMax: number;
  /** Subjects of a component that are told by which way a dataset came to them; those beyond know only that it did. */
  readonly toldMax: number;
  /** Links that are followed to see whether a closed contact splits its component; beyond, it stays whole until `settle`. */
  readonly splitVisitsMax: number;
  /** Conflicts that one answer lists; an admit with more of them cannot be overridden. */
  readonly conflictsMax: number;
}

const dayMs = 24 * 60 * 60 * 1000;

export const wallLimits: WallLimits = {
  wallsMax: 1_000,
  pairsMax: 100_000,
  namesMax: 16_384,
  domainsMax: 8,
  subjectsMax: 250_000,
  segmentsPerSubjectMax: 256,
  contactsMax: 1_000_000,
  marksMax: 1_024,
  transactionsMax: 10_000,
  bindingsMax: 1_000,
  transactionMsMax: 30 * dayMs,
  overridesMax: 1_000,
  overrideMsMax: 7 * dayMs,
  chainStepsMax: 64,
  historiesMax: 32,
  toldMax: 1_000,
  splitVisitsMax: 20_000,
  conflictsMax: 8,
};
