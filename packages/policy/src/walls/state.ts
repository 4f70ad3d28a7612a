import type { WallLimits } from './limits.ts';
import type { WallMoment, WallRefusal } from './commands.ts';
import { type ContactFacts, type Mark, type Member } from './contact-graph.ts';
import { type Domain } from './domain.ts';
import { Names } from './names.ts';
import { Overrides } from './overrides.ts';
import { isBound, type Transaction, Transactions } from './transactions.ts';
import { noWalls, type WallConfiguration } from './wall.ts';

/** A generation of a workload, a volume, or a store outside. */
export interface Subject {
  readonly name: string;
  readonly kind: 'workload' | 'volume' | 'store';
  /** Null for places. */
  readonly generation: { readonly workload: string; readonly epoch: number; readonly image: string } | null;
  segments: readonly string[];
  /** False for a generation that ended; it stays while contacts of it may still be open, or its writable layer may come back. */
  running: boolean;
  readonly contacts: Set<string>;
  /** Keys of transactions to which contacts of it were attributed: each has a member of its own in the graphs. */
  readonly parts: Set<string>;
}

export interface LiveContact {
  readonly facts: ContactFacts;
  /** The subjects that it joins now. */
  readonly from: Subject;
  readonly to: Subject;
  /** Key of the transaction that it is attributed to alone. */
  readonly transaction: string | null;
  readonly state: 'reserved' | 'live' | 'revoking';
}

/** Everything that walls remember. Changed by `applyWallCommand` alone. */
export interface WallState {
  readonly limits: WallLimits;
  /** Commands applied so far. */
  step: number;
  /** The latest time that any command had: a clock that is behind, or set back, brings nothing back to life. */
  nowMs: number;
  revision: number;
  configuration: WallConfiguration;
  datasetOf: ReadonlyMap<string, Mark>;
  domains: readonly Domain[];
  readonly names: Names;
  readonly subjects: Map<string, Subject>;
  /** The newest generation of each workload that is not gone. */
  readonly generations: Map<string, Subject>;
  readonly contacts: Map<string, LiveContact>;
  transactions: Transactions;
  overrides: Overrides;
}

export function emptyWallState(limits: WallLimits): WallState {
  return {
    limits,
    step: 0,
    nowMs: 0,
    revision: 0,
    configuration: noWalls,
    datasetOf: new Map(),
    domains: [],
    names: new Names(),
    subjects: new Map(),
    generations: new Map(),
    contacts: new Map(),
    transactions: new Transactions(),
    overrides: new Overrides(limits),
  };
}

export function tick(state: WallState, moment: WallMoment): void {
  state.step += 1;
  state.nowMs = Math.max(state.nowMs, moment.atMs);
  state.revision = moment.revision;
}

export function limit(name: keyof WallLimits, limits: WallLimits): WallRefusal {
  return { because: 'limit', limit: name, max: limits[name] };
}

/** The datasets that the subject is. */
export function datasetsOf(state: WallState, segments: readonly string[]): Set<Mark> {
  const datasets = new Set<Mark>();
  for (const segment of segments) {
    const mark = state.datasetOf.get(segment);
    if (mark !== undefined) datasets.add(mark);
  }
  return datasets;
}

/** A sanitizer that is itself a dataset of a conflict is none: nobody launders his own data. */
export function isExempt(state: WallState, domain: Domain, segments: readonly string[]): boolean {
  if (!segments.some((segment) => domain.sanitizers.includes(segment))) return false;
  for (const mark of datasetsOf(state, segments)) if (domain.conflicts.names(mark)) return false;
  return true;
}

/** What a subject bears by nature in the domain: its datasets, and the roles that its workload is bound in. */
export function ownMarks(state: WallState, domain: Domain, subject: Subject, part: string | null = null): Set<Mark> {
  const marks = datasetsOf(state, subject.segments);
  if (domain.scope !== 'transaction' || subject.generation === null) return marks;
  const { workload } = subject.generation;
  // A generation that is over takes no new role; it keeps what it bore.
  if (!subject.running && state.generations.get(workload) !== subject) return marks;
  for (const token of state.transactions.tokensOf(workload, domain.walls, part)) marks.add(token);
  return marks;
}

/**
 * The member that stands for the subject at one end of a contact. A connection that a keeper attributes to one transaction is a
 * contact of that part of the workload which is in this transaction and in no other.
 */
export function memberFor(state: WallState, domain: Domain, subject: Subject, key: string | null): Member {
  const part = partOf(state, domain, subject, key);
  const name = part === null ? subject.name : partName(subject, part.key);
  if (part !== null) notePart(subject, part);
  return domain.graph.member(name) ?? domain.graph.add(name, ownMarks(state, domain, subject, part?.key));
}

export function notePart(subject: Subject, transaction: Transaction): void {
  subject.parts.add(transaction.key);
  transaction.parts.add(subject.name);
}

/** The transaction that a contact's end acts in alone; null where it ended, or where its workload is not bound in it. */
export function partOf(state: WallState, domain: Domain, subject: Subject, key: string | null): Transaction | null {
  if (key === null || domain.scope !== 'transaction' || subject.generation === null) return null;
  const transaction = state.transactions.byKey(key);
  return transaction !== undefined && isBound(transaction, subject.generation.workload) ? transaction : null;
}

export function partName(subject: { readonly name: string }, key: string): string {
  return `${subject.name}#${key}`;
}

/** Forgets the part of a subject that acted in a transaction which is over, once it has no contacts. */
export function forgetPart(state: WallState, subject: Subject, key: string): void {
  let left = false;
  for (const { graph } of state.domains) {
    const member = graph.member(partName(subject, key));
    if (member === undefined) continue;
    if (member.links.size === 0) graph.remove(member, state.step);
    else left = true;
  }
  if (!left) subject.parts.delete(key);
}
