import type {
  Document,
  PeerDocument,
  PolicyDocument,
  PortDocument,
  RuleDocument,
  SegmentDocument,
  TierDocument,
} from '../documents/document.ts';
import { apiVersion } from '../documents/schema.ts';
import { type Flow, type IdentityId, identityFirst, type Labels, type Party } from '../model.ts';
import { generateKubernetesDocuments } from './kubernetes.ts';
import {
  dnsPatterns,
  generateAddress,
  generateLabels,
  generateNames,
  generateNetwork,
  generateSelector,
  hostNames,
  images,
  portNames,
  portPool,
} from './pools.ts';
import { chance, listOf, pick, type Random } from './random.ts';

export { generateKubernetesDocuments } from './kubernetes.ts';
export { generateAddress, generateHostLabels, generateLabels, generateNames } from './pools.ts';
export { pick, type Random, seededRandom } from './random.ts';

/**
 * Random policy sets, identities and flows for tests, simulations and benchmarks, the same for the same seed. Everything is drawn
 * from a small world of labels, networks and ports, so that rules meet, overlap and contradict each other often.
 */

/** Identities with distinct numbers; their labels may coincide. */
export function generateIdentities(random: Random, count: number): ReadonlyMap<IdentityId, Labels> {
  return new Map(
    Array.from({ length: count }, (_, index) => [(identityFirst + index) as IdentityId, generateLabels(random)]),
  );
}

function generatePeer(random: Random, segments: readonly string[], isDestination: boolean): PeerDocument {
  if (isDestination && chance(random, 10)) return { dns: pick(random, dnsPatterns) };
  const kind = random(10);
  if (kind < 4 && segments.length > 0) return { segment: pick(random, segments) };
  if (kind < 6) return { selector: generateSelector(random) };
  if (kind < 8) return generateNetwork(random);
  return kind === 8 ? { host: true } : { any: true };
}

function generatePort(random: Random): PortDocument {
  const protocol = pick(random, ['tcp', 'tcp', 'tcp', 'udp', 'udp', 'sctp', 'icmp', 'icmpv6', 'any'] as const);
  if (protocol === 'any') return { protocol };
  if (protocol === 'icmp' || protocol === 'icmpv6') {
    if (chance(random, 40)) return { protocol };
    return { protocol, type: pick(random, [0, 3, 8, 255]), ...(chance(random, 50) ? { code: random(3) } : {}) };
  }
  if (chance(random, 20)) return { protocol };
  if (chance(random, 20)) return { protocol, name: pick(random, portNames) };
  const [port, endPort] = [pick(random, portPool), pick(random, portPool)].sort((a, b) => a - b) as [number, number];
  return chance(random, 50) ? { protocol, port, endPort } : { protocol, port };
}

function generateRule(
  random: Random,
  name: string,
  segments: readonly string[],
  more: GeneratedFeatures,
): RuleDocument {
  const action = pick(random, ['allow', 'allow', 'allow', 'deny', 'reject', 'ask', 'pass'] as const);
  const peers = (isDestination: boolean) => {
    const list = listOf(random, 2, () => generatePeer(random, segments, isDestination));
    return list.length === 1 ? list[0]! : list;
  };
  return {
    name,
    action,
    ...(chance(random, 85) ? { from: peers(false) } : {}),
    ...(chance(random, 85) ? { to: peers(true) } : {}),
    ...(chance(random, 70) ? { ports: listOf(random, 3, () => generatePort(random)) } : {}),
    ...(chance(random, 15) ? { applies: pick(random, ['egress', 'ingress'] as const) } : {}),
    ...(more.live === true && chance(random, 20) ? { live: pick(random, ['keep', 'judge', 'reset'] as const) } : {}),
    ...(action === 'ask' && chance(random, 50) ? { when: pick(random, ['true', 'flow.ratePerMinute < 30.0']) } : {}),
  };
}

export function generatePolicy(
  random: Random,
  name: string,
  segments: readonly string[],
  tiers: readonly string[],
  more: GeneratedFeatures = {},
): PolicyDocument {
  const rules = Array.from({ length: random(5) }, (_, index) => generateRule(random, `r${index}`, segments, more));
  const mode = more.staged === true && chance(random, 15) ? { mode: 'staged' as const } : {};
  return { apiVersion, kind: 'Policy', metadata: { name }, spec: { tier: pick(random, tiers), ...mode, rules } };
}

