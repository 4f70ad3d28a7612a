/** Random documents of Kubernetes' kinds, from the same small world. */
import type {
  AdminNetworkPolicyDocument,
  BaselineAdminNetworkPolicyDocument,
  ClusterNetworkPolicyDocument,
  Document,
  NamespaceDocument,
  NetworkPolicyDocument,
} from '../documents/document.ts';
import { adminApiVersion, clusterApiVersion } from '../documents/admin-schema.ts';
import { modeAnnotation } from '../documents/kubernetes-schema.ts';
import { networkPolicyApiVersion } from '../documents/network-policy-schema.ts';
import { apiVersion } from '../documents/schema.ts';
import {
  dnsPatterns,
  generateNamespaceLabels,
  generateNamespaceSelector,
  generateNetwork,
  generateSelector,
  namespaceNames,
  portNames,
  portPool,
} from './pools.ts';
import { chance, listOf, pick, type Random } from './random.ts';

/** Any of the kinds; equal names come again, so that a change may replace what is there. */
export function generateKubernetesDocument(random: Random): Document {
  const kind = random(12);
  if (kind < 3) return generateNamespace(random);
  if (kind < 8) return generateNetworkPolicy(random);
  if (kind < 9) return generateAdminPolicy(random);
  return kind < 10 ? generateBaselinePolicy(random) : generateClusterPolicy(random);
}

/** The same, each name once, as one set of documents has it. */
export function generateKubernetesDocuments(random: Random, count: number): Document[] {
  const documents = Array.from({ length: count }, () => generateKubernetesDocument(random));
  const byName = new Map(
    documents.map((document) => [
      `${document.kind} ${'namespace' in document.metadata ? document.metadata.namespace : ''} ${document.metadata.name}`,
      document,
    ]),
  );
  return [...byName.values()];
}

export function generateNamespace(random: Random): NamespaceDocument {
  const name = pick(random, namespaceNames.slice(0, -1));
  return { apiVersion, kind: 'Namespace', metadata: { name, labels: generateNamespaceLabels(random) } };
}

function metadata(random: Random, prefix: string) {
  const staged = chance(random, 15) ? { annotations: { [modeAnnotation]: 'staged' } } : {};
  return { name: `${prefix}${random(4)}`, ...staged };
}

type Spec = NetworkPolicyDocument['spec'];
type Peers = NonNullable<NonNullable<Spec['ingress']>[number]['from']>;
type Ports = NonNullable<NonNullable<Spec['ingress']>[number]['ports']>;

export function generateNetworkPolicy(random: Random): NetworkPolicyDocument {
  const rule = <End extends 'from' | 'to'>(end: End) => ({
    ...(chance(random, 80) ? { [end]: listOf(random, 2, () => generatePeer(random)) } : {}),
    ...(chance(random, 60) ? { ports: listOf(random, 2, () => generatePort(random)) } : {}),
  });
  const types = pick(random, [['Ingress'], ['Egress'], ['Ingress', 'Egress'], undefined] as const);
  return {
    apiVersion: networkPolicyApiVersion,
    kind: 'NetworkPolicy',
    metadata: { ...metadata(random, 'np'), namespace: pick(random, namespaceNames) },
    spec: {
      podSelector: chance(random, 40) ? {} : generateSelector(random),
      ...(chance(random, 75) ? { ingress: Array.from({ length: random(3) }, () => rule('from')) } : {}),
      ...(chance(random, 75) ? { egress: Array.from({ length: random(3) }, () => rule('to')) } : {}),
      ...(types === undefined ? {} : { policyTypes: types }),
    },
  };
}

function generatePeer(random: Random): Peers[number] {
  const kind = random(4);
  if (kind === 0) return { ipBlock: generateBlock(random) };
  return {
    ...(kind !== 1 ? { podSelector: generateSelector(random) } : {}),
    ...(kind !== 2 ? { namespaceSelector: generateNamespaceSelector(random) } : {}),
  };
}

function generateBlock(random: Random): { cidr: string; except?: string[] } {
  const { cidr, except } = generateNetwork(random);
  return except === undefined ? { cidr } : { cidr, except };
}

const protocols = ['TCP', 'TCP', 'UDP', 'SCTP'] as const;

function generatePort(random: Random): Ports[number] {
  const protocol = chance(random, 80) ? { protocol: pick(random, protocols) } : {};
  if (chance(random, 15)) return protocol;
  if (chance(random, 30)) return { ...protocol, port: pick(random, portNames) };
  const [port, endPort] = range(random);
  return chance(random, 40) ? { ...protocol, port, endPort } : { ...protocol, port };
}

