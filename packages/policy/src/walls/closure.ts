import type { PolicySet } from '../resolve/policy-set.ts';
import { inNetwork } from '../resolve/segment.ts';
import type { Prefix } from '../select/prefix.ts';
import { domainKey } from './domain.ts';
import { permittedParts } from './permitted-parts.ts';
import type { WallConfiguration, WallRule } from './wall.ts';
import type { WallPlaces } from './wall-places.ts';

/**
 * Which connections a wall may have something to say about: of a wall over history those between two who can both reach a dataset of
 * it over permitted connections, of one over transactions those between two who can both reach a workload that is bound in one that
 * is open. Only these are asked about; whoever can reach none stays with what the kernel knows.
 */
export interface WallClosure {
  /**
   * For each workload of the universe the number of its class. Classes say the same to `asks`, so that the compiler needs to look at
   * pairs of classes only; 0 is the class of those that no wall concerns.
   */
  readonly classOfWorkload: readonly number[];
  readonly classes: number;
  /** Whether a connection between two of these classes needs a question. Symmetric. */
  asks(a: number, b: number): boolean;
  /** The class of the addresses of a prefix that no network of the documents divides. */
  classOfNetwork(prefix: Prefix): number;
}

/** What the documents do not say; workloads are told by their places in the universe. */
export interface ClosureFacts {
  /** The workloads that are bound in open transactions. */
  readonly acting: readonly number[];
  /** Workloads that may have a volume in common, for each volume: what one writes there, the others read. */
  readonly together: readonly (readonly number[])[];
}

export function wallClosure(
  places: WallPlaces,
  set: PolicySet,
  { walls, datasets }: WallConfiguration,
  { acting, together }: ClosureFacts,
): WallClosure {
  const byDataset = Map.groupBy(datasets, ([, dataset]) => dataset);
  const domains = Map.groupBy(
    walls.filter(({ scope }) => scope !== 'static'),
    domainKey,
  );
  const concerned = [...domains.values()].map((group) => {
    const [{ sanitizers, scope }] = group as [WallRule];
    const names = new Set(group.flatMap(({ pairs }) => pairs.flat()));
    const kept = [...names].flatMap((dataset) => (byDataset.get(dataset) ?? []).map(([segment]) => segment));
    const parts = permittedParts(places, set, { sanitizers, kept, together });
    const origins = scope === 'transaction' ? acting : parts.placesOf(kept);
    const reached = new Set(origins.map((place) => parts.part(place)));
    return (place: number): number | null => {
      const part = parts.part(place);
      return part !== null && reached.has(part) ? part : null;
    };
  });

  const numbers = new Map<string, number>();
  const tuples: (readonly (number | null)[])[] = [];
  const classOf = (place: number): number => {
    const tuple = concerned.map((part) => part(place));
    const key = tuple.join();
    let number = numbers.get(key);
    if (number === undefined) {
      number = tuples.push(tuple) - 1;
      numbers.set(key, number);
    }
    return number;
  };
  numbers.set(concerned.map(() => null).join(), tuples.push(concerned.map(() => null)) - 1);
  const classOfWorkload = Array.from({ length: places.workloads }, (_, place) => classOf(place));
  const networks = Array.from({ length: places.size - places.parties }, (_, index) => {
    const place = places.parties + index;
    return { network: places.network(place)!, number: classOf(place) };
  }).filter(({ number }) => number !== 0);
  return {
    classOfWorkload,
    classes: tuples.length,
    asks: (a, b) => tuples[a]!.some((part, index) => part !== null && part === tuples[b]![index]),
    classOfNetwork: ({ bits }) => networks.find(({ network }) => inNetwork(network, bits))?.number ?? 0,
  };
}
