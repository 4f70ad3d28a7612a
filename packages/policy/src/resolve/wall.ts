import type { WallDocument } from '../documents/document.ts';
import { conflictPairs, type WallConfiguration, type WallRule } from '../walls/wall.ts';
import type { PolicySet } from './policy-set.ts';

const resolvedWalls = new WeakMap<WallDocument, WallRule>();

export function wallOf(document: WallDocument): WallRule {
  let wall = resolvedWalls.get(document);
  if (wall === undefined) {
    const { scope, classes = [], conflicts = [], sanitizers = [], readings } = document.spec;
    wall = {
      name: document.metadata.name,
      scope,
      readings: scope === 'transaction' ? [...(readings ?? (['roles-apart', 'never-both'] as const))].sort() : [],
      pairs: conflictPairs(conflicts, classes),
      sanitizers: [...new Set(sanitizers.map(({ segment }) => segment))].sort(),
    };
    resolvedWalls.set(document, wall);
  }
  return wall;
}

/** What the documents say about walls, in one order whatever order they came in. */
export function wallConfiguration(set: PolicySet): WallConfiguration {
  const byName = (a: string, b: string): number => (a < b ? -1 : 1);
  return {
    walls: [...set.walls.values()].sort((a, b) => byName(a.name, b.name)),
    datasets: [...set.segments.values()]
      .flatMap(({ name, dataset }) => (dataset === null ? [] : [[name, dataset] as const]))
      .sort(([a], [b]) => byName(a, b)),
  };
}
