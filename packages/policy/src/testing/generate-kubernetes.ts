/** Random documents of Kubernetes, and pods for them, from a small world in which they meet and contradict each other often. */
import type { Document } from '../documents/document.ts';
import { modeAnnotation } from '../documents/kubernetes-schema.ts';
import { type Labels, namedPortPrefix, namespaceLabel } from '../model.ts';
import { addressFactKey, addressFacts } from '../select/address-facts.ts';
import { maskedPrefix } from '../select/prefix.ts';
import { generateAddress, generateLabels, pick, type Random } from './generate.ts';
import { adminPolicy, baselinePolicy, clusterPolicy, documentOf, namespace, networkPolicy } from './written.ts';

const namespaces = ['red', 'green', 'blue'] as const;
/** Pods may be in one that has no document. */
const podNamespaces = [...namespaces, 'grey'] as const;
const networks = ['10.0.0.0/8', '10.0.0.0/16', '10.0.1.0/24', '0.0.0.0/0', 'fd00::/8', '::/0'] as const;
const portNames = ['web', 'dns'] as const;
const portValues = ['tcp-80', 'tcp-8080', 'udp-53', 'tcp-53_udp-53', 'sctp-80', 'tcp-80_sctp-443'] as const;
const protocols = ['TCP', 'UDP', 'SCTP'] as const;
const numbers = [1, 53, 80, 443, 8080, 65_535] as const;
export const generatedDnsPatterns = ['*.example.com', 'api.example.com', 'example.org'] as const;

const chance = (random: Random, percent: number): boolean => random(100) < percent;
const listOf = <T>(random: Random, lengthMax: number, make: () => T): T[] =>
  Array.from({ length: 1 + random(lengthMax) }, make);

const factKeys = networks.map((cidr) => {
  const parsed = maskedPrefix(cidr);
  if (parsed.kind === 'refused') throw new Error(`the generator has the network ${cidr}: ${parsed.reason}`);
  return addressFactKey(parsed.prefix);
});
const factsOf = addressFacts(factKeys);

/** Labels of a workload, of which most are pods, with named ports and the facts about their addresses. */
export function generatePodLabels(random: Random): Labels {
  const ports = portNames.filter(() => chance(random, 60));
  return {
    ...generateLabels(random),
    ...(chance(random, 85) ? { [namespaceLabel]: pick(random, podNamespaces) } : {}),
    ...Object.fromEntries(ports.map((name) => [namedPortPrefix + name, pick(random, portValues)])),
    ...factsOf(chance(random, 80) ? [generateAddress(random)] : []),
  };
}

function selector(random: Random, keys: readonly string[]): object {
  const matchLabels = Object.fromEntries(
    keys.filter(() => chance(random, 25)).map((key) => [key, pick(random, ['a', 'b', 'c'])]),
  );
  if (chance(random, 60)) return chance(random, 80) ? { matchLabels } : {};
  const operator = pick(random, ['In', 'NotIn', 'Exists', 'DoesNotExist'] as const);
  const values = operator.endsWith('In') ? { values: listOf(random, 2, () => pick(random, ['a', 'b', 'c'])) } : {};
  return { matchLabels, matchExpressions: [{ key: pick(random, keys), operator, ...values }] };
}

const podSelector = (random: Random): object => selector(random, ['app', 'tier', 'env']);
const namespaceSelector = (random: Random): object =>
  chance(random, 30)
    ? { matchLabels: { 'kubernetes.io/metadata.name': pick(random, podNamespaces) } }
    : selector(random, ['team', 'zone']);

export function generateNamespace(random: Random, name: string): Document {
  const labels = Object.fromEntries(
    ['team', 'zone'].filter(() => chance(random, 70)).map((key) => [key, pick(random, ['a', 'b', 'c'])]),
  );
  return documentOf(namespace(name, labels));
}

function ipBlock(random: Random): object {
  const [outer, ...except] = pick(random, [
    ['10.0.0.0/8', '10.0.0.0/16'],
    ['10.0.0.0/8', '10.0.0.0/16', '10.0.1.0/24'],
    ['10.0.0.0/8'],
    ['0.0.0.0/0', '10.0.0.0/8'],
    ['::/0', 'fd00::/8'],
    ['10.0.1.7/24'],
  ]);
  return { cidr: outer, except };
}

function networkPeer(random: Random): object {
  if (chance(random, 25)) return { ipBlock: ipBlock(random) };
  const ends = { podSelector: podSelector(random), namespaceSelector: namespaceSelector(random) };
  const kind = random(3);
  return kind === 0
    ? ends
    : kind === 1
      ? { podSelector: ends.podSelector }
      : { namespaceSelector: ends.namespaceSelector };
}

