import { defaultTier, peerList, sortedJson } from '../documents/canonical.ts';
import type {
  PeerDocument,
  PeersDocument,
  PolicyDocument,
  PortDocument,
  RuleAction,
  RuleDocument,
} from '../documents/document.ts';
import { protocolNumber, type SideVerdict } from '../model.ts';
import { type Prefix, parsePrefix } from '../select/prefix.ts';
import { type Selector, selectorKey } from '../select/selector.ts';
import { textDigest } from './digest.ts';

/** A network with holes in it. */
export interface Network {
  readonly prefix: Prefix;
  readonly except: readonly Prefix[];
}

export type Peer =
  | { readonly kind: 'any' }
  | { readonly kind: 'host' }
  | { readonly kind: 'segment'; readonly segment: string }
  | { readonly kind: 'selector'; readonly selector: Selector }
  | { readonly kind: 'network'; readonly network: Network };

/** One end of a rule: any of these. Equal keys mean equal ends, whatever order the document lists them in. */
export interface Peers {
  readonly key: string;
  readonly list: readonly Peer[];
}

/** A piece of protocol and port space, ends included; see `Flow.port`. */
export interface PortSpan {
  readonly protocol: number;
  readonly from: number;
  readonly to: number;
}

/** A rule with everything in it that does not depend on other documents. */
export interface ResolvedRule {
  readonly tier: string;
  readonly policy: string;
  readonly name: string;
  /** Position in its policy. */
  readonly index: number;
  readonly action: RuleAction;
  /** What the rule gives; a `pass` gives nothing but the way to the next tier. */
  readonly verdict: SideVerdict | null;
  /** The sides it speaks for. */
  readonly egress: boolean;
  readonly ingress: boolean;
  readonly from: Peers;
  readonly to: Peers;
  /** `null` is every protocol and port. */
  readonly ports: readonly PortSpan[] | null;
  readonly document: RuleDocument;
}

/** Parsed documents never change, so that what follows from one alone is computed once. */
const resolvedRules = new WeakMap<PolicyDocument, readonly ResolvedRule[]>();

export function rulesOf(document: PolicyDocument): readonly ResolvedRule[] {
  let rules = resolvedRules.get(document);
  if (rules === undefined) {
    rules = document.spec.rules.map((rule, index) => resolveRule(document, rule, index));
    resolvedRules.set(document, rules);
  }
  return rules;
}

function resolveRule(document: PolicyDocument, rule: RuleDocument, index: number): ResolvedRule {
  const tier = document.spec.tier ?? defaultTier;
  const policy = document.metadata.name;
  const reason = { kind: 'rule', tier, policy, rule: rule.name } as const;
  const verdict: SideVerdict | null =
    rule.action === 'pass'
      ? null
      : rule.action === 'ask'
        ? { action: 'ask', reason, terms: termsDigest(document, rule) }
        : { action: rule.action, reason };
  return {
    tier,
    policy,
    name: rule.name,
    index,
    action: rule.action,
    verdict,
    egress: rule.applies !== 'ingress',
    ingress: rule.applies !== 'egress',
    from: resolvePeers(rule.from),
    to: resolvePeers(rule.to),
    ports: resolvePorts(rule.ports),
    document: rule,
  };
}

function termsDigest(document: PolicyDocument, rule: RuleDocument): string {
  const { when, otherwise, hold, remember, approve, pending } = rule;
  const timeZone = document.spec.timeZone ?? 'UTC';
  return textDigest(sortedJson({ timeZone, when, otherwise, hold, remember, approve, pending }));
}

const everybody: Peers = { key: '*', list: [{ kind: 'any' }] };

function resolvePeers(peers: PeersDocument | undefined): Peers {
  if (peers === undefined) return everybody;
  const list = peerList(peers).map(resolvePeer);
  const [only] = list;
  if (list.length === 1 && only !== undefined) return only.kind === 'any' ? everybody : { key: peerKey(only), list };
  if (list.some(({ kind }) => kind === 'any')) return everybody;
  return { key: [...new Set(list.map(peerKey))].sort().join('|'), list };
}

function resolvePeer(peer: PeerDocument): Peer {
  if (peer.segment !== undefined) return { kind: 'segment', segment: peer.segment };
  if (peer.selector !== undefined) return { kind: 'selector', selector: peer.selector };
  if (peer.cidr !== undefined) return { kind: 'network', network: resolveNetwork(peer.cidr, peer.except) };
  return peer.host === true ? { kind: 'host' } : { kind: 'any' };
}

export function resolveNetwork(cidr: string, except: readonly string[] = []): Network {
  return { prefix: checkedPrefix(cidr), except: except.map(checkedPrefix) };
}

/** Documents are checked before they come here, so a bad network is a bug. */
function checkedPrefix(text: string): Prefix {
  const parsed = parsePrefix(text);
  if (parsed.kind === 'refused') throw new Error(`a parsed document holds the network ${text}: ${parsed.reason}`);
  return parsed.prefix;
}

function peerKey(peer: Peer): string {
  switch (peer.kind) {
    case 'any':
      return '*';
    case 'host':
      return 'host';
    case 'segment':
      return `segment:${peer.segment}`;
    case 'selector':
      return `selector:${selectorKey(peer.selector)}`;
    case 'network':
      return networkKey(peer.network);
  }
}

export function networkKey(network: Network): string {
  return [network.prefix.cidr, ...network.except.map(({ cidr }) => cidr).sort()].join('!');
}

function resolvePorts(ports: readonly PortDocument[] | undefined): readonly PortSpan[] | null {
  if (ports === undefined || ports.some(({ protocol }) => protocol === 'any')) return null;
  return ports.map(portSpan);
}

function portSpan(port: PortDocument): PortSpan {
  const { protocol } = port;
  switch (protocol) {
    case 'any':
      throw new Error('a port that is every protocol has no span');
    case 'tcp':
    case 'udp':
    case 'sctp': {
      const from = port.port ?? 0;
      return {
        protocol: protocolNumber[protocol],
        from,
        to: port.port === undefined ? 65_535 : (port.endPort ?? from),
      };
    }
    case 'icmp':
    case 'icmpv6': {
      if (port.type === undefined) return { protocol: protocolNumber[protocol], from: 0, to: 65_535 };
      const from = port.type * 256 + (port.code ?? 0);
      return { protocol: protocolNumber[protocol], from, to: port.code === undefined ? from + 255 : from };
    }
  }
}

/** True where the rule speaks about this protocol and port. */
export function portsMatch(ports: readonly PortSpan[] | null, protocol: number, port: number): boolean {
  return ports === null || ports.some((span) => span.protocol === protocol && span.from <= port && port <= span.to);
}

/** True where nothing that a rule does differs. */
export function sameRule(a: ResolvedRule, b: ResolvedRule): boolean {
  if (a === b) return true;
  const sameHead = a.index === b.index && a.tier === b.tier && a.verdict?.terms === b.verdict?.terms;
  return sameHead && sortedJson(a.document) === sortedJson(b.document);
}