function range(random: Random): [number, number] {
  return [pick(random, portPool), pick(random, portPool)].sort((a, b) => a - b) as [number, number];
}

const namespacedPods = (random: Random) => ({
  namespaceSelector: generateNamespaceSelector(random),
  podSelector: generateSelector(random),
});

function generatePods(random: Random) {
  return chance(random, 40) ? { namespaces: generateNamespaceSelector(random) } : { pods: namespacedPods(random) };
}

/** Far ends of egress; `names` where the rule permits, `pods` alone where ports are named. */
function generateDestination(random: Random, may: { readonly names: boolean; readonly others: boolean }) {
  const kind = may.others ? random(6) : 0;
  if (kind === 3) return { nodes: generateSelector(random) };
  if (kind === 4) return { networks: listOf(random, 2, () => generateNetwork(random).cidr) };
  if (kind === 5 && may.names)
    return {
      domainNames: [
        pick(
          random,
          dnsPatterns.filter((pattern) => pattern.replace('*.', '').includes('.')),
        ),
      ],
    };
  return generatePods(random);
}

function generateAdminPorts(random: Random, names: boolean) {
  return listOf(random, 2, () => {
    const [start, end] = range(random);
    const kind = random(names ? 3 : 2);
    const protocol = pick(random, protocols);
    if (kind === 0) return { portNumber: { protocol, port: start } };
    return kind === 1 ? { portRange: { protocol, start, end } } : { namedPort: pick(random, portNames) };
  });
}

type AdminSpec = AdminNetworkPolicyDocument['spec'];

function generateAdminRules<Action extends string>(random: Random, actions: readonly Action[], allow: Action) {
  const ports = (names: boolean) => (chance(random, 60) ? { ports: generateAdminPorts(random, names) } : {});
  return {
    ingress: Array.from({ length: random(3) }, (_, index) => ({
      ...(chance(random, 50) ? { name: `in${index}` } : {}),
      action: pick(random, actions),
      from: listOf(random, 2, () => generatePods(random)),
      ...ports(true),
    })),
    egress: Array.from({ length: random(3) }, () => {
      const action = pick(random, actions);
      const others = chance(random, 60);
      const to = listOf(random, 2, () => generateDestination(random, { names: action === allow, others }));
      return { action, to, ...ports(!others) };
    }),
  };
}

function generateAdminPolicy(random: Random): AdminNetworkPolicyDocument {
  const rules = generateAdminRules(random, ['Allow', 'Deny', 'Pass'], 'Allow');
  const spec: AdminSpec = { priority: random(3), subject: generatePods(random), ...rules };
  return { apiVersion: adminApiVersion, kind: 'AdminNetworkPolicy', metadata: metadata(random, 'anp'), spec };
}

function generateBaselinePolicy(random: Random): BaselineAdminNetworkPolicyDocument {
  const spec = { subject: generatePods(random), ...generateAdminRules(random, ['Allow', 'Deny'], 'Allow') };
  const kind = 'BaselineAdminNetworkPolicy';
  return { apiVersion: adminApiVersion, kind, metadata: { ...metadata(random, ''), name: 'default' }, spec };
}

function generateProtocols(random: Random, names: boolean) {
  return listOf(random, 2, () => {
    const [start, end] = range(random);
    if (names && chance(random, 30)) return { destinationNamedPort: pick(random, portNames) };
    const destinationPort = start < end && chance(random, 50) ? { range: { start, end } } : { number: start };
    return { [pick(random, ['tcp', 'tcp', 'udp', 'sctp'] as const)]: { destinationPort } };
  });
}

function generateClusterPolicy(random: Random): ClusterNetworkPolicyDocument {
  const actions = ['Accept', 'Deny', 'Pass'] as const;
  const optional = (names: boolean) => (chance(random, 60) ? { protocols: generateProtocols(random, names) } : {});
  return {
    apiVersion: clusterApiVersion,
    kind: 'ClusterNetworkPolicy',
    metadata: metadata(random, 'cnp'),
    spec: {
      tier: pick(random, ['Admin', 'Baseline']),
      priority: random(3),
      subject: generatePods(random),
      ingress: Array.from({ length: random(3) }, () => ({
        action: pick(random, actions),
        from: listOf(random, 2, () => generatePods(random)),
        ...optional(true),
      })),
      egress: Array.from({ length: random(3) }, () => {
        const action = pick(random, actions);
        const others = chance(random, 60);
        const to = listOf(random, 2, () => generateDestination(random, { names: action === 'Accept', others }));
        return { action, to, ...optional(!others) };
      }),
    },
  };
}