function networkPort(random: Random): object {
  const protocol = chance(random, 70) ? { protocol: pick(random, protocols) } : {};
  const kind = random(10);
  if (kind < 2) return protocol;
  if (kind < 5) return { ...protocol, port: pick(random, portNames) };
  const [port, endPort] = [pick(random, numbers), pick(random, numbers)].sort((a, b) => a - b) as [number, number];
  return kind < 7 ? { ...protocol, port, endPort } : { ...protocol, port };
}

export function generateNetworkPolicy(random: Random, name: string): Document {
  const rule = (end: 'from' | 'to') => ({
    ...(chance(random, 80) ? { [end]: listOf(random, 2, () => networkPeer(random)) } : {}),
    ...(chance(random, 60) ? { ports: listOf(random, 3, () => networkPort(random)) } : {}),
  });
  const rules = (end: 'from' | 'to') => (chance(random, 60) ? listOf(random, 2, () => rule(end)) : []);
  const types = pick(random, [undefined, ['Ingress'], ['Egress'], ['Ingress', 'Egress']]);
  const spec = {
    podSelector: podSelector(random),
    ingress: rules('from'),
    egress: rules('to'),
    ...(types === undefined ? {} : { policyTypes: types }),
  };
  return documentOf(networkPolicy(`${pick(random, namespaces)}/${name}`, spec, annotations(random)));
}

function annotations(random: Random): Labels {
  return chance(random, 15) ? { [modeAnnotation]: 'staged' } : {};
}

type AdminKind = 'AdminNetworkPolicy' | 'BaselineAdminNetworkPolicy' | 'ClusterNetworkPolicy';

function pods(random: Random): object {
  if (chance(random, 50)) return { namespaces: namespaceSelector(random) };
  return { pods: { namespaceSelector: namespaceSelector(random), podSelector: podSelector(random) } };
}

/** One rule; `named` allows ports by name, which only rules towards pods may have. */
function adminRule(random: Random, kind: AdminKind, end: 'from' | 'to'): object {
  const isCluster = kind === 'ClusterNetworkPolicy';
  const allow = isCluster ? 'Accept' : 'Allow';
  const action = pick(random, kind === 'BaselineAdminNetworkPolicy' ? [allow, 'Deny'] : [allow, 'Deny', 'Pass']);
  const outside = end === 'to' && chance(random, 40);
  const far = (): object => {
    if (!outside) return pods(random);
    const form = random(action === allow ? 3 : 2);
    if (form === 0) return { networks: [...new Set(listOf(random, 2, () => pick(random, networks)))] };
    return form === 1
      ? { nodes: selector(random, ['zone', 'role']) }
      : { domainNames: [pick(random, generatedDnsPatterns)] };
  };
  const ports = (): object => listOf(random, 2, () => adminPort(random, isCluster, !outside));
  return {
    action,
    [end]: listOf(random, 2, far),
    ...(chance(random, 60) ? { [isCluster ? 'protocols' : 'ports']: ports() } : {}),
  };
}

function adminPort(random: Random, isCluster: boolean, named: boolean): object {
  const protocol = pick(random, protocols);
  const kind = random(named ? 3 : 2);
  if (kind === 2) return { [isCluster ? 'destinationNamedPort' : 'namedPort']: pick(random, portNames) };
  const [start, end] = pick(random, [
    [80, 443],
    [1, 53],
    [443, 65_535],
  ] as const);
  const port = pick(random, numbers);
  if (isCluster) {
    const destinationPort = kind === 0 ? { number: port } : { range: { start, end } };
    return { [protocol.toLowerCase()]: { destinationPort } };
  }
  return kind === 0 ? { portNumber: { protocol, port } } : { portRange: { protocol, start, end } };
}

export function generateAdminPolicy(random: Random, kind: AdminKind, name: string): Document {
  const rules = (end: 'from' | 'to') =>
    chance(random, 70) ? listOf(random, 3, () => adminRule(random, kind, end)) : [];
  const spec = { subject: pods(random), ingress: rules('from'), egress: rules('to') };
  const priority = random(4);
  switch (kind) {
    case 'AdminNetworkPolicy':
      return documentOf(adminPolicy(name, { ...spec, priority }));
    case 'BaselineAdminNetworkPolicy':
      return documentOf(baselinePolicy(spec));
    case 'ClusterNetworkPolicy':
      return documentOf(clusterPolicy(name, { ...spec, priority, tier: pick(random, ['Admin', 'Baseline']) }));
  }
}

/** One document of any of these kinds; equal names replace each other, as changes do. */
export function generateKubernetesDocument(random: Random, number: number): Document {
  const kind = random(10);
  if (kind < 2) return generateNamespace(random, pick(random, namespaces));
  if (kind < 6) return generateNetworkPolicy(random, `np${number}`);
  if (kind < 7) return generateAdminPolicy(random, 'BaselineAdminNetworkPolicy', 'default');
  if (kind < 8) return generateAdminPolicy(random, 'AdminNetworkPolicy', `anp${number}`);
  return generateAdminPolicy(random, 'ClusterNetworkPolicy', `cnp${number}`);
}
