import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { Document, SegmentDocument } from '../documents/document.ts';
import { apiVersion } from '../documents/schema.ts';
import { decide, segmentsOf } from '../decide/decide.ts';
import type { Labels, Party } from '../model.ts';
import { createPolicySet, type PolicySet } from '../resolve/policy-set.ts';
import { addressBits, prefixFromBits } from '../select/prefix.ts';
import {
  generateAddress,
  generateDocuments,
  generateIdentities,
  generateService,
  pick,
  type Random,
  seededRandom,
} from '../testing/generate.ts';
import { wallClosure } from './closure.ts';
import { separationBreaches } from './separation.ts';
import type { WallConfiguration, WallRule } from './wall.ts';
import { WallPlaces } from './wall-places.ts';

const datasetNames = ['a', 'b', 'c'];
const alone = { acting: [], together: [] };

interface Case {
  readonly set: PolicySet;
  readonly workloads: readonly Labels[];
  readonly configuration: WallConfiguration;
  readonly places: WallPlaces;
  readonly random: Random;
}

function caseOf(seed: number, scope: WallRule['scope']): Case {
  const random = seededRandom(seed);
  const documents = generateDocuments(random, { segments: 4, policies: 3 }).map((document): Document => {
    if (document.kind !== 'Segment' || random(2) === 0) return document;
    const closed: SegmentDocument['spec'] = { ...document.spec, posture: {} };
    return { ...document, spec: random(3) === 0 ? document.spec : closed };
  });
  const made = createPolicySet(documents, { checkCondition: () => null });
  assert.ok(made.kind === 'ok', JSON.stringify(made));
  const set = made.policySet;
  const segments = [...set.segments.keys()];
  const datasets = segments.flatMap((segment) =>
    random(2) === 0 ? [[segment, pick(random, datasetNames)] as const] : [],
  );
  const rule: WallRule = {
    name: 'wall',
    scope,
    readings: [],
    pairs: [
      ['a', 'b'],
      ['a', 'c'],
    ],
    sanitizers: random(2) === 0 ? [pick(random, segments)] : [],
  };
  const workloads = [...generateIdentities(random, 6).values()];
  const places = new WallPlaces({
    workloads: workloads.map((labels, index) => ({ labels, count: 1, examples: [`w${index}`] })),
    hosts: [],
    addresses: [],
  });
  return { set, workloads, configuration: { walls: [rule], datasets }, places, random };
}

/** Parties and which of them are permitted to connect, by trying. */
function tried({ set, workloads, random, configuration }: Case) {
  const parties: Party[] = workloads.map((labels) => ({ kind: 'workload', labels }));
  for (const address of new Set(Array.from({ length: 5 }, () => generateAddress(random))))
    parties.push({ kind: 'address', address });
  const services = Array.from({ length: 25 }, () => generateService(random));
  const [wall] = configuration.walls as [WallRule];
  const datasetsOf = (party: Party): readonly string[] =>
    configuration.datasets.filter(([segment]) => isIn(set, segment, party)).map(([, dataset]) => dataset);
  const named = new Set(wall.pairs.flat());
  const nodes = parties.filter(
    (party) =>
      datasetsOf(party).some((dataset) => named.has(dataset)) ||
      !wall.sanitizers.some((segment) => isIn(set, segment, party)),
  );
  const joined = nodes.map((a) =>
    nodes.map(
      (b) =>
        !(a.kind === 'address' && b.kind === 'address') &&
        services.some(
          (service) =>
            isOpen(decide(set, { source: a, destination: b, ...service }).action) ||
            isOpen(decide(set, { source: b, destination: a, ...service }).action),
        ),
    ),
  );
  return { nodes, joined, datasetsOf };
}

const isOpen = (action: string): boolean => action === 'allow' || action === 'ask';

function isIn(set: PolicySet, segment: string, party: Party): boolean {
  if (party.kind === 'workload') return segmentsOf(set, party.labels).some(({ name }) => name === segment);
  const bits = party.kind === 'address' ? addressBits(party.address)! : '';
  return set.segments
    .get(segment)!
    .networks.some(
      ({ prefix, except }) => bits.startsWith(prefix.bits) && !except.some((hole) => bits.startsWith(hole.bits)),
    );
}

