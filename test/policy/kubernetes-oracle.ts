/**
 * What Kubernetes' own documents mean, written down a second time from the text of their API alone: every question is answered by going
 * over the documents as they were written. It shares no code with the package that it is held against, and is as slow as it looks.
 */

type Labels = Readonly<Record<string, string>>;

interface Requirement {
  readonly key: string;
  readonly operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist';
  readonly values?: readonly string[];
}
export interface WrittenSelector {
  readonly matchLabels?: Labels;
  readonly matchExpressions?: readonly Requirement[];
}

export type WrittenProtocol = 'TCP' | 'UDP' | 'SCTP';

interface ContainerPort {
  readonly name: string;
  readonly protocol: WrittenProtocol;
  readonly number: number;
}
export interface OraclePod {
  readonly kind: 'pod';
  readonly name: string;
  readonly namespace: string;
  readonly labels: Labels;
  readonly address: string;
  readonly ports: readonly ContainerPort[];
}
/** The machine that the pods are on. */
interface OracleNode {
  readonly kind: 'node';
  readonly labels: Labels;
  readonly address: string;
}
export interface OracleOutside {
  readonly kind: 'outside';
  readonly address: string;
  /** Under which the pod on the other end learnt the address. */
  readonly names: readonly string[];
}
export type OracleParty = OraclePod | OracleNode | OracleOutside;

export interface OracleConnection {
  readonly source: OracleParty;
  readonly destination: OracleParty;
  readonly protocol: WrittenProtocol;
  readonly port: number;
}

interface NetworkPolicyPeer {
  readonly podSelector?: WrittenSelector;
  readonly namespaceSelector?: WrittenSelector;
  readonly ipBlock?: { readonly cidr: string; readonly except?: readonly string[] };
}
interface NetworkPolicyPort {
  readonly protocol?: WrittenProtocol;
  readonly port?: number | string;
  readonly endPort?: number;
}
interface NetworkPolicyRule {
  readonly from?: readonly NetworkPolicyPeer[];
  readonly to?: readonly NetworkPolicyPeer[];
  readonly ports?: readonly NetworkPolicyPort[];
}
export interface WrittenNetworkPolicy {
  readonly kind: 'NetworkPolicy';
  readonly metadata: { readonly name: string; readonly namespace: string };
  readonly spec: {
    readonly podSelector: WrittenSelector;
    readonly policyTypes?: readonly ('Ingress' | 'Egress')[];
    readonly ingress?: readonly NetworkPolicyRule[];
    readonly egress?: readonly NetworkPolicyRule[];
  };
}

interface AdminPods {
  readonly namespaces?: WrittenSelector;
  readonly pods?: { readonly namespaceSelector?: WrittenSelector; readonly podSelector: WrittenSelector };
}
interface AdminPeer extends AdminPods {
  readonly nodes?: WrittenSelector;
  readonly networks?: readonly string[];
  readonly domainNames?: readonly string[];
}
interface DestinationPort {
  readonly number?: number;
  readonly range?: { readonly start: number; readonly end: number };
}
interface AdminPort {
  /** v1alpha1 */
  readonly portNumber?: { readonly protocol?: WrittenProtocol; readonly port: number };
  readonly portRange?: { readonly protocol?: WrittenProtocol; readonly start: number; readonly end: number };
  readonly namedPort?: string;
  /** v1alpha2 */
  readonly tcp?: { readonly destinationPort: DestinationPort };
  readonly udp?: { readonly destinationPort: DestinationPort };
  readonly sctp?: { readonly destinationPort: DestinationPort };
  readonly destinationNamedPort?: string;
}
interface AdminRule {
  readonly action: 'Allow' | 'Accept' | 'Deny' | 'Pass';
  readonly from?: readonly AdminPeer[];
  readonly to?: readonly AdminPeer[];
  readonly ports?: readonly AdminPort[];
  readonly protocols?: readonly AdminPort[];
}
export interface WrittenAdminPolicy {
  readonly kind: 'AdminNetworkPolicy' | 'BaselineAdminNetworkPolicy' | 'ClusterNetworkPolicy';
  readonly metadata: { readonly name: string };
  readonly spec: {
    readonly tier?: 'Admin' | 'Baseline';
    readonly priority?: number;
    readonly subject: AdminPods;
    readonly ingress?: readonly AdminRule[];
    readonly egress?: readonly AdminRule[];
  };
}

export interface OracleCluster {
  /** With `kubernetes.io/metadata.name`, as the API server sets it. */
  readonly namespaces: ReadonlyMap<string, Labels>;
  readonly policies: readonly (WrittenNetworkPolicy | WrittenAdminPolicy)[];
}

/** Whether each end of a connection permits it. */
export function permitted(
  cluster: OracleCluster,
  connection: OracleConnection,
): { readonly egress: boolean; readonly ingress: boolean } {
  return { egress: endPermits(cluster, connection, 'egress'), ingress: endPermits(cluster, connection, 'ingress') };
}

