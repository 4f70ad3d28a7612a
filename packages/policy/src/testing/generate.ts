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
import { factPrefix, type Flow, type IdentityId, identityFirst, type Labels, type Party } from '../model.ts';
import { addressBits, type PrefixBits, prefixFromBits } from '../select/prefix.ts';
import type { Selector } from '../select/selector.ts';

/**
 * Random policy sets, identities and flows for tests, simulations and benchmarks, the same for the same seed. Everything is drawn
 * from a small world of labels, networks and ports, so that rules meet, overlap and contradict each other often.
 */

/** A whole number from 0 to `below - 1`. */
export type Random = (below: number) => number;

/** mulberry32. */
export function seededRandom(seed: number): Random {
  let state = seed | 0;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

export function pick<T>(random: Random, from: readonly T[]): T {
  if (from.length === 0) throw new Error('nothing to pick from');
  return from[random(from.length)]!;
}

const chance = (random: Random, percent: number): boolean => random(100) < percent;
const listOf = <T>(random: Random, lengthMax: number, make: () => T): T[] =>
  Array.from({ length: 1 + random(lengthMax) }, make);

const labelKeys = ['app', 'tier', 'env'] as const;
const labelValues = ['a', 'b', 'c'] as const;
const images = ['1', '2'].map((digit) => `sha256:${digit.repeat(64)}`);
const hosts = ['h1', 'h2'] as const;

export function generateLabels(random: Random): Labels {
  const labels: Record<string, string> = {};
  for (const key of labelKeys) if (chance(random, 70)) labels[key] = pick(random, labelValues);
  if (chance(random, 70)) labels[`${factPrefix}image`] = pick(random, images);
  if (chance(random, 70)) labels[`${factPrefix}host`] = pick(random, hosts);
  if (chance(random, 80)) labels[`${factPrefix}class`] = pick(random, ['shared', 'sandbox', 'microvm']);
  if (chance(random, 80)) labels[`${factPrefix}boundary`] = pick(random, ['hardware', 'emulated', 'none']);
  return labels;
}

/** Identities with distinct numbers; their labels may coincide. */
export function generateIdentities(random: Random, count: number): ReadonlyMap<IdentityId, Labels> {
  return new Map(
    Array.from({ length: count }, (_, index) => [(identityFirst + index) as IdentityId, generateLabels(random)]),
  );
}

function generateSelector(random: Random): Selector {
  const matchLabels: Record<string, string> = {};
  for (const key of labelKeys) if (chance(random, 30)) matchLabels[key] = pick(random, labelValues);
  if (chance(random, 70)) return chance(random, 90) ? { matchLabels } : {};
  const operator = pick(random, ['In', 'NotIn', 'Exists', 'DoesNotExist'] as const);
  const values =
    operator === 'In' || operator === 'NotIn' ? { values: listOf(random, 2, () => pick(random, labelValues)) } : {};
  return { matchLabels, matchExpressions: [{ key: pick(random, labelKeys), operator, ...values }] };
}

const addressPool = [
  '10.0.0.1',
  '10.0.1.1',
  '10.1.0.1',
  '10.255.255.255',
  '192.0.2.7',
  '203.0.113.9',
  '0.0.0.0',
  'fd00::1',
  'fd00::1:0:1',
  'fe80::2',
  '2001:db8::1',
] as const;

export function generateAddress(random: Random): string {
  return pick(random, addressPool);
}

/** A network that the address is in. */
function generateCidr(random: Random, bits: PrefixBits): string {
  const lengths = bits.startsWith('4') ? [0, 7, 8, 15, 16, 24, 31, 32] : [0, 7, 8, 64, 95, 128];
  return prefixFromBits(bits.slice(0, pick(random, lengths) + 1)).cidr;
}

function generateNetwork(random: Random): { cidr: string; except?: string[] } {
  const address = addressBits(generateAddress(random))!;
  const cidr = generateCidr(random, address);
  if (chance(random, 60)) return { cidr };
  const length = Number(cidr.split('/')[1]);
  const except = listOf(random, 2, () => generateCidr(random, address)).filter(
    (inner) => Number(inner.split('/')[1]) > length,
  );
  return except.length === 0 ? { cidr } : { cidr, except };
}

function generatePeer(random: Random, segments: readonly string[]): PeerDocument {
  const kind = random(10);
  if (kind < 4 && segments.length > 0) return { segment: pick(random, segments) };
  if (kind < 6) return { selector: generateSelector(random) };
  if (kind < 8) return generateNetwork(random);
  return kind === 8 ? { host: true } : { any: true };
}

const portPool = [1, 22, 53, 80, 443, 8080, 65_534, 65_535] as const;

function generatePort(random: Random): PortDocument {
  const protocol = pick(random, ['tcp', 'tcp', 'tcp', 'udp', 'udp', 'sctp', 'icmp', 'icmpv6', 'any'] as const);
  if (protocol === 'any') return { protocol };
  if (protocol === 'icmp' || protocol === 'icmpv6') {
    if (chance(random, 40)) return { protocol };
    return { protocol, type: pick(random, [0, 3, 8, 255]), ...(chance(random, 50) ? { code: random(3) } : {}) };
  }
  if (chance(random, 20)) return { protocol };
  const [port, endPort] = [pick(random, portPool), pick(random, portPool)].sort((a, b) => a - b) as [number, number];
  return chance(random, 50) ? { protocol, port, endPort } : { protocol, port };
}

function generateRule(random: Random, name: string, segments: readonly string[]): RuleDocument {
  const action = pick(random, ['allow', 'allow', 'allow', 'deny', 'reject', 'ask', 'pass'] as const);
  const peers = () => {
    const list = listOf(random, 2, () => generatePeer(random, segments));
    return list.length === 1 ? list[0]! : list;
  };
  return {
    name,
    action,
    ...(chance(random, 85) ? { from: peers() } : {}),
    ...(chance(random, 85) ? { to: peers() } : {}),
    ...(chance(random, 70) ? { ports: listOf(random, 3, () => generatePort(random)) } : {}),
    ...(chance(random, 15) ? { applies: pick(random, ['egress', 'ingress'] as const) } : {}),
    ...(action === 'ask' && chance(random, 50) ? { when: pick(random, ['true', 'flow.ratePerMinute < 30.0']) } : {}),
  };
}

export function generatePolicy(
  random: Random,
  name: string,
  segments: readonly string[],
  tiers: readonly string[],
): PolicyDocument {
  const rules = Array.from({ length: random(5) }, (_, index) => generateRule(random, `r${index}`, segments));
  return { apiVersion, kind: 'Policy', metadata: { name }, spec: { tier: pick(random, tiers), rules } };
}

export function generateSegment(random: Random, name: string): SegmentDocument {
  const posture = () => pick(random, ['allow', 'deny', 'reject'] as const);
  const networks = { networks: listOf(random, 2, () => generateNetwork(random)) };
  if (chance(random, 15)) return { apiVersion, kind: 'Segment', metadata: { name }, spec: networks };
  const demand = { class: pick(random, ['shared', 'sandbox', 'microvm'] as const), allowEmulated: chance(random, 50) };
  const bind = chance(random, 50) ? { images: [pick(random, images)] } : { hosts: [pick(random, hosts)] };
  const spec = {
    selector: generateSelector(random),
    ...(chance(random, 20) ? networks : {}),
    ...(chance(random, 20) ? { bind } : {}),
    ...(chance(random, 60)
      ? { posture: { egress: posture(), ingress: posture(), ...(chance(random, 15) ? { isolation: demand } : {}) } }
      : {}),
  };
  return { apiVersion, kind: 'Segment', metadata: { name }, spec };
}

export interface GeneratedSizes {
  readonly segments: number;
  readonly policies: number;
}

/** Documents that resolve against each other. Names are `s0…`, `p0…`; tiers are `generatedTiers`. */
export function generateDocuments(random: Random, sizes: GeneratedSizes): readonly Document[] {
  const tier: TierDocument = {
    apiVersion,
    kind: 'Tier',
    metadata: { name: 'listed' },
    spec: { position: pick(random, [50, 150, 310]), order: 'listed' },
  };
  const segments = Array.from({ length: sizes.segments }, (_, index) => generateSegment(random, `s${index}`));
  const names = segments.map(({ metadata }) => metadata.name);
  const policies = Array.from({ length: sizes.policies }, (_, index) =>
    generatePolicy(random, `p${index}`, names, generatedTiers),
  );
  return [tier, ...segments, ...policies];
}

export const generatedTiers = ['platform', 'listed', 'application', 'baseline'] as const;

/** A party of the kinds that the datapath can see; workloads are among the identities. */
export function generateParty(random: Random, identities: ReadonlyMap<IdentityId, Labels>): Party {
  const kind = random(20);
  if (kind === 0) return { kind: 'unknown' };
  if (kind < 3) return { kind: 'host' };
  if (kind < 8 || identities.size === 0) return { kind: 'address', address: generateAddress(random) };
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
