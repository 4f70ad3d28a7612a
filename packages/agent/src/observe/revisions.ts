/**
 * Which revision a verdict is of. The programs stamp what they tell with the last revision that is wholly in force; while the next one
 * is being written they may judge by its rules already, and a rule that came with it did not exist in the one before.
 */
import { changedPolicies, policyRules, type PolicySet, reasonText } from '@bulkhead/policy';

/** Changes that are remembered, and reasons of one: a table is walked and an event drained long before there are so many. */
export const revisionLimits = { changesMax: 256, appearedMax: 50_000 } as const;

interface Change {
  readonly from: number;
  readonly to: number;
  /** Reasons that the documents of `to` have and those of `from` have not. */
  readonly appeared: ReadonlySet<string>;
}

export class Revisions {
  #changes: readonly Change[] = [];

  /** Documents become others. `from`: the revision that the programs stamp meanwhile. */
  changed(from: number, to: number, before: PolicySet, after: PolicySet): void {
    if (before === after) return;
    const appeared = new Set<string>();
    for (const reason of appearedReasons(before, after)) {
      if (appeared.size >= revisionLimits.appearedMax) break;
      appeared.add(reason);
    }
    if (appeared.size === 0) return;
    this.#changes = [...this.#changes, { from, to, appeared }].slice(-revisionLimits.changesMax);
  }

  /** The first revision from the stamped one on that has these reasons. */
  of(stamped: number, reasons: readonly string[]): number {
    for (const { from, to, appeared } of this.#changes) {
      if (from === stamped && reasons.some((reason) => appeared.has(reason))) return to;
    }
    return stamped;
  }
}

function* appearedReasons(before: PolicySet, after: PolicySet): Generator<string> {
  for (const policy of changedPolicies(before, after)) {
    const known = new Set(policyRules(before, policy).map(({ tier, name }) => `${tier}/${name}`));
    for (const { tier, name } of policyRules(after, policy)) {
      if (!known.has(`${tier}/${name}`)) yield reasonText({ kind: 'rule', tier, policy, rule: name });
    }
  }
  for (const segment of after.segments.keys()) {
    if (!before.segments.has(segment)) yield reasonText({ kind: 'posture', segment });
  }
  for (const namespace of after.namespaces.keys()) {
    if (!before.namespaces.has(namespace)) yield reasonText({ kind: 'namespace', namespace });
  }
}