function endPermits(cluster: OracleCluster, connection: OracleConnection, direction: 'egress' | 'ingress'): boolean {
  const own = direction === 'egress' ? connection.source : connection.destination;
  const far = direction === 'egress' ? connection.destination : connection.source;
  if (own.kind !== 'pod') return true;
  const admin = firstMatch(cluster, adminTier(cluster), { own, far, direction, connection });
  if (admin === 'Allow' || admin === 'Deny') return admin === 'Allow';
  const byPod = networkPoliciesPermit(cluster, { own, far, direction, connection });
  if (byPod !== null) return byPod;
  return firstMatch(cluster, baselineTier(cluster), { own, far, direction, connection }) !== 'Deny';
}

interface End {
  readonly own: OraclePod;
  readonly far: OracleParty;
  readonly direction: 'egress' | 'ingress';
  readonly connection: OracleConnection;
}

// NetworkPolicy

/** Null where no policy selects the pod in this direction. */
function networkPoliciesPermit(cluster: OracleCluster, end: End): boolean | null {
  const selecting = cluster.policies.filter(
    (policy) =>
      policy.kind === 'NetworkPolicy' &&
      policy.metadata.namespace === end.own.namespace &&
      selects(policy.spec.podSelector, end.own.labels) &&
      isolates(policy, end.direction),
  ) as readonly WrittenNetworkPolicy[];
  if (selecting.length === 0) return null;
  // "Traffic to and from the node where a Pod is running is always allowed": for probes, that is towards the pod.
  if (end.direction === 'ingress' && end.far.kind === 'node') return true;
  return selecting.some(({ metadata, spec }) =>
    (spec[end.direction] ?? []).some((rule) => {
      const peers = (end.direction === 'egress' ? rule.to : rule.from) ?? [];
      const ports = rule.ports ?? [];
      return (
        (peers.length === 0 || peers.some((peer) => isNetworkPeer(cluster, metadata.namespace, peer, end.far))) &&
        (ports.length === 0 || ports.some((port) => isNetworkPort(port, end.connection)))
      );
    }),
  );
}

function isolates({ spec }: WrittenNetworkPolicy, direction: 'egress' | 'ingress'): boolean {
  const types = spec.policyTypes ?? [];
  // Without types: always ingress, and egress where there is a rule for it.
  if (types.length === 0) return direction === 'ingress' || (spec.egress ?? []).length > 0;
  return types.includes(direction === 'egress' ? 'Egress' : 'Ingress');
}

function isNetworkPeer(
  cluster: OracleCluster,
  policyNamespace: string,
  { podSelector, namespaceSelector, ipBlock }: NetworkPolicyPeer,
  party: OracleParty,
): boolean {
  if (ipBlock !== undefined)
    return (
      inNetwork(ipBlock.cidr, party.address) && !(ipBlock.except ?? []).some((hole) => inNetwork(hole, party.address))
    );
  if (party.kind !== 'pod') return false;
  if (podSelector !== undefined && !selects(podSelector, party.labels)) return false;
  if (namespaceSelector === undefined) return party.namespace === policyNamespace;
  return selects(namespaceSelector, cluster.namespaces.get(party.namespace)!);
}

function isNetworkPort({ protocol = 'TCP', port, endPort }: NetworkPolicyPort, connection: OracleConnection): boolean {
  if (protocol !== connection.protocol) return false;
  if (port === undefined) return true;
  if (typeof port === 'string') return isNamedPort(port, connection);
  return endPort === undefined ? connection.port === port : connection.port >= port && connection.port <= endPort;
}

function isNamedPort(name: string, { destination, protocol, port }: OracleConnection): boolean {
  if (destination.kind !== 'pod') return false;
  return destination.ports.some((of) => of.name === name && of.protocol === protocol && of.number === port);
}

// The policies of administrators

function adminTier({ policies }: OracleCluster): readonly WrittenAdminPolicy[] {
  return byPriority(
    policies.filter((policy) => policy.kind === 'AdminNetworkPolicy' || (isCluster(policy) && isOf(policy, 'Admin'))),
  );
}

/** Kubernetes knows no cluster with both kinds; the newer one comes first here, and its `Pass` leaves the tier. */
function baselineTier({ policies }: OracleCluster): readonly WrittenAdminPolicy[] {
  return [
    ...byPriority(policies.filter((policy) => isCluster(policy) && isOf(policy, 'Baseline'))),
    ...(policies.filter(({ kind }) => kind === 'BaselineAdminNetworkPolicy') as WrittenAdminPolicy[]),
  ];
}

type WrittenPolicy = WrittenNetworkPolicy | WrittenAdminPolicy;

const isCluster = (policy: WrittenPolicy): boolean => policy.kind === 'ClusterNetworkPolicy';
const isOf = (policy: WrittenPolicy, tier: 'Admin' | 'Baseline'): boolean =>
  (policy as WrittenAdminPolicy).spec.tier === tier;

