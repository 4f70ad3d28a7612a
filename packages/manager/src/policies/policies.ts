/**
 * The documents in force as policy: taken whole or not at all, through the ledger. Follows every batch, so that the set in memory is
 * always that of the newest revision.
 */
import {
  changePolicySet,
  conditionFault,
  emptyPolicySet,
  labelKeyFault,
  labelValueFault,
  membershipOf,
  parseDocument,
  segmentsOf,
  segmentsOfParty,
} from '@bulkhead/policy';
import { relevantLabels } from '../inventory/identities.ts';
import { labelsText } from '../inventory/inventory-state.ts';
import { BusyError } from '../store/committer.ts';
import { parseAll } from './apply-request.ts';
import { approverProblems } from './approvers.ts';
import { lockOutProblems } from './lock-out.ts';
import { changedKeyCounts } from './label-keys.ts';
import { appliedOf, changesOf, effectOf, splitIdentities } from './planned-change.ts';
import { scopeProblems } from './scope.ts';
import { documentCount } from './set-documents.ts';
import type { Labels, PolicySet, Problem } from '@bulkhead/policy';
import type { Actor, PolicyView, Unsubscribe } from '../services.ts';
import type { PolicyReader } from '../inventory/inventory.ts';
import type { Committer, Proposed } from '../store/committer.ts';
import type { Command, DocumentKey, StoredDocument } from '../store/commands.ts';
import type { State } from '../store/state.ts';
import type { ApplyRequest, ApplyResult, Parsed, Preview } from './apply-request.ts';
import type { InvariantChecker } from './invariants.ts';
import type { KeyCounts } from './label-keys.ts';
import type { Planned, PlannedChange } from './planned-change.ts';

/** Most documents in force. */
export const documentsMax = 200_000;
/** How often an apply is checked again because another one was first. */
const checksMax = 20;
/** Label sets whose segments are remembered. */
const segmentsCacheMax = 50_000;

export class Policies implements PolicyReader, PolicyView {
  readonly #committer: Committer;
  readonly #confirmedRevision: () => number;
  readonly #invariants: InvariantChecker;
  readonly #listeners = new Set<(revision: number) => void>();
  readonly #segments = new Map<string, readonly string[]>();
  #set: PolicySet = emptyPolicySet;
  #counts: KeyCounts = new Map();
  #keys: ReadonlySet<string> = new Set();
  /** What a proposal of ours resolved, so that its own commit need not resolve it again. */
  #candidate: { readonly command: Command; readonly set: PolicySet; readonly counts: KeyCounts } | null = null;

  constructor(committer: Committer, confirmedRevision: () => number, invariants: InvariantChecker) {
    this.#committer = committer;
    this.#confirmedRevision = confirmedRevision;
    this.#invariants = invariants;
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
    for (let attempt = 0; attempt < checksMax; attempt += 1) {
      const planned = this.#plan(this.#committer.state, actor, parsed, request);
      if (planned.kind !== 'planned') return planned;
      const checked = await this.#checkInvariants(planned);
      if (checked.problems.length > 0) return { kind: 'refused', problems: checked.problems };
      if (request.dryRun) return appliedOf(planned, this.#committer.state.revision);
      const done = await this.#commit(actor, by, { request, parsed, checked: checked.revision });
      if (done !== 'changed') return done;
    }
    throw new BusyError();
  }

  /** `checked`: the documents' revision by which invariants were checked. `changed`: they are others by now. */
  async #commit(
    actor: Actor,
    by: string,
    change: {
      readonly request: ApplyRequest;
      readonly parsed: Parsed;
      readonly checked: number;
    },
  ): Promise<ApplyResult | 'changed'> {
    const { result, revision } = await this.#committer.commit(by, (state): Proposed<Planned | 'changed'> => {
      const planned = this.#plan(state, actor, change.parsed, change.request);
      if (planned.kind !== 'planned') return { commands: [], result: planned };
      // Only invariants need the check to be of these very documents.
      if (planned.after.invariants.size > 0 && state.documents.revision !== change.checked)
        return { commands: [], result: 'changed' };
      const command = planned.commands.find((other) => other.kind === 'documents');
      this.#candidate = command === undefined ? null : { command, set: planned.after, counts: planned.counts };
      return { commands: planned.commands, result: planned };
    });
    return result === 'changed' || result.kind !== 'planned' ? result : appliedOf(result, revision);
  }

  async #checkInvariants({ after, changes }: PlannedChange): Promise<{
    readonly revision: number;
    readonly problems: readonly Problem[];
  }> {
    const { revision } = this.#committer.state.documents;
    const effect = effectOf(changes);
    if (after.invariants.size === 0 || effect.set.length + effect.removed.length === 0)
      return { revision, problems: [] };
    return { revision, problems: await this.#invariants.problems({ revision, ...effect }, this.#keys) };
  }

  /** What an apply would set and remove, with the revision of the documents that it would change. */
  preview(actor: Actor, request: ApplyRequest): Preview {
    const parsed = parseAll(request);
    if (parsed.kind === 'refused') return parsed;
    const { state } = this.#committer;
    const planned = this.#plan(state, actor, parsed, { ...request, force: true });
    if (planned.kind !== 'planned') return planned;
    return { kind: 'preview', revision: state.documents.revision, ...effectOf(planned.changes) };
  }

  #plan(state: State, actor: Actor, { documents, files }: Parsed, request: ApplyRequest): Planned {
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
    const lockOuts = request.force === true ? [] : lockOutProblems(changes, files);
    if (lockOuts.length > 0) return { kind: 'refused', problems: lockOuts };
    const resolved = changePolicySet(
      this.#set,
      { set: documents, removed },
      { checkCondition: conditionFault, fileOf: (document) => files.get(document) },
    );
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
