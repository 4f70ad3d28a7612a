import type { Lineage, PolicySet } from './policy-set.ts';

const stagedSets = new WeakMap<PolicySet, PolicySet>();
/** What stands for the staged form of the set that an object stands for, so that these have a lineage of their own. */
const twins = new WeakMap<object, object>();

/** The set as if its staged policies were enforced; null where none is staged. The same object at each call. */
export function stagedPolicySet(set: PolicySet): PolicySet | null {
  if (set.staged.size === 0 || set.enforcesStaged) return null;
  let staged = stagedSets.get(set);
  if (staged === undefined) {
    staged = { ...set, enforcesStaged: true, lineage: twinLineage(set.lineage) };
    stagedSets.set(set, staged);
  }
  return staged;
}

function twinLineage({ self, parent, ...changed }: Lineage): Lineage {
  return { self: twinOf(self), parent: parent === null ? null : twinOf(parent), ...changed };
}

function twinOf(self: object): object {
  let twin = twins.get(self);
  if (twin === undefined) twins.set(self, (twin = {}));
  return twin;
}