/** Connections on a shortest way from the first to each, by trying all. */
function distances(joined: readonly (readonly boolean[])[], from: readonly number[]): number[] {
  const distance = joined.map((_, index) => (from.includes(index) ? 0 : Number.POSITIVE_INFINITY));
  for (let round = 0; round < joined.length; round++)
    for (const [a, row] of joined.entries())
      for (const [b, open] of row.entries()) if (open) distance[b] = Math.min(distance[b]!, distance[a]! + 1);
  return distance;
}

const seeds = fc.nat({ max: 2 ** 31 - 1 });

describe('static separation', () => {
  test('finds every path that trying finds, and none that is longer', () => {
    let [found, apart] = [0, 0];
    fc.assert(
      fc.property(seeds, (seed) => {
        const example = caseOf(seed, 'static');
        const breaches = separationBreaches(example.places, example.set, example.configuration);
        const { nodes, joined, datasetsOf } = tried(example);
        for (const [x, y] of example.configuration.walls[0]!.pairs) {
          const members = (name: string): number[] =>
            nodes.flatMap((party, index) => (datasetsOf(party).includes(name) ? [index] : []));
          const shortest = Math.min(...members(y).map((index) => distances(joined, members(x))[index]!));
          const breach = breaches.find(({ between }) => between[0] === x && between[1] === y);
          if (breach === undefined) apart++;
          else found++;
          if (shortest < Number.POSITIVE_INFINITY) assert.ok(breach!.path!.length <= shortest);
        }
      }),
      { numRuns: 150 },
    );
    assert.ok(found > 20 && apart > 20, `${found} breaches, ${apart} pairs apart`);
  });

  test('every step of a witness is permitted, and leads from one dataset to the other past no sanitizer', () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        const { set, configuration, places } = caseOf(seed, 'static');
        const datasetsOf = (party: Party): readonly string[] =>
          configuration.datasets.filter(([segment]) => isIn(set, segment, party)).map(([, dataset]) => dataset);
        for (const { path, between } of separationBreaches(places, set, configuration)) {
          let at: Party | null = null;
          for (const { source, destination, protocol, port, backwards } of path!) {
            const flow = { source: source.party, destination: destination.party, protocol, port };
            assert.ok(isOpen(decide(set, flow).action));
            const [near, far] = backwards ? [destination.party, source.party] : [source.party, destination.party];
            if (at === null) assert.ok(datasetsOf(near).includes(between[0]));
            else assert.deepEqual(near, at);
            at = far;
          }
          if (at !== null) assert.ok(datasetsOf(at).includes(between[1]));
        }
      }),
      { numRuns: 150 },
    );
  });
});

describe('the closure of walls', () => {
  test('has every permitted connection between two who can reach a dataset', () => {
    let [asked, all] = [0, 0];
    fc.assert(
      fc.property(seeds, (seed) => {
        const example = caseOf(seed, 'history');
        const closure = wallClosure(example.places, example.set, example.configuration, alone);
        const { nodes, joined, datasetsOf } = tried(example);
        const named = new Set(example.configuration.walls[0]!.pairs.flat());
        const origins = nodes.flatMap((party, index) =>
          datasetsOf(party).some((name) => named.has(name)) ? [index] : [],
        );
        const reached = distances(joined, origins);
        const classOf = (party: Party): number =>
          party.kind === 'workload'
            ? closure.classOfWorkload[example.workloads.indexOf(party.labels)]!
            : closure.classOfNetwork(prefixFromBits(addressBits((party as { address: string }).address)!));
        for (const [a, row] of joined.entries()) {
          for (const [b, open] of row.entries()) {
            if (!open) continue;
            const asks = closure.asks(classOf(nodes[a]!), classOf(nodes[b]!));
            all++;
            if (asks) asked++;
            if (reached[a]! < Number.POSITIVE_INFINITY) assert.ok(asks, `${JSON.stringify([nodes[a], nodes[b]])}`);
          }
        }
      }),
      { numRuns: 150 },
    );
    assert.ok(asked > 100 && asked < all * 0.95, `${asked} of ${all} permitted connections are asked about`);
  });
});

