/** Random clusters for the second opinion on Kubernetes' documents: small, so that documents, pods and ports meet each other often. */
import type {
  OracleParty,
  OraclePod,
  WrittenAdminPolicy,
  WrittenNetworkPolicy,
  WrittenSelector,
} from './kubernetes-oracle.ts';

/** A whole number from 0 to `below - 1`. */
export type Draw = (below: number) => number;
type Labels = Readonly<Record<string, string>>;

const namespaceNames = ['shop', 'data', 'edge'] as const;
const keys = ['app', 'role', 'env'] as const;
const values = ['a', 'b', ''] as const;
const namespaceKeys = ['team', 'stage', 'kubernetes.io/metadata.name'] as const;
const portNames = ['http', 'dns', 'serve-81-udp'] as const;
const protocols = ['TCP', 'UDP', 'SCTP'] as const;
/** Container ports, and what rules say; connections go to these and to their neighbours. */
const numbers = [1, 53, 80, 81, 8080, 65_535] as const;
const addresses = [
  '10.0.0.1',
  '10.0.0.130',
  '10.0.1.7',
  '10.9.0.1',
  '192.0.2.9',
  '198.51.100.77',
  'fd00::1',
  'fd00:0:0:1::5',
  '2001:db8::8',
] as const;
const blocks = [
  { cidr: '10.0.0.0/8' },
  { cidr: '10.0.0.0/8', except: ['10.0.0.0/16'] },
  { cidr: '10.0.0.0/16', except: ['10.0.0.0/25', '10.0.1.7/32'] },
  { cidr: '10.0.0.77/24', except: ['10.0.0.128/25'] },
  { cidr: '0.0.0.0/0' },
  { cidr: '0.0.0.0/0', except: ['10.0.0.0/8', '192.0.2.0/24'] },
  { cidr: '::/0' },
  { cidr: 'fd00::/16', except: ['fd00:0:0:1::/64'] },
  { cidr: '10.0.0.1/32' },
] as const;
const names = ['api.example.com', 'example.com', 'a.b.example.com', 'notexample.com', 'example.org'] as const;
const patterns = ['*.example.com', 'example.com', 'API.example.com.', '*.b.example.com'] as const;
export const askedPorts = [1, 2, 53, 79, 80, 81, 8080, 65_534, 65_535] as const;

const pick = <T>(draw: Draw, from: readonly T[]): T => from[draw(from.length)]!;
const chance = (draw: Draw, percent: number): boolean => draw(100) < percent;
const several = <T>(draw: Draw, most: number, make: () => T): T[] => Array.from({ length: 1 + draw(most) }, make);

export interface WrittenWorld {
  readonly namespaces: ReadonlyMap<string, Labels>;
  readonly policies: readonly (WrittenNetworkPolicy | WrittenAdminPolicy)[];
  readonly pods: readonly OraclePod[];
  readonly others: readonly OracleParty[];
}

export type WorldKind = 'network' | 'admin' | 'cluster' | 'mixed';

export function generateWorld(draw: Draw, kind: WorldKind): WrittenWorld {
  const pods = Array.from({ length: 6 }, (_, index) => generatePod(draw, `pod-${index}`));
  const taken = new Set(pods.map(({ address }) => address));
  const node: OracleParty = { kind: 'node', labels: generateLabels(draw, keys), address: '10.9.0.1' };
  const outside = addresses
    .filter((address) => !taken.has(address) && address !== node.address)
    .map((address): OracleParty => ({ kind: 'outside', address, names: chance(draw, 50) ? [pick(draw, names)] : [] }));
  return {
    namespaces: new Map(
      namespaceNames.map((name) => {
        const labels = generateLabels(draw, ['team', 'stage']);
        return [name, { ...labels, 'kubernetes.io/metadata.name': name }];
      }),
    ),
    policies: generatePolicies(draw, kind),
    pods,
    others: [node, ...outside],
  };
}

function generateLabels(draw: Draw, from: readonly string[]): Labels {
  const given = from.filter(() => chance(draw, 65)).map((key) => [key, pick(draw, values)] as const);
  return Object.fromEntries(given);
}

