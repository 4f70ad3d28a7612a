import { parsePrefix } from '../select/prefix.ts';
import { claimOf } from './claim.ts';
import type {
  Document,
  InvariantDocument,
  NetworkPolicyDocument,
  PeerDocument,
  PeersDocument,
  PolicyDocument,
  RuleDocument,
  SegmentDocument,
} from './document.ts';

/**
 * The document as one text that does not depend on how it was written: fields sorted, a single peer as a list of one, networks in
 * canonical form, stated defaults left out. Equal texts mean equal documents; hashes and differences are taken of it.
 */
export function canonicalText(document: Document): string {
  return sortedJson(canonicalDocument(document));
}

export function canonicalDocument(document: Document): Document {
  switch (document.kind) {
    case 'Segment':
      return canonicalSegment(document);
    case 'Tier':
      return document.spec.order === 'severity'
        ? { ...document, spec: { position: document.spec.position } }
        : document;
    case 'Policy':
      return canonicalPolicy(document);
    case 'Invariant':
      return canonicalInvariant(document);
    case 'NetworkPolicy':
      return canonicalNetworkPolicy(document);
    case 'Wall':
    case 'Namespace':
    case 'ClusterNetworkPolicy':
    case 'AdminNetworkPolicy':
    case 'BaselineAdminNetworkPolicy':
      return document;
  }
}

function canonicalSegment(document: SegmentDocument): SegmentDocument {
  const { networks } = document.spec;
  if (networks === undefined) return document;
  return { ...document, spec: { ...document.spec, networks: networks.map(canonicalNetwork) } };
}

function canonicalPolicy(document: PolicyDocument): PolicyDocument {
  const { mode, tier = defaultTier, timeZone, rules } = document.spec;
  return {
    ...document,
    spec: {
      ...(tier === defaultTier ? {} : { tier }),
      ...(mode === 'staged' ? { mode } : {}),
      ...(timeZone === undefined || timeZone === 'UTC' ? {} : { timeZone }),
      rules: rules.map(canonicalRule),
    },
  };
}

function canonicalInvariant(document: InvariantDocument): InvariantDocument {
  const [claim, { from, to, ports }] = claimOf(document);
  const ends = { from: peerList(from).map(canonicalPeer), to: peerList(to).map(canonicalPeer) };
  return { ...document, spec: { [claim]: { ...ends, ...(ports === undefined ? {} : { ports }) } } };
}

/** Empty lists of peers and ports are left out, and what Kubernetes fills in is filled in. */
function canonicalNetworkPolicy(document: NetworkPolicyDocument): NetworkPolicyDocument {
  const { podSelector = {}, ingress = [], egress = [], policyTypes = [] } = document.spec;
  const types = policyTypes.length > 0 ? [...new Set(policyTypes)].sort() : egress.length > 0 ? bothTypes : ingressOnly;
  const ends = ({ from, to, ports }: RuleEnds) => ({
    ...(from === undefined || from.length === 0 ? {} : { from }),
    ...(to === undefined || to.length === 0 ? {} : { to }),
    ...(ports === undefined || ports.length === 0
      ? {}
      : { ports: ports.map((port) => ({ ...port, protocol: port.protocol ?? ('TCP' as const) })) }),
  });
  return {
    ...document,
    spec: { podSelector, ingress: ingress.map(ends), egress: egress.map(ends), policyTypes: types },
  };
}

type NetworkRules = NetworkPolicyDocument['spec'];
type RuleEnds = NonNullable<NetworkRules['ingress']>[number] & NonNullable<NetworkRules['egress']>[number];
const bothTypes = ['Egress', 'Ingress'] as const;
const ingressOnly = ['Ingress'] as const;

/** The tier of a policy that names none. */
export const defaultTier = 'application';

function canonicalRule(rule: RuleDocument): RuleDocument {
  return {
    ...rule,
    ...(rule.from === undefined ? {} : { from: peerList(rule.from).map(canonicalPeer) }),
    ...(rule.to === undefined ? {} : { to: peerList(rule.to).map(canonicalPeer) }),
  };
}

export function peerList(peers: PeersDocument): readonly PeerDocument[] {
  return Array.isArray(peers) ? (peers as readonly PeerDocument[]) : [peers as PeerDocument];
}

function canonicalPeer(peer: PeerDocument): PeerDocument {
  return peer.cidr === undefined ? peer : canonicalNetwork({ cidr: peer.cidr, except: peer.except });
}

function canonicalNetwork(network: { readonly cidr: string; readonly except?: readonly string[] | undefined }) {
  const except = network.except ?? [];
  return {
    cidr: canonicalCidr(network.cidr),
    ...(except.length === 0 ? {} : { except: except.map(canonicalCidr).sort() }),
  };
}

function canonicalCidr(text: string): string {
  const parsed = parsePrefix(text);
  if (parsed.kind === 'refused') throw new Error(`a parsed document holds the network ${text}: ${parsed.reason}`);
  return parsed.prefix.cidr;
}

/** JSON with the fields of every map in order of their names; fields without a value are left out. */
export function sortedJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(sortedJson).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const fields = Object.entries(value)
    .filter(([, field]) => field !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, field]) => `${JSON.stringify(key)}:${sortedJson(field)}`);
  return `{${fields.join(',')}}`;
}