/** Documents for a test that is to be read. */
function setOf(rules: readonly (readonly [string, string])[], names: readonly string[]): PolicySet {
  const segments = names.map((name): Document => ({
    apiVersion,
    kind: 'Segment',
    metadata: { name },
    spec: { selector: { matchLabels: { app: name } } },
  }));
  const policy: Document = {
    apiVersion,
    kind: 'Policy',
    metadata: { name: 'p' },
    spec: {
      rules: rules.map(([from, to], index) => ({
        name: `r${index}`,
        action: 'allow',
        from: { segment: from },
        to: { segment: to },
        ports: [{ protocol: 'tcp', port: 5432 }],
      })),
    },
  };
  const made = createPolicySet([...segments, policy], { checkCondition: () => null });
  assert.ok(made.kind === 'ok');
  return made.policySet;
}

describe('a wall between buying and selling', () => {
  const names = ['buy', 'sell', 'news', 'dns', 'web'];
  const places = new WallPlaces({
    workloads: names.map((app) => ({ labels: { app }, count: 1, examples: [app] })),
    hosts: [],
    addresses: [],
  });
  const wall: WallRule = {
    name: 'signals',
    scope: 'static',
    readings: [],
    pairs: [['buy', 'sell']],
    sanitizers: ['dns'],
  };
  const configuration = {
    walls: [wall],
    datasets: [
      ['buy', 'buy'],
      ['sell', 'sell'],
    ],
  } as const;

  test('stands while only a sanitizer is between them', () => {
    const set = setOf(
      [
        ['buy', 'dns'],
        ['sell', 'dns'],
        ['web', 'news'],
      ],
      names,
    );
    assert.deepEqual(separationBreaches(places, set, configuration), []);
  });

  test('is broken by a third party, whichever way the connections go', () => {
    const set = setOf(
      [
        ['buy', 'news'],
        ['sell', 'web'],
        ['web', 'news'],
      ],
      names,
    );
    const [breach] = separationBreaches(places, set, configuration);
    assert.deepEqual(
      breach!.path!.map(({ source, destination, port, backwards }) => [source.name, destination.name, port, backwards]),
      [
        ['buy', 'news', 5432, false],
        ['web', 'news', 5432, true],
        ['sell', 'web', 5432, true],
      ],
    );
  });

  test('over history asks about what leads to a dataset, and about nothing else', () => {
    const set = setOf(
      [
        ['buy', 'dns'],
        ['buy', 'news'],
        ['dns', 'web'],
      ],
      names,
    );
    const history = { ...configuration, walls: [{ ...wall, scope: 'history' as const }] };
    const closure = wallClosure(places, set, history, alone);
    const asks = (a: string, b: string): boolean =>
      closure.asks(closure.classOfWorkload[names.indexOf(a)]!, closure.classOfWorkload[names.indexOf(b)]!);
    assert.deepEqual(
      [asks('buy', 'news'), asks('buy', 'dns'), asks('dns', 'web'), asks('web', 'web')],
      [true, false, false, false],
    );
  });

  test('over history asks also about what only a volume joins to a dataset', () => {
    const set = setOf([['dns', 'web']], names);
    const rules = [{ ...wall, scope: 'history' as const, sanitizers: [] }];
    const asks = (together: readonly (readonly number[])[]): boolean => {
      const closure = wallClosure(places, set, { ...configuration, walls: rules }, { acting: [], together });
      return closure.asks(
        closure.classOfWorkload[names.indexOf('dns')]!,
        closure.classOfWorkload[names.indexOf('web')]!,
      );
    };
    assert.equal(asks([]), false);
    assert.equal(asks([[names.indexOf('web'), names.indexOf('buy')]]), true);
  });

  test('over transactions asks about what leads to a workload that is bound in one', () => {
    const set = setOf(
      [
        ['buy', 'news'],
        ['web', 'dns'],
      ],
      names,
    );
    const rules = [{ ...wall, scope: 'transaction' as const, readings: ['roles-apart' as const], sanitizers: [] }];
    const asks = (acting: readonly number[]): boolean => {
      const closure = wallClosure(places, set, { ...configuration, walls: rules }, { ...alone, acting });
      return closure.asks(closure.classOfWorkload[0]!, closure.classOfWorkload[2]!);
    };
    assert.equal(asks([]), false);
    assert.equal(asks([names.indexOf('web')]), false);
    assert.equal(asks([names.indexOf('buy')]), true);
  });
});
