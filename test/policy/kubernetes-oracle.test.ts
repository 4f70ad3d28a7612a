/**
 * Documents of Kubernetes in random clusters: a second, naive reading of their API against `decide()` and against compiled tables. The
 * clusters of one seed follow each other as changes of one policy set and of one compiler, as policies do that are updated.
 */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import {
  type Action,
  addressFacts,
  changePolicySet,
  createCompiler,
  decide,
  type Direction,
  type Document,
  documentKey,
  documentLabelKeys,
  documentName,
  emptyPolicySet,
  type Flow,
  type IdentityId,
  identityFirst,
  type Labels,
  namedPortPrefix,
  namespaceLabel,
  parseDocument,
  type Party,
  type PolicySet,
} from '@bulkhead/policy';
import { prefixPeers, tableFor, type Target, verdictAt } from '@bulkhead/policy/testing/compiled';
import { type OracleConnection, type OracleParty, type OraclePod, permitted } from './kubernetes-oracle.ts';
import { askedPorts, type Draw, generateWorld, type WorldKind, type WrittenWorld } from './kubernetes-world.ts';

const seedsEach = 30;
const updatesEach = 4;
const protocolNumbers = { TCP: 6, UDP: 17, SCTP: 132 } as const;
const versions = {
  NetworkPolicy: 'networking.k8s.io/v1',
  AdminNetworkPolicy: 'policy.networking.k8s.io/v1alpha1',
  BaselineAdminNetworkPolicy: 'policy.networking.k8s.io/v1alpha1',
  ClusterNetworkPolicy: 'policy.networking.k8s.io/v1alpha2',
} as const;
const counts = { clusters: 0, connections: 0, denied: 0, byTables: 0 };

for (const kind of ['network', 'admin', 'cluster', 'mixed'] as const) {
  test(`documents of Kubernetes, ${kind}`, () => {
    for (let seed = 0; seed < seedsEach; seed++) checkSeed(kind, seed);
  });
}

test('the two readings were asked about both permitted and denied connections', () => {
  assert.ok(counts.denied > counts.connections / 10, JSON.stringify(counts));
  assert.ok(counts.denied < (counts.connections * 9) / 10, JSON.stringify(counts));
});

after(() => {
  console.log(
    `counted: ${counts.clusters} clusters with documents of Kubernetes, ${counts.connections} connections read twice, ` +
      `${counts.byTables} ends of them by tables`,
  );
});

function checkSeed(kind: WorldKind, seed: number): void {
  const draw = drawFrom(seed);
  const compiler = createCompiler();
  let policySet = emptyPolicySet;
  let before: readonly IdentityId[] = [];
  for (let update = 0; update < updatesEach; update++) {
    const world = generateWorld(draw, kind);
    const documents = documentsOf(world);
    policySet = changedTo(policySet, documents);
    const factsOf = addressFacts(documents.flatMap(documentLabelKeys));
    const identities = new Map(
      world.pods.map((pod, index) => [(identityFirst + index) as IdentityId, podLabels(pod, factsOf)]),
    );
    const [node] = world.others;
    assert.ok(node?.kind === 'node');
    const host = { ...node.labels, ...factsOf([node.address]) };
    compiler.update({
      policySet,
      host,
      identities: { set: identities, removed: before.filter((id) => !identities.has(id)) },
      subjects: { added: identities.keys() },
    });
    before = [...identities.keys()];
    checkCluster(`${kind}, seed ${seed}, update ${update}`, world, { policySet, compiler, identities, host });
  }
}

interface Compiled {
  readonly policySet: PolicySet;
  readonly compiler: ReturnType<typeof createCompiler>;
  readonly identities: ReadonlyMap<IdentityId, Labels>;
  readonly host: Labels;
}

