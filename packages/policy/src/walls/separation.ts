import { searchPath, type WitnessStep } from './witness-path.ts';
import { permittedParts, type PermittedParts } from './permitted-parts.ts';
import type { PolicySet } from '../resolve/policy-set.ts';
import type { NamePair, WallConfiguration, WallRule } from './wall.ts';
import type { WallPlaces } from './wall-places.ts';

/** Two datasets of a wall that permitted connections join. */
export interface SeparationBreach {
  readonly wall: string;
  readonly between: NamePair;
  /**
   * A shortest path, its ends members of the two; empty where one workload is both. Null where there were too many parties to look
   * for one: that the two are apart cannot be shown.
   */
  readonly path: readonly WitnessStep[] | null;
}

/** Most breaches that one answer tells; whoever has more mends these first. */
export const separationBreachesMax = 100;
/** Most distinct label sets in one part for which a path is looked for; each is compared with each. */
export const witnessWorkloadsMax = 1_000;

/**
 * The breaches of walls with scope `static`: conflicting datasets whose members are joined by permitted connections, in whichever
 * direction, through whatever third party of the universe that is no sanitizer of the wall. First by parts, which is coarse and fast;
 * only where a part has both, by looking at each connection in it.
 */
export function separationBreaches(
  places: WallPlaces,
  set: PolicySet,
  { walls, datasets }: WallConfiguration,
): readonly SeparationBreach[] {
  const breaches: SeparationBreach[] = [];
  const byDataset = Map.groupBy(datasets, ([, dataset]) => dataset);
  const segmentsOf = (dataset: string): readonly string[] => (byDataset.get(dataset) ?? []).map(([segment]) => segment);
  const groups = Map.groupBy(
    walls.filter(({ scope }) => scope === 'static'),
    ({ sanitizers }) => sanitizers.join(' '),
  );
  for (const group of groups.values()) {
    const [{ sanitizers }] = group as [WallRule];
    const kept = [...new Set(group.flatMap(({ pairs }) => pairs.flat()))].flatMap(segmentsOf);
    const parts = permittedParts(places, set, { sanitizers, kept, together: [] });
    const suspects = suspectPairs(group, parts, segmentsOf);
    for (const { wall, between, joined } of suspects) {
      if (breaches.length >= separationBreachesMax) return breaches;
      const members = membersOf(places, parts, joined);
      if (members.length > witnessWorkloadsMax) {
        breaches.push({ wall, between, path: null });
        continue;
      }
      const ends = between.map(segmentsOf) as [readonly string[], readonly string[]];
      const path = searchPath(set, places, members, { ends, sanitizers, kept });
      if (path !== null) breaches.push({ wall, between, path });
    }
  }
  return breaches;
}

interface Suspect {
  readonly wall: string;
  readonly between: NamePair;
  /** Parts that have members of both. */
  readonly joined: ReadonlySet<number>;
}

function* suspectPairs(
  walls: readonly WallRule[],
  parts: PermittedParts,
  segmentsOf: (dataset: string) => readonly string[],
): Generator<Suspect> {
  const known = new Map<string, ReadonlySet<number>>();
  const partsOf = (dataset: string): ReadonlySet<number> => {
    let found = known.get(dataset);
    if (found === undefined) {
      found = new Set(parts.placesOf(segmentsOf(dataset)).map((place) => parts.part(place)!));
      known.set(dataset, found);
    }
    return found;
  };
  for (const { name, pairs } of walls) {
    for (const between of pairs) {
      const joined = partsOf(between[0]).intersection(partsOf(between[1]));
      if (joined.size > 0) yield { wall: name, between, joined };
    }
  }
}

function membersOf(places: WallPlaces, parts: PermittedParts, joined: ReadonlySet<number>): readonly number[] {
  const members: number[] = [];
  for (let place = 0; place < places.parties; place++) {
    const part = parts.part(place);
    if (part !== null && joined.has(part)) members.push(place);
  }
  return members;
}
