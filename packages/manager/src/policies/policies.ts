/**
 * The documents in force as policy: taken whole or not at all, through the ledger. Follows every batch, so that the set in memory is
 * always that of the newest revision.
 */
import {
  addressFacts,
  changePolicySet,
  conditionFault,
  documentName,
  emptyPolicySet,
  labelKeyFault,
  labelValueFault,
  membershipOf,
  parseDocument,
  segmentsOf,
  segmentsOfParty,
} from '@bulkhead/policy';
import { planIdentities, relevantLabels } from '../inventory/identities.ts';
import { labelsText } from '../inventory/inventory-state.ts';
import { changedKeyCounts } from './label-keys.ts';
import { approverProblems } from './approvers.ts';
import { scopeProblems } from './scope.ts';
import { documentCount, documentOf } from './set-documents.ts';
import type { Document, Labels, PolicySet, Problem } from '@bulkhead/policy';
import type { Actor, PolicyView, Unsubscribe } from '../services.ts';
import type { KeyCounts } from './label-keys.ts';
import type { PolicyReader } from '../inventory/inventory.ts';
import type { Committer, Proposed } from '../store/committer.ts';
import type { Command, DocumentKey, StoredDocument } from '../store/commands.ts';
import type { State } from '../store/state.ts';

/** Most documents of one apply, and in force. */
export const documentsPerApplyMax = 10_000;
export const documentsMax = 200_000;
/** Largest document, bytes of its JSON: with what is around it, it must fit one frame to the agents. */
export const documentBytesMax = 2 * 1024 * 1024;
/** Label sets whose segments are remembered. */
const segmentsCacheMax = 50_000;

export interface ApplyRequest {
  readonly documents: readonly {
    readonly value: unknown;
    readonly file?: string | undefined;
    readonly index?: number | undefined;
  }[];
  readonly removed: readonly DocumentKey[];
  /** Judge and say what would change, and change nothing. */
  readonly dryRun: boolean;
  /** Nothing is taken if a document changed after this revision; without it whatever is there is changed. */
  readonly expectRevision?: number | null;
}

export interface DocumentChange {
  readonly kind: string;
  readonly name: string;
  readonly change: 'created' | 'changed' | 'unchanged' | 'removed';
  readonly before: Document | null;
  readonly after: Document | null;
}

export type ApplyResult =
  | {
      readonly kind: 'applied';
      readonly changes: readonly DocumentChange[];
      /** Workloads that get another identity, since other labels count now. */
      readonly relabelled: number;
      /** Revision that made it so; of a dry run, the present one. */
      readonly revision: number;
    }
  | { readonly kind: 'changed-meanwhile'; readonly expected: number; readonly revision: number }
  | { readonly kind: 'refused'; readonly problems: readonly Problem[] }
  | { readonly kind: 'out-of-scope'; readonly problems: readonly Problem[] };

/** What an apply would do to the documents of a revision. */
export type Preview =
  | {
      readonly kind: 'preview';
      readonly revision: number;
      readonly set: readonly Document[];
      readonly removed: readonly DocumentKey[];
    }
  | Exclude<ApplyResult, { kind: 'applied' }>;

type Planned =
  | {
      readonly kind: 'planned';
      readonly after: PolicySet;
      readonly counts: KeyCounts;
      readonly changes: readonly DocumentChange[];
      readonly commands: readonly Command[];
      readonly relabelled: number;
    }
  | Exclude<ApplyResult, { kind: 'applied' }>;

export class Policies implements PolicyReader, PolicyView {
  readonly #committer: Committer;
  readonly #confirmedRevision: () => number;
  readonly #listeners = new Set<(revision: number) => void>();
  readonly #segments = new Map<string, readonly string[]>();
  #set: PolicySet = emptyPolicySet;
  #counts: KeyCounts = new Map();
  #keys: ReadonlySet<string> = new Set();
  /** What a proposal of ours resolved, so that its own commit need not resolve it again. */
  #candidate: { readonly command: Command; readonly set: PolicySet; readonly counts: KeyCounts } | null = null;

  constructor(committer: Committer, confirmedRevision: () => number) {
    this.#committer = committer;
    this.#confirmedRevision = confirmedRevision;
    const stored = [...committer.state.documents.entries.values()].map((entry) => entry.document);
    this.#advanceStored(stored, []);
    committer.onCommit((sequence, batch) => {
      for (const command of batch.commands) {
        if (command.kind === 'documents') this.#follow(command, sequence);
      }
    });
  }

  policySet(): PolicySet {
    return this.#set;
  }

  revision(): number {
    return this.#committer.state.documents.revision;
  }

