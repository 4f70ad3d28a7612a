import { peersMatch } from '../decide/decide.ts';
import { sortedJson } from '../documents/canonical.ts';
import { namespaceOf } from '../resolve/namespace.ts';
import type { PolicySet } from '../resolve/policy-set.ts';
import { type ResolvedRule, sameRule } from '../resolve/rule.ts';
import { rulesInOrder } from '../resolve/rules-in-order.ts';
import { ClassSet } from './class-set.ts';
import type { PartyClass } from './classifier.ts';

/** For each class of a source the classes of destinations about which the two sets may say something else; absent where about none. */
export type ChangedPairs = ReadonlyMap<number, ClassSet>;

/**
 * The pairs of which some rule that is not the same in both sets speaks, and those with an end in a namespace that is not the same:
 * what a namespace is labelled with counts for its own workloads alone. Null where it may be any pair: where segments or tiers differ.
 */
export function changedPairs(before: PolicySet, after: PolicySet, classes: readonly PartyClass[]): ChangedPairs | null {
  if (groundKey(before) !== groundKey(after)) return null;
  const pairs = new Map<number, ClassSet>();
  const ends = new Map<string, ClassSet>();
  const end = (set: PolicySet, peers: ResolvedRule['from']): ClassSet => {
    let found = ends.get(peers.key);
    if (found === undefined) {
      const matching = classes.filter(({ party }) => peersMatch(set, peers, party));
      found = ClassSet.of(
        classes.length,
        matching.map(({ index }) => index),
      );
      ends.set(peers.key, found);
    }
    return found;
  };
  for (const { set, rule } of changedRules(before, after)) {
    const to = end(set, rule.to);
    for (const from of end(set, rule.from)) pairs.set(from, pairs.get(from)?.joined(to) ?? to);
  }
  const moved = classesOfChangedNamespaces(before, after, classes);
  if (moved.size === 0) return pairs;
  const everybody = ClassSet.of(classes.length, classes.keys());
  for (const from of classes.keys())
    pairs.set(from, moved.has(from) ? everybody : (pairs.get(from)?.joined(moved) ?? moved));
  return pairs;
}

/** Everything of a set that verdicts hang on beside its rules and the labels of namespaces. */
function groundKey({ segments, tiers }: PolicySet): string {
  const sorted = (entries: ReadonlyMap<string, unknown>): unknown[] =>
    [...entries].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, value]) => [name, value]);
  return sortedJson([sorted(segments), tiers]);
}

function classesOfChangedNamespaces(before: PolicySet, after: PolicySet, classes: readonly PartyClass[]): ClassSet {
  const labels = ({ namespaces }: PolicySet, name: string): string => sortedJson(namespaces.get(name) ?? null);
  const changed = new Set(
    [...before.namespaces.keys(), ...after.namespaces.keys()].filter(
      (name) => labels(before, name) !== labels(after, name),
    ),
  );
  const isMoved = ({ party }: PartyClass): boolean =>
    party.kind === 'workload' && changed.has(namespaceOf(party.labels) ?? '');
  return ClassSet.of(
    classes.length,
    classes.filter(isMoved).map(({ index }) => index),
  );
}

function changedRules(before: PolicySet, after: PolicySet): readonly { set: PolicySet; rule: ResolvedRule }[] {
  const [old, now] = [rulesByPlace(before), rulesByPlace(after)];
  const isIn = (rules: ReadonlyMap<string, ResolvedRule>, place: string, rule: ResolvedRule): boolean => {
    const other = rules.get(place);
    return other !== undefined && sameRule(other, rule);
  };
  return [
    ...[...old].filter(([place, rule]) => !isIn(now, place, rule)).map(([, rule]) => ({ set: before, rule })),
    ...[...now].filter(([place, rule]) => !isIn(old, place, rule)).map(([, rule]) => ({ set: after, rule })),
  ];
}

function rulesByPlace(set: PolicySet): ReadonlyMap<string, ResolvedRule> {
  const rules = rulesInOrder(set).flatMap(([, own]) => own);
  return new Map(
    rules.map((rule) => [JSON.stringify([rule.policy, rule.block, rule.index, rule.name, rule.egress]), rule]),
  );
}