function checkCluster(where: string, world: WrittenWorld, compiled: Compiled): void {
  counts.clusters++;
  const parties: readonly OracleParty[] = [...world.pods, ...world.others];
  const ends = new Map(parties.map((party) => [party, endOf(party, world, compiled)]));
  const prefixes = prefixPeers(compiled.compiler);
  for (const source of parties)
    for (const destination of parties) {
      if (source.kind !== 'pod' && destination.kind !== 'pod') continue;
      const [from, to] = [ends.get(source)!, ends.get(destination)!];
      for (const protocol of ['TCP', 'UDP', 'SCTP'] as const)
        for (const port of askedPorts) {
          // Names are queried of the own host whatever policies say, unless they say otherwise.
          if (destination.kind === 'node' && port === 53) continue;
          const connection: OracleConnection = { source, destination, protocol, port };
          const expected = permitted(world, connection);
          const service = { protocol: protocolNumbers[protocol], port };
          const flow: Flow = { source: from.party, destination: to.party, ...service };
          const verdict = decide(compiled.policySet, flow);
          counts.connections++;
          if (!(expected.egress && expected.ingress)) counts.denied++;
          const check = (direction: Direction, by: string, action: Action): void => {
            if ((action === 'allow') === expected[direction]) return;
            assert.fail(difference(where, world, connection, { by, direction, action, expected: expected[direction] }));
          };
          check('egress', 'decide', verdict.egress.action);
          check('ingress', 'decide', verdict.ingress.action);
          const byTables = (own: typeof from, direction: Direction, far: typeof from): void => {
            if (own.identity === null || isLearnt(source, destination)) return;
            const tables = compiled.compiler.subject(own.identity)![direction];
            const { action } = verdictAt(tableFor(prefixes, tables, far.target), service.protocol, port);
            counts.byTables++;
            check(direction, 'tables', action);
          };
          byTables(from, 'egress', to);
          byTables(to, 'ingress', from);
        }
    }
}

/** What was learnt by name is no part of a table that is made before. */
function isLearnt(...parties: readonly OracleParty[]): boolean {
  return parties.some((party) => party.kind === 'outside' && party.names.length > 0);
}

function endOf(
  party: OracleParty,
  world: WrittenWorld,
  { identities, host }: Compiled,
): { readonly party: Party; readonly identity: IdentityId | null; readonly target: Target } {
  switch (party.kind) {
    case 'pod': {
      const identity = (identityFirst + world.pods.indexOf(party)) as IdentityId;
      const labels = identities.get(identity)!;
      return { party: { kind: 'workload', labels }, identity, target: { kind: 'identity', identity } };
    }
    case 'node':
      return { party: { kind: 'host', labels: host }, identity: null, target: { kind: 'host' } };
    case 'outside': {
      const { address, names } = party;
      return { party: { kind: 'address', address, names }, identity: null, target: { kind: 'address', address } };
    }
  }
}

function documentsOf({ namespaces, policies }: WrittenWorld): readonly Document[] {
  const spaces = [...namespaces].map(([name, { 'kubernetes.io/metadata.name': _implied, ...labels }]) => ({
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name, labels },
  }));
  const written = policies.map((policy) => ({ apiVersion: versions[policy.kind], ...policy }));
  return [...spaces, ...written].map((value) => {
    const parsed = parseDocument(value, {});
    if (parsed.kind === 'refused') assert.fail(JSON.stringify({ value, problems: parsed.problems }));
    return parsed.document;
  });
}

function changedTo(before: PolicySet, documents: readonly Document[]): PolicySet {
  const wanted = new Set(documents.map(documentKey));
  const known = Object.values(before.documents).flatMap((ofKind): readonly Document[] => [...ofKind.values()]);
  const removed = known
    .filter((document) => !wanted.has(documentKey(document)))
    .map((document) => ({ kind: document.kind, name: documentName(document) }));
  const result = changePolicySet(before, { set: documents, removed }, { checkCondition: () => null });
  if (result.kind === 'refused') assert.fail(JSON.stringify(result.problems));
  return result.policySet;
}

function podLabels(pod: OraclePod, factsOf: (addresses: readonly string[]) => Labels): Labels {
  const ports = Map.groupBy(pod.ports, ({ name }) => name);
  const values = [...ports].map(
    ([name, of]) =>
      [
        namedPortPrefix + name,
        of.map(({ protocol, number }) => `${protocol.toLowerCase()}-${number}`).join('_'),
      ] as const,
  );
  return {
    ...pod.labels,
    [namespaceLabel]: pod.namespace,
    ...Object.fromEntries(values),
    ...factsOf([pod.address]),
  };
}

function difference(where: string, world: WrittenWorld, connection: OracleConnection, found: object): string {
  const documents = { namespaces: Object.fromEntries(world.namespaces), policies: world.policies };
  return `${where}: ${JSON.stringify(found)}\n${JSON.stringify(connection)}\n${JSON.stringify(documents, null, 1)}`;
}

/** mulberry32 */
function drawFrom(seed: number): Draw {
  let state = seed + 1;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}