  onChange(listener: (revision: number) => void): Unsubscribe {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  labelKeys(): ReadonlySet<string> {
    return this.#keys;
  }

  segmentsOf(labels: Labels): readonly string[] {
    // Membership depends on these labels alone, and there are few sets of them.
    const text = labelsText(relevantLabels(labels, this.#keys));
    let names = this.#segments.get(text);
    if (names === undefined) {
      names = segmentsOf(this.#set, labels).map((segment) => segment.name);
      if (this.#segments.size >= segmentsCacheMax) this.#segments.clear();
      this.#segments.set(text, names);
    }
    return names;
  }

  segmentsOfHost(labels: Labels): readonly string[] {
    return segmentsOfParty(this.#set, { kind: 'host', labels }).map((segment) => segment.name);
  }

  /** Segments whose labels a workload claims and whose binding it does not prove. */
  unprovenClaims(labels: Labels): readonly { readonly segment: string; readonly why: string }[] {
    return [...this.#set.segments.values()].flatMap((segment) => {
      const membership = membershipOf(segment, labels);
      return membership.kind === 'unproven' ? [{ segment: segment.name, why: membership.why }] : [];
    });
  }

  labelFault(key: string, value: string): string | null {
    return labelKeyFault(key) ?? labelValueFault(key, value);
  }

  /** All of it or nothing. Two at once: the second is judged against what the first made. */
  async apply(actor: Actor, by: string, request: ApplyRequest): Promise<ApplyResult> {
    const parsed = parseAll(request);
    if (parsed.kind === 'refused') return parsed;
    if (request.dryRun) {
      const planned = this.#plan(this.#committer.state, actor, parsed.documents, request);
      if (planned.kind !== 'planned') return planned;
      const { changes, relabelled } = planned;
      return { kind: 'applied', changes, relabelled, revision: this.#committer.state.revision };
    }
    const { result, revision } = await this.#committer.commit(by, (state): Proposed<Planned> => {
      const planned = this.#plan(state, actor, parsed.documents, request);
      if (planned.kind !== 'planned') return { commands: [], result: planned };
      const command = planned.commands.find((other) => other.kind === 'documents');
      this.#candidate = command === undefined ? null : { command, set: planned.after, counts: planned.counts };
      return { commands: planned.commands, result: planned };
    });
    if (result.kind !== 'planned') return result;
    return { kind: 'applied', changes: result.changes, relabelled: result.relabelled, revision };
  }

  /** What an apply would set and remove, with the revision of the documents that it would change. */
  preview(actor: Actor, request: ApplyRequest): Preview {
    const parsed = parseAll(request);
    if (parsed.kind === 'refused') return parsed;
    const { state } = this.#committer;
    const planned = this.#plan(state, actor, parsed.documents, request);
    if (planned.kind !== 'planned') return planned;
    return { kind: 'preview', revision: state.documents.revision, ...effectOf(planned.changes) };
  }

  #plan(state: State, actor: Actor, documents: readonly Document[], request: ApplyRequest): Planned {
    const { removed, expectRevision: expected = null } = request;
    const { revision } = state.documents;
    if (expected !== null && revision > expected) return { kind: 'changed-meanwhile', expected, revision };
    const changes = changesOf(this.#set, documents, removed);
    const missing = changes.filter((change) => change.before === null && change.after === null);
    if (missing.length > 0) {
      const problems = missing.map(({ kind, name }) => ({
        path: '',
        reason: 'there is no such document',
        document: `${kind}/${name}`,
      }));
      return { kind: 'refused', problems };
    }
    const outside = scopeProblems(actor.scope, changes, this.#set);
    if (outside.length > 0) return { kind: 'out-of-scope', problems: outside };
    const strangers = approverProblems(documents);
    if (strangers.length > 0) return { kind: 'refused', problems: strangers };
    const resolved = changePolicySet(this.#set, { set: documents, removed }, { checkCondition: conditionFault });
    if (resolved.kind === 'refused') return resolved;
    const after = resolved.policySet;
    if (documentCount(after) > documentsMax) {
      return {
        kind: 'refused',
        problems: [{ path: '', reason: `there would be more than ${documentsMax} documents` }],
      };
    }
    const effective = changes.filter((change) => change.change !== 'unchanged');
    const counts = changedKeyCounts(this.#counts, effective);
    if (effective.length === 0) return { kind: 'planned', after, counts, changes, commands: [], relabelled: 0 };
    const split = splitIdentities(state, new Set(counts.keys()), this.#keys, this.#confirmedRevision());
    if (split === null)
      return { kind: 'refused', problems: [{ path: '', reason: 'there is no identity left for the label sets' }] };
    const { set, removed: gone } = effectOf(changes);
    const command: Command = { kind: 'documents', set: set as unknown as readonly StoredDocument[], removed: gone };
    return {
      kind: 'planned',
      after,
      counts,
      changes,
      commands: [...split.commands, command],
      relabelled: split.relabelled,
    };
  }

  /** Brings the set to what a batch made, whoever wrote it. */
  #follow(command: Extract<Command, { kind: 'documents' }>, sequence: number): void {
    const ours = this.#candidate?.command === command ? this.#candidate : null;
    this.#candidate = null;
    if (ours === null) this.#advanceStored(command.set, command.removed);
    else this.#advance(ours.set, ours.counts);
    for (const listener of this.#listeners) listener(sequence);
  }

  #advance(set: PolicySet, counts: KeyCounts): void {
    this.#set = set;
    this.#counts = counts;
    this.#keys = new Set(counts.keys());
    this.#segments.clear();
  }

  /** What the ledger holds was checked before it went in; if it does not resolve, this is another version's ledger. */
  #advanceStored(set: readonly StoredDocument[], removed: readonly DocumentKey[]): void {
    const documents = set.map((value) => {
      const parsed = parseDocument(value, {});
      if (parsed.kind === 'ok') return parsed.document;
      throw new Error(`The ledger holds a document that this version refuses: ${JSON.stringify(parsed.problems)}`);
    });
    const resolved = changePolicySet(this.#set, { set: documents, removed }, { checkCondition: () => null });
    if (resolved.kind === 'refused') {
      throw new Error(`The ledger holds documents that this version refuses: ${JSON.stringify(resolved.problems)}`);
    }
    this.#advance(resolved.policySet, changedKeyCounts(this.#counts, changesOf(this.#set, documents, removed)));
  }
}

type ParsedAll =
  | { readonly kind: 'ok'; readonly documents: readonly Document[] }
  | Extract<ApplyResult, { kind: 'refused' }>;

function parseAll(request: ApplyRequest): ParsedAll {
  if (request.documents.length + request.removed.length > documentsPerApplyMax) {
    return {
      kind: 'refused',
      problems: [{ path: '', reason: `more than ${documentsPerApplyMax} documents in one apply` }],
    };
  }
  const documents: Document[] = [];
  const problems: Problem[] = [];
  request.documents.forEach(({ value, file, index }, position) => {
    if (Buffer.byteLength(JSON.stringify(value) ?? '') > documentBytesMax) {
      const reason = `the document is larger than ${documentBytesMax} bytes; write several`;
      problems.push({
        path: '',
        reason,
        document: `document ${(index ?? position) + 1}`,
        ...(file === undefined ? {} : { file }),
      });
      return;
    }
    const parsed = parseDocument(value, { index: index ?? position, ...(file === undefined ? {} : { file }) });
    if (parsed.kind === 'ok') documents.push(parsed.document);
    else problems.push(...parsed.problems);
  });
  return problems.length > 0 ? { kind: 'refused', problems } : { kind: 'ok', documents };
}

/** The changes that change something. */
function effectOf(changes: readonly DocumentChange[]): {
  readonly set: readonly Document[];
  readonly removed: readonly DocumentKey[];
} {
  const effective = changes.filter((change) => change.change !== 'unchanged');
  return {
    set: effective.flatMap(({ after }) => (after === null ? [] : [after])),
    removed: effective.filter(({ after }) => after === null).map(({ kind, name }) => ({ kind, name })),
  };
}

function changesOf(
  set: PolicySet,
  documents: readonly Document[],
  removed: readonly DocumentKey[],
): readonly DocumentChange[] {
  const given = documents.map((after): DocumentChange => {
    const name = documentName(after);
    const before = documentOf(set, { kind: after.kind, name });
    const change =
      before === null ? 'created' : JSON.stringify(before) === JSON.stringify(after) ? 'unchanged' : 'changed';
    return { kind: after.kind, name, change, before, after };
  });
  const gone = removed.map((key): DocumentChange => {
    return { ...key, change: 'removed', before: documentOf(set, key), after: null };
  });
  return [...given, ...gone];
}

/** New identities for all workloads when other keys count; null when there are not enough numbers. */
function splitIdentities(
  state: State,
  keys: ReadonlySet<string>,
  before: ReadonlySet<string>,
  confirmedRevision: number,
) {
  if (keys.size === before.size && [...keys].every((key) => before.has(key))) return { commands: [], relabelled: 0 };
  const governed = [...state.inventory.workloads.values()].filter((entry) => entry.identity !== 0);
  const factsOf = addressFacts(keys);
  const wanted = governed.map(
    (entry) => [entry.report.workload, { ...entry.labels, ...factsOf(entry.addresses) }] as const,
  );
  const plan = planIdentities(state.inventory, wanted, keys, confirmedRevision);
  if (plan.kind === 'exhausted') return null;
  const moved = governed.flatMap(({ report, identity }) => {
    const next = plan.identityOf.get(report.workload)!;
    return next === identity ? [] : [[report.workload, next] as const];
  });
  const commands: Command[] = [];
  if (plan.allocated.length > 0) commands.push({ kind: 'identities-allocated', identities: plan.allocated });
  if (moved.length > 0) commands.push({ kind: 'identities-assigned', workloads: moved });
  return { commands, relabelled: moved.length };
}
