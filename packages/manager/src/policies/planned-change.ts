/** What documents an apply changes, and which workloads get another identity for it. */
import { addressFacts, documentName } from '@bulkhead/policy';
import { planIdentities } from '../inventory/identities.ts';
import { documentOf } from './set-documents.ts';
import type { Document, PolicySet } from '@bulkhead/policy';
import type { Command, DocumentKey } from '../store/commands.ts';
import type { State } from '../store/state.ts';
import type { ApplyResult, DocumentChange } from './apply-request.ts';
import type { KeyCounts } from './label-keys.ts';

export interface PlannedChange {
  readonly kind: 'planned';
  readonly after: PolicySet;
  readonly counts: KeyCounts;
  readonly changes: readonly DocumentChange[];
  readonly commands: readonly Command[];
  readonly relabelled: number;
}

export type Planned = PlannedChange | Exclude<ApplyResult, { kind: 'applied' }>;

export function appliedOf({ changes, relabelled }: PlannedChange, revision: number): ApplyResult {
  return { kind: 'applied', changes, relabelled, revision };
}

/** The changes that change something. */
export function effectOf(changes: readonly DocumentChange[]): {
  readonly set: readonly Document[];
  readonly removed: readonly DocumentKey[];
} {
  const effective = changes.filter((change) => change.change !== 'unchanged');
  return {
    set: effective.flatMap(({ after }) => (after === null ? [] : [after])),
    removed: effective.filter(({ after }) => after === null).map(({ kind, name }) => ({ kind, name })),
  };
}

export function changesOf(
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
export function splitIdentities(
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
