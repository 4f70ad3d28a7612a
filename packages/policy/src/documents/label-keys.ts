/** Which label keys documents read: the only ones that make an identity. */
import { factPrefix, namedPortPrefix, namespaceLabel } from '../model.ts';
import { addressFactKey } from '../select/address-facts.ts';
import { maskedPrefix } from '../select/prefix.ts';
import type { Selector } from '../select/selector.ts';
import { peerList } from './canonical.ts';
import { claimOf } from './claim.ts';
import type {
  AdminNetworkPolicyDocument,
  BaselineAdminNetworkPolicyDocument,
  ClusterNetworkPolicyDocument,
  Document,
  NetworkPolicyDocument,
  PeersDocument,
  PortDocument,
  SegmentDocument,
} from './document.ts';

/** Keys that a document reads of a workload, facts included; a key may stand there twice. */
export function documentLabelKeys(document: Document): readonly string[] {
  switch (document.kind) {
    case 'Tier':
    case 'Wall':
      return [];
    case 'Namespace':
      return [namespaceLabel];
    case 'Segment':
      return segmentKeys(document);
    case 'Policy':
      return document.spec.rules.flatMap(ruleKeys);
    case 'Invariant':
      return ruleKeys(claimOf(document)[1]);
    case 'NetworkPolicy':
      return networkPolicyKeys(document);
    case 'ClusterNetworkPolicy':
      return clusterPolicyKeys(document);
    case 'AdminNetworkPolicy':
    case 'BaselineAdminNetworkPolicy':
      return adminPolicyKeys(document);
  }
}

function segmentKeys({ spec }: SegmentDocument): readonly string[] {
  const { selector, bind, posture } = spec;
  const facts = [
    ...(bind?.images === undefined ? [] : ['image']),
    ...(bind?.hosts === undefined ? [] : ['host']),
    ...(posture?.isolation === undefined ? [] : ['class', 'boundary']),
  ];
  return [...selectorKeys(selector), ...facts.map((fact) => factPrefix + fact)];
}

interface RuleEnds {
  readonly from?: PeersDocument | undefined;
  readonly to?: PeersDocument | undefined;
  readonly ports?: readonly PortDocument[] | undefined;
}

function ruleKeys({ from, to, ports = [] }: RuleEnds): readonly string[] {
  return [
    ...[...rulePeers(from), ...rulePeers(to)].flatMap((peer) => selectorKeys(peer.selector)),
    ...ports.flatMap(({ name }) => portKeys(name)),
  ];
}

/** The peers of one end of a rule; none when the end is left out, which means everybody. */
export function rulePeers(peers: PeersDocument | undefined): ReturnType<typeof peerList> {
  return peers === undefined ? [] : peerList(peers);
}

function networkPolicyKeys({ spec }: NetworkPolicyDocument): readonly string[] {
  const { ingress = [], egress = [] } = spec;
  const peers = [...ingress.flatMap(({ from = [] }) => from), ...egress.flatMap(({ to = [] }) => to)];
  return [
    namespaceLabel,
    ...selectorKeys(spec.podSelector),
    ...peers.flatMap(({ podSelector }) => selectorKeys(podSelector)),
    ...peers
      .flatMap(({ ipBlock }) => (ipBlock === undefined ? [] : [ipBlock.cidr, ...(ipBlock.except ?? [])]))
      .map(insideKey),
    ...[...ingress, ...egress].flatMap(({ ports = [] }) => ports.flatMap(({ port }) => portKeys(port))),
  ];
}

function clusterPolicyKeys({ spec }: ClusterNetworkPolicyDocument): readonly string[] {
  const rules = [...(spec.ingress ?? []), ...(spec.egress ?? [])];
  const named = rules.flatMap(({ protocols = [] }) => protocols.flatMap((port) => portKeys(port.destinationNamedPort)));
  return [...adminPeerKeys(spec), ...named];
}

type AdminDocument = AdminNetworkPolicyDocument | BaselineAdminNetworkPolicyDocument;

function adminPolicyKeys({ spec }: AdminDocument): readonly string[] {
  const rules = [...(spec.ingress ?? []), ...(spec.egress ?? [])];
  const named = rules.flatMap(({ ports = [] }) => ports.flatMap(({ namedPort }) => portKeys(namedPort)));
  return [...adminPeerKeys(spec), ...named];
}

function adminPeerKeys(spec: AdminDocument['spec'] | ClusterNetworkPolicyDocument['spec']): readonly string[] {
  const far = [...(spec.ingress ?? []).flatMap(({ from }) => from), ...(spec.egress ?? []).flatMap(({ to }) => to)];
  const networks = (spec.egress ?? []).flatMap(({ to }) => to.flatMap((peer) => peer.networks ?? []));
  return [
    namespaceLabel,
    ...[spec.subject, ...far].flatMap(({ pods }) => selectorKeys(pods?.podSelector)),
    ...networks.map(insideKey),
  ];
}

function insideKey(cidr: string): string {
  const parsed = maskedPrefix(cidr);
  if (parsed.kind === 'refused') throw new Error(`a parsed document holds the network ${cidr}: ${parsed.reason}`);
  return addressFactKey(parsed.prefix);
}

function portKeys(name: string | number | undefined): readonly string[] {
  return typeof name === 'string' ? [namedPortPrefix + name] : [];
}

function selectorKeys(selector: Selector | undefined): readonly string[] {
  if (selector === undefined) return [];
  return [...Object.keys(selector.matchLabels ?? {}), ...(selector.matchExpressions ?? []).map(({ key }) => key)];
}
