import { factPrefix, type Party } from '../../model.ts';
import {
  generateAddress,
  generateHostLabels,
  generateIdentities,
  generateNames,
  type Random,
} from '../../testing/generate.ts';
import type { Universe } from '../universe.ts';

/** A small universe, and every party that it has, but of the addresses without names only some. */
export interface GeneratedUniverse {
  readonly universe: Universe;
  readonly parties: readonly Party[];
}

const identitiesCount = 5;
const hostNames = ['h1', 'h2'] as const;
const addressesCount = 4;

export function generateUniverse(random: Random): GeneratedUniverse {
  const labels = [...generateIdentities(random, identitiesCount).values()];
  const hosts = hostNames.slice(random(3)).map((name) => ({ name, labels: generateHostLabels(random) }));
  const named = Array.from({ length: random(3) }, () => ({
    address: generateAddress(random),
    names: generateNames(random),
  })).filter(({ names }) => names.length > 0);
  return {
    universe: {
      workloads: labels.map((own, index) => ({ labels: own, count: 1, examples: [`w${index}`] })),
      hosts,
      addresses: named,
    },
    parties: [
      ...labels.map((own): Party => ({ kind: 'workload', labels: own })),
      { kind: 'host' },
      ...hosts.map((host): Party => ({ kind: 'host', labels: { ...host.labels, [`${factPrefix}host`]: host.name } })),
      ...named.map((known): Party => ({ kind: 'address', ...known })),
      ...Array.from({ length: addressesCount }, (): Party => ({ kind: 'address', address: generateAddress(random) })),
    ],
  };
}
