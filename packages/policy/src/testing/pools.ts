/** The small world that everything generated is drawn from, so that rules meet, overlap and contradict each other often. */
import { factPrefix, type Labels, namedPortPrefix, namespaceLabel } from '../model.ts';
import { addressFactKey } from '../select/address-facts.ts';
import { addressBits, type PrefixBits, prefixContains, prefixFromBits } from '../select/prefix.ts';
import type { Selector } from '../select/selector.ts';
import { chance, listOf, pick, type Random } from './random.ts';

const labelKeys = ['app', 'tier', 'env'] as const;
const labelValues = ['a', 'b', 'c'] as const;
export const images = ['1', '2'].map((digit) => `sha256:${digit.repeat(64)}`);
export const hostNames = ['h1', 'h2'] as const;
/** The last has never a document. */
export const namespaceNames = ['na', 'nb', 'nc', 'nd'] as const;
export const portNames = ['http', 'dns'] as const;
const portListPool = ['tcp-80', 'tcp-443', 'udp-53', 'tcp-80_udp-80', 'sctp-80', 'tcp-8080_sctp-1', 'nothing'] as const;
export const portPool = [1, 22, 53, 80, 443, 8080, 65_534, 65_535] as const;

export const addressPool = [
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
const prefixLengths = { 4: [0, 7, 8, 15, 16, 24, 31, 32], 6: [0, 7, 8, 64, 95, 128] } as const;

const dnsNames = ['example.com', 'a.example.com', 'b.example.com', 'x.a.example.com', 'other.test'] as const;
export const dnsPatterns = ['example.com', '*.example.com', '*.a.example.com', 'a.example.com', '*.test'] as const;

export function generateAddress(random: Random): string {
  return pick(random, addressPool);
}

/** Names that an address might be learnt under. */
export function generateNames(random: Random): string[] {
  return [...new Set(listOf(random, 2, () => pick(random, dnsNames)))];
}

/** A network that the address is in. */
function generateCidr(random: Random, bits: PrefixBits): string {
  return prefixFromBits(bits.slice(0, pick(random, prefixLengths[bits.startsWith('4') ? 4 : 6]) + 1)).cidr;
}

export function generateNetwork(random: Random): { cidr: string; except?: string[] } {
  const address = addressBits(generateAddress(random))!;
  const cidr = generateCidr(random, address);
  if (chance(random, 60)) return { cidr };
  const length = Number(cidr.split('/')[1]);
  const except = listOf(random, 2, () => generateCidr(random, address)).filter(
    (inner) => Number(inner.split('/')[1]) > length,
  );
  return except.length === 0 ? { cidr } : { cidr, except };
}

/** The facts about somebody with that address: the generated networks that it is in. */
function addressFactsOf(address: string): Labels {
  const bits = addressBits(address)!;
  const facts: Record<string, string> = {};
  for (const other of addressPool) {
    const otherBits = addressBits(other)!;
    for (const length of prefixLengths[otherBits.startsWith('4') ? 4 : 6]) {
      const prefix = prefixFromBits(otherBits.slice(0, length + 1));
      if (prefixContains(prefix.bits, bits)) facts[addressFactKey(prefix)] = 'true';
    }
  }
  return facts;
}

/** Labels of a workload: claims and facts. */
export function generateLabels(random: Random): Labels {
  const labels: Record<string, string> = {};
  for (const key of labelKeys) if (chance(random, 70)) labels[key] = pick(random, labelValues);
  if (chance(random, 60)) labels[namespaceLabel] = pick(random, namespaceNames);
  for (const name of portNames) if (chance(random, 30)) labels[namedPortPrefix + name] = pick(random, portListPool);
  if (chance(random, 70)) labels[`${factPrefix}image`] = pick(random, images);
  if (chance(random, 70)) labels[`${factPrefix}host`] = pick(random, hostNames);
  if (chance(random, 80)) labels[`${factPrefix}class`] = pick(random, ['shared', 'sandbox', 'microvm']);
  if (chance(random, 80)) labels[`${factPrefix}boundary`] = pick(random, ['hardware', 'emulated', 'none']);
  return chance(random, 40) ? { ...labels, ...addressFactsOf(generateAddress(random)) } : labels;
}

/** Labels of a machine. */
export function generateHostLabels(random: Random): Labels {
  const labels: Record<string, string> = {};
  if (chance(random, 80)) labels[`${factPrefix}host`] = pick(random, hostNames);
  if (chance(random, 30)) labels[`${factPrefix}guard-ingress`] = pick(random, ['tcp-22', 'tcp-80_tcp-443']);
  if (chance(random, 30)) labels[`${factPrefix}guard-egress`] = 'tcp-443';
  for (const key of labelKeys) if (chance(random, 50)) labels[key] = pick(random, labelValues);
  return chance(random, 40) ? { ...labels, ...addressFactsOf(generateAddress(random)) } : labels;
}

export function generateNamespaceLabels(random: Random): Record<string, string> {
  const labels: Record<string, string> = {};
  for (const key of ['team', 'env']) if (chance(random, 60)) labels[key] = pick(random, labelValues);
  return labels;
}

export function generateSelector(random: Random): Selector {
  return selectorOf(random, labelKeys);
}

export function generateNamespaceSelector(random: Random): Selector {
  if (chance(random, 20)) return { matchLabels: { 'kubernetes.io/metadata.name': pick(random, namespaceNames) } };
  return selectorOf(random, ['team', 'env']);
}

function selectorOf(random: Random, keys: readonly string[]): Selector {
  const matchLabels: Record<string, string> = {};
  for (const key of keys) if (chance(random, 30)) matchLabels[key] = pick(random, labelValues);
  if (chance(random, 70)) return chance(random, 90) ? { matchLabels } : {};
  const operator = pick(random, ['In', 'NotIn', 'Exists', 'DoesNotExist'] as const);
  const values =
    operator === 'In' || operator === 'NotIn' ? { values: listOf(random, 2, () => pick(random, labelValues)) } : {};
  return { matchLabels, matchExpressions: [{ key: pick(random, keys), operator, ...values }] };
}