function generatePod(draw: Draw, name: string): OraclePod {
  const ports = portNames
    .filter(() => chance(draw, 70))
    .flatMap((portName) =>
      several(draw, 2, () => ({ name: portName, protocol: pick(draw, protocols), number: pick(draw, numbers) })),
    );
  const address = pick(
    draw,
    addresses.filter((one) => one !== '10.9.0.1'),
  );
  return {
    kind: 'pod',
    name,
    namespace: pick(draw, namespaceNames),
    labels: generateLabels(draw, keys),
    address,
    ports,
  };
}

function generatePolicies(draw: Draw, kind: WorldKind): readonly (WrittenNetworkPolicy | WrittenAdminPolicy)[] {
  const count = { network: 4, admin: 4, cluster: 4, mixed: 8 }[kind];
  const policies = Array.from({ length: 1 + draw(count) }, (_, index) => {
    const form = kind === 'mixed' ? pick(draw, ['network', 'admin', 'cluster'] as const) : kind;
    const isBeside = form !== 'network' && chance(draw, 30);
    if (form === 'network' || isBeside) return generateNetworkPolicy(draw, `np-${index}`);
    // Policies of one priority have no defined order.
    return generateAdminPolicy(draw, form, index);
  });
  const baseline = kind === 'mixed' || kind === 'admin' ? chance(draw, 60) : false;
  return baseline ? [...policies, generateBaselinePolicy(draw)] : policies;
}

function selector(draw: Draw, from: readonly string[]): WrittenSelector {
  const value = (key: string): string => (key.includes('/') ? pick(draw, namespaceNames) : pick(draw, values));
  const key = pick(draw, from);
  switch (draw(6)) {
    case 0:
      return {};
    case 1:
    case 2:
      return { matchLabels: { [key]: value(key) } };
    case 3: {
      const other = pick(draw, from);
      return { matchLabels: { [key]: value(key) }, matchExpressions: [{ key: other, operator: 'Exists' }] };
    }
    default: {
      const expressions = several(draw, 2, () => {
        const of = pick(draw, from);
        const operator = pick(draw, ['In', 'NotIn', 'Exists', 'DoesNotExist'] as const);
        if (operator === 'Exists' || operator === 'DoesNotExist') return { key: of, operator };
        return { key: of, operator, values: several(draw, 2, () => value(of)) };
      });
      return { matchExpressions: expressions };
    }
  }
}

function generateNetworkPolicy(draw: Draw, name: string): WrittenNetworkPolicy {
  const peer = () => {
    const [podSelector, namespaceSelector] = [selector(draw, keys), selector(draw, namespaceKeys)];
    return pick(draw, [
      { podSelector },
      { namespaceSelector },
      { podSelector, namespaceSelector },
      { ipBlock: pick(draw, blocks) },
    ]);
  };
  const port = () => {
    const protocol = chance(draw, 70) ? { protocol: pick(draw, protocols) } : {};
    const [low, high] = [pick(draw, numbers), pick(draw, numbers)].toSorted((a, b) => a - b) as [number, number];
    return pick(draw, [
      protocol,
      { ...protocol, port: low },
      { ...protocol, port: low, endPort: high },
      { ...protocol, port: pick(draw, portNames) },
      { ...protocol, port: pick(draw, portNames) },
    ]);
  };
  const rule = (end: 'from' | 'to') => ({
    ...(chance(draw, 80) ? { [end]: chance(draw, 10) ? [] : several(draw, 2, peer) } : {}),
    ...(chance(draw, 70) ? { ports: chance(draw, 10) ? [] : several(draw, 2, port) } : {}),
  });
  const types = pick(draw, [undefined, [], ['Ingress'], ['Egress'], ['Ingress', 'Egress']] as const);
  return {
    kind: 'NetworkPolicy',
    metadata: { name, namespace: pick(draw, namespaceNames) },
    spec: {
      podSelector: selector(draw, keys),
      ...(types === undefined ? {} : { policyTypes: types }),
      ...(chance(draw, 70) ? { ingress: chance(draw, 20) ? [] : several(draw, 2, () => rule('from')) } : {}),
      ...(chance(draw, 60) ? { egress: chance(draw, 20) ? [] : several(draw, 2, () => rule('to')) } : {}),
    },
  };
}

