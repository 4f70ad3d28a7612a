import type { WallDocument } from '../documents/document.ts';
import { domainKey } from '../walls/domain.ts';
import { wallLimits } from '../walls/limits.ts';
import type { PolicySet } from './policy-set.ts';
import { type Refuse, unknownName } from './references.ts';

/** Whether walls fit the segments, and all of them together what is kept of contacts. */
export function checkWalls(set: PolicySet, kept: boolean, refuse: Refuse): void {
  const datasets = new Set([...set.segments.values()].flatMap(({ dataset }) => dataset ?? []));
  let pairs = 0;
  const domains = new Set<string>();
  for (const document of set.documents.Wall.values()) {
    if (!kept) refuse(document, 'kind', 'walls are not kept yet, see docs/walls.md, "Not wired yet"', 'no Wall');
    checkNames(document, set, datasets, refuse);
    const wall = set.walls.get(document.metadata.name)!;
    pairs += wall.pairs.length;
    if (wall.scope !== 'static') domains.add(domainKey(wall));
    if (pairs > wallLimits.pairsMax)
      refuse(document, 'spec', 'all walls together have too many pairs in conflict', `at most ${wallLimits.pairsMax}`);
    if (domains.size > wallLimits.domainsMax) {
      const allowed = `at most ${wallLimits.domainsMax} different lists over all walls, counted by scope`;
      refuse(document, 'spec.sanitizers', 'there are too many different lists of sanitizers', allowed);
    }
  }
}

function checkNames(document: WallDocument, set: PolicySet, datasets: ReadonlySet<string>, refuse: Refuse): void {
  const { classes = [], conflicts = [], sanitizers = [] } = document.spec;
  for (const [field, lists] of [
    ['classes', classes],
    ['conflicts', conflicts],
  ] as const) {
    for (const [index, names] of lists.entries()) {
      for (const [position, name] of names.entries()) {
        if (!datasets.has(name))
          refuse(document, `spec.${field}[${index}][${position}]`, ...unknownName('dataset', name, datasets));
      }
    }
  }
  for (const [index, { segment }] of sanitizers.entries()) {
    if (!set.segments.has(segment))
      refuse(document, `spec.sanitizers[${index}].segment`, ...unknownName('segment', segment, set.segments.keys()));
  }
}
