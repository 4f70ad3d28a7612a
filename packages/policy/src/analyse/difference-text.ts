import type { DifferenceGroup, PolicyDifference } from './difference.ts';
import { portSetText } from './port-set.ts';
import { partySetText } from './terms-text.ts';
import type { UniverseSummary } from './universe.ts';

/** The difference for people, some lines without an ending line break. */
export function differenceText(difference: PolicyDifference): string {
  if (difference.kind === 'too-large') {
    const { classes, classesMax, pairs } = difference;
    return `not compared: ${pairs} pairs of the ${classes} classes of parties may change, and at most those of ${classesMax} classes are taken on`;
  }
  const { groups, omitted, pairsChanged, pairs, pairsReasonOnly, universe } = difference;
  const head = groups.length === 0 ? ['no connection gets another verdict'] : groups.flatMap(groupLines);
  const more = omitted === 0 ? [] : [`and ${omitted} more groups`];
  const reasons =
    pairsReasonOnly === 0
      ? []
      : [`${pairsReasonOnly} pairs keep their verdicts and are decided by other rules somewhere`];
  return [...head, ...more, ...reasons, `${pairsChanged} of ${pairs} pairs change; ${universeText(universe)}`].join(
    '\n',
  );
}

function groupLines(group: DifferenceGroup): string[] {
  const { kind, before, after, from, to, ports, because } = group;
  return [
    `${kind}: ${partySetText(from)} -> ${partySetText(to)}: ${portSetText(ports)}`,
    `  was ${before} (${because.before.join(', ')})`,
    `  now ${after} (${because.after.join(', ')})`,
  ];
}

export function universeText({ classes, workloads, hypothetical, hosts, addresses }: UniverseSummary): string {
  return (
    `looked at: ${workloads} workloads, ${hosts} named hosts, every outside address (${addresses} pieces), ` +
    `${hypothetical} hypothetical workloads, together ${classes} classes`
  );
}