export function generateSegment(random: Random, name: string, more: GeneratedFeatures = {}): SegmentDocument {
  const posture = () => pick(random, ['allow', 'deny', 'reject'] as const);
  const networks = { networks: listOf(random, 2, () => generateNetwork(random)) };
  if (chance(random, 15)) return { apiVersion, kind: 'Segment', metadata: { name }, spec: networks };
  const demand = { class: pick(random, ['shared', 'sandbox', 'microvm'] as const), allowEmulated: chance(random, 50) };
  const bind = chance(random, 50) ? { images: [pick(random, images)] } : { hosts: [pick(random, hostNames)] };
  const members = chance(random, 30) ? ({ all: true } as const) : { names: [pick(random, hostNames)] };
  const spec = {
    ...(more.hosts === true && chance(random, 40)
      ? { hosts: members, ...(chance(random, 40) ? { lockOutGuard: false } : {}) }
      : {}),
    selector: generateSelector(random),
    ...(chance(random, 20) ? networks : {}),
    ...(chance(random, 20) ? { bind } : {}),
    ...(chance(random, 60)
      ? { posture: { egress: posture(), ingress: posture(), ...(chance(random, 15) ? { isolation: demand } : {}) } }
      : {}),
  };
  return { apiVersion, kind: 'Segment', metadata: { name }, spec };
}

/** What is left out unless it is asked for, since not every reader of the documents can show it. */
export interface GeneratedFeatures {
  /** What becomes of live connections. */
  readonly live?: boolean;
  readonly staged?: boolean;
  /** Hosts in segments: they are judged themselves then. */
  readonly hosts?: boolean;
}

export interface GeneratedSizes extends GeneratedFeatures {
  readonly segments: number;
  readonly policies: number;
  /** Documents of Kubernetes, namespaces among them; at most so many, as names are few. */
  readonly kubernetes?: number;
}

/** Documents that resolve against each other. Names are `s0…`, `p0…`; tiers are `generatedTiers`. */
export function generateDocuments(random: Random, sizes: GeneratedSizes): readonly Document[] {
  const tier: TierDocument = {
    apiVersion,
    kind: 'Tier',
    metadata: { name: 'listed' },
    spec: { position: pick(random, [50, 150, 310]), order: 'listed' },
  };
  const segments = Array.from({ length: sizes.segments }, (_, index) => generateSegment(random, `s${index}`, sizes));
  const names = segments.map(({ metadata }) => metadata.name);
  const policies = Array.from({ length: sizes.policies }, (_, index) =>
    generatePolicy(random, `p${index}`, names, generatedTiers, sizes),
  );
  return [tier, ...segments, ...policies, ...generateKubernetesDocuments(random, sizes.kubernetes ?? 0)];
}

export const generatedTiers = ['platform', 'security', 'listed', 'application', 'baseline'] as const;

/** A party of the kinds that the datapath can see; workloads are among the identities. */
export function generateParty(random: Random, identities: ReadonlyMap<IdentityId, Labels>): Party {
  const kind = random(20);
  if (kind === 0) return { kind: 'unknown' };
  if (kind < 3) return { kind: 'host' };
  if (kind < 8 || identities.size === 0) {
    const names = chance(random, 30) ? { names: generateNames(random) } : {};
    return { kind: 'address', address: generateAddress(random), ...names };
  }
  return { kind: 'workload', labels: pick(random, [...identities.values()]) };
}

/** A protocol and port that sit on, beside or far from the ends of generated ranges. */
export function generateService(random: Random): { readonly protocol: number; readonly port: number } {
  const protocol = pick(random, [6, 6, 6, 17, 17, 132, 1, 58, 47]);
  if (protocol === 47) return { protocol, port: 0 };
  if (protocol === 1 || protocol === 58) return { protocol, port: pick(random, [0, 3, 8, 255, 13]) * 256 + random(4) };
  const port = pick(random, portPool) + random(3) - 1;
  return { protocol, port: Math.min(65_535, Math.max(0, chance(random, 80) ? port : random(65_536))) };
}

export function generateFlow(random: Random, identities: ReadonlyMap<IdentityId, Labels>): Flow {
  return {
    source: generateParty(random, identities),
    destination: generateParty(random, identities),
    ...generateService(random),
  };
}