function pods(draw: Draw, form: 'admin' | 'cluster') {
  const [podSelector, namespaceSelector] = [selector(draw, keys), selector(draw, namespaceKeys)];
  if (chance(draw, 40)) return { namespaces: namespaceSelector };
  // Only the newer version lets the selector of namespaces be left out.
  return form === 'cluster' && chance(draw, 30)
    ? { pods: { podSelector } }
    : { pods: { namespaceSelector, podSelector } };
}

function adminPort(draw: Draw, form: 'admin' | 'cluster', isNamed: boolean) {
  const protocol = pick(draw, protocols);
  const port = pick(draw, numbers);
  const range = pick(draw, [
    { start: 53, end: 80 },
    { start: 80, end: 65_535 },
    { start: 1, end: 53 },
  ]);
  const name = pick(draw, portNames);
  const which = draw(isNamed ? 4 : 2);
  if (form === 'admin') {
    const given = chance(draw, 70) ? { protocol } : {};
    if (which > 1) return { namedPort: name };
    return which === 0 ? { portNumber: { ...given, port } } : { portRange: { ...given, ...range } };
  }
  if (which > 1) return { destinationNamedPort: name };
  return { [protocol.toLowerCase()]: { destinationPort: which === 0 ? { number: port } : { range } } };
}

function adminRule(draw: Draw, form: 'admin' | 'cluster', isBaseline: boolean, end: 'from' | 'to') {
  const allow = form === 'admin' ? ('Allow' as const) : ('Accept' as const);
  const action = pick(draw, isBaseline ? [allow, 'Deny' as const] : [allow, 'Deny' as const, 'Pass' as const]);
  const isFar = end === 'to' && chance(draw, 45);
  const far = () => {
    if (!isFar) return pods(draw, form);
    const kind = draw(action === allow ? 4 : 3);
    if (kind < 2) return { networks: [...new Set(several(draw, 2, () => pick(draw, blocks).cidr))] };
    return kind === 2 ? { nodes: selector(draw, keys) } : { domainNames: [pick(draw, patterns)] };
  };
  const ports = chance(draw, 60) ? several(draw, 2, () => adminPort(draw, form, !isFar)) : null;
  return {
    action,
    [end]: several(draw, 2, far),
    ...(ports === null ? {} : { [form === 'admin' ? 'ports' : 'protocols']: ports }),
  };
}

function rules(draw: Draw, form: 'admin' | 'cluster', isBaseline: boolean) {
  return {
    ...(chance(draw, 75) ? { ingress: several(draw, 3, () => adminRule(draw, form, isBaseline, 'from')) } : {}),
    ...(chance(draw, 75) ? { egress: several(draw, 3, () => adminRule(draw, form, isBaseline, 'to')) } : {}),
  };
}

function generateAdminPolicy(draw: Draw, form: 'admin' | 'cluster', index: number): WrittenAdminPolicy {
  const spec = { priority: draw(50) * 20 + index, subject: pods(draw, form), ...rules(draw, form, false) };
  const metadata = { name: `${pick(draw, ['a', 'z'])}-${index}` };
  if (form === 'admin') return { kind: 'AdminNetworkPolicy', metadata, spec };
  return {
    kind: 'ClusterNetworkPolicy',
    metadata,
    spec: { tier: pick(draw, ['Admin', 'Baseline'] as const), ...spec },
  };
}

function generateBaselinePolicy(draw: Draw): WrittenAdminPolicy {
  const spec = { subject: pods(draw, 'admin'), ...rules(draw, 'admin', true) };
  return { kind: 'BaselineAdminNetworkPolicy', metadata: { name: 'default' }, spec };
}