function byPriority(policies: readonly WrittenPolicy[]): readonly WrittenAdminPolicy[] {
  return (policies as WrittenAdminPolicy[]).toSorted((a, b) => a.spec.priority! - b.spec.priority!);
}

function firstMatch(
  cluster: OracleCluster,
  policies: readonly WrittenAdminPolicy[],
  end: End,
): 'Allow' | 'Deny' | 'Pass' | null {
  for (const { spec } of policies) {
    if (!arePods(cluster, spec.subject, end.own)) continue;
    for (const rule of spec[end.direction] ?? []) {
      const peers = (end.direction === 'egress' ? rule.to : rule.from)!;
      if (!peers.some((peer) => isAdminPeer(cluster, peer, end.far))) continue;
      const ports = rule.ports ?? rule.protocols;
      if (ports !== undefined && ports.length > 0 && !ports.some((port) => isAdminPort(port, end.connection))) continue;
      return rule.action === 'Accept' ? 'Allow' : rule.action;
    }
  }
  return null;
}

function arePods(cluster: OracleCluster, { namespaces, pods }: AdminPods, party: OracleParty): boolean {
  if (party.kind !== 'pod') return false;
  const ofNamespace = cluster.namespaces.get(party.namespace)!;
  if (namespaces !== undefined) return selects(namespaces, ofNamespace);
  if (pods === undefined) return false;
  return selects(pods.namespaceSelector ?? {}, ofNamespace) && selects(pods.podSelector, party.labels);
}

function isAdminPeer(cluster: OracleCluster, peer: AdminPeer, party: OracleParty): boolean {
  if (peer.nodes !== undefined) return party.kind === 'node' && selects(peer.nodes, party.labels);
  if (peer.networks !== undefined) return peer.networks.some((cidr) => inNetwork(cidr, party.address));
  if (peer.domainNames !== undefined) return party.kind === 'outside' && isNamed(peer.domainNames, party.names);
  return arePods(cluster, peer, party);
}

/** `*.` stands for one label or more. */
function isNamed(patterns: readonly string[], names: readonly string[]): boolean {
  const plain = (name: string): string => name.toLowerCase().replace(/\.$/, '');
  return patterns.some((pattern) =>
    names.some((name) =>
      pattern.startsWith('*.')
        ? plain(name).endsWith(plain(pattern.slice(1))) && plain(name).length > plain(pattern).length - 1
        : plain(name) === plain(pattern),
    ),
  );
}

function isAdminPort(port: AdminPort, connection: OracleConnection): boolean {
  const { portNumber, portRange } = port;
  if (portNumber !== undefined)
    return (portNumber.protocol ?? 'TCP') === connection.protocol && portNumber.port === connection.port;
  if (portRange !== undefined)
    return (
      (portRange.protocol ?? 'TCP') === connection.protocol &&
      portRange.start <= connection.port &&
      connection.port <= portRange.end
    );
  const name = port.namedPort ?? port.destinationNamedPort;
  if (name !== undefined) return isNamedPort(name, connection);
  const ofProtocol = { TCP: port.tcp, UDP: port.udp, SCTP: port.sctp }[connection.protocol];
  if (ofProtocol === undefined) return false;
  const { number, range } = ofProtocol.destinationPort;
  return number === undefined
    ? range!.start <= connection.port && connection.port <= range!.end
    : number === connection.port;
}

// Selectors and networks

function selects({ matchLabels = {}, matchExpressions = [] }: WrittenSelector, labels: Labels): boolean {
  const has = (key: string): boolean => Object.hasOwn(labels, key);
  return (
    Object.entries(matchLabels).every(([key, value]) => has(key) && labels[key] === value) &&
    matchExpressions.every(({ key, operator, values = [] }) => {
      switch (operator) {
        case 'In':
          return has(key) && values.includes(labels[key]!);
        case 'NotIn':
          return !has(key) || !values.includes(labels[key]!);
        case 'Exists':
          return has(key);
        case 'DoesNotExist':
          return !has(key);
      }
    })
  );
}

function inNetwork(cidr: string, address: string): boolean {
  const [network = '', length = ''] = cidr.split('/');
  const [outer, inner] = [bytesOf(network), bytesOf(address)];
  if (outer.length !== inner.length) return false;
  const bits = (bytes: readonly number[]): string => bytes.map((byte) => byte.toString(2).padStart(8, '0')).join('');
  return bits(outer).slice(0, Number(length)) === bits(inner).slice(0, Number(length));
}

function bytesOf(address: string): readonly number[] {
  if (address.includes('.')) return address.split('.').map(Number);
  const [head = '', tail] = address.split('::');
  const words = (text: string | undefined): string[] => (text === undefined || text === '' ? [] : text.split(':'));
  const [before, after] = [words(head), words(tail)];
  const gap = tail === undefined ? 0 : 8 - before.length - after.length;
  return [...before, ...Array.from({ length: gap }, () => '0'), ...after].flatMap((word) => {
    const value = Number.parseInt(word, 16);
    return [value >> 8, value & 255];
  });
}
