import type { BuiltinReason, Direction, Flow, Labels, Party, SideVerdict, Verdict } from '../model.ts';
import { protocolNumber } from '../model.ts';
import { addressBits } from '../select/prefix.ts';
import { selectorMatches } from '../select/selector.ts';
import { namespaceOf, podSelected } from '../resolve/namespace.ts';
import type { Peer, Peers } from '../resolve/peers.ts';
import type { PolicySet } from '../resolve/policy-set.ts';
import { portsMatch } from '../resolve/ports.ts';
import { decidingRule } from '../resolve/precedence.ts';
import type { ResolvedRule } from '../resolve/rule.ts';
import { rulesInOrder } from '../resolve/rules-in-order.ts';
import { hasHost, inNetwork, isolationSuffices, membershipOf, type Segment } from '../resolve/segment.ts';
import { dnsNameMatches } from '../select/dns-name.ts';
import { guardAllows } from './lock-out-guard.ts';

/**
 * What policy means. Everything else in this package (compiled tables, explanations) must agree with this function; it is written
 * to be read, not to be fast: its cost grows with the number of rules.
 */
export function decide(set: PolicySet, flow: Flow): Verdict {
  const egress = decideSide(set, 'egress', flow);
  const ingress = decideSide(set, 'ingress', flow);
  return { action: combinedAction(egress, ingress), egress, ingress };
}

/** deny = reject > ask > allow; with two denials the egress side's form counts. */
export function combinedAction(egress: SideVerdict, ingress: SideVerdict): Verdict['action'] {
  if (isDenial(egress)) return egress.action;
  if (isDenial(ingress)) return ingress.action;
  return egress.action === 'ask' ? 'ask' : ingress.action;
}

function isDenial({ action }: SideVerdict): boolean {
  return action === 'deny' || action === 'reject';
}

/** The verdict of one end alone: the source's about its egress, or the destination's about its ingress. */
export function decideSide(set: PolicySet, direction: Direction, flow: Flow): SideVerdict {
  const [subject, peer] = direction === 'egress' ? [flow.source, flow.destination] : [flow.destination, flow.source];
  const segments = segmentsOfParty(set, subject);
  if (!isSubject(subject, segments)) return builtin('allow', 'not-a-subject');
  if (subject.kind === 'unknown' || peer.kind === 'unknown') return builtin('deny', 'unknown');
  const labels = labelsOf(subject);
  if (subject.kind === 'workload' && isolationFalseIn(segments, labels) !== null) return builtin('deny', 'isolation');
  if (subject.kind === 'host' && isGuarded(segments) && guardAllows(direction, labels, flow))
    return builtin('allow', 'lock-out-guard');

  for (const [tier, rules] of rulesInOrder(set)) {
    const rule = decidingRule(tier.order, rules, (candidate) =>
      ruleSpeaks(set, candidate, direction, subject, peer, flow),
    );
    if (rule?.verdict != null) return rule.verdict;
  }
  if (isNameQuery(flow) && asksResolver(direction, subject, peer)) return builtin('allow', 'resolver');
  return postureVerdict(segments, direction, openNamespace(set, subject));
}

/** A workload is judged always, a host where a segment says so, an address never. */
export function isSubject(party: Party, segments: readonly Segment[]): boolean {
  return party.kind === 'workload' || party.kind === 'unknown' || (party.kind === 'host' && segments.length > 0);
}

/** Whether the host stays within reach whatever the rules say: unless every segment of it gives that up. */
export function isGuarded(segments: readonly Segment[]): boolean {
  return segments.some(({ lockOutGuard }) => lockOutGuard);
}

/** Workloads ask the agent of their host for names. */
function asksResolver(direction: Direction, subject: Party, peer: Party): boolean {
  const [asker, asked] = direction === 'egress' ? [subject, peer] : [peer, subject];
  return asker.kind === 'workload' && asked.kind === 'host';
}

/** The workload's Kubernetes namespace, where that has a document. */
export function openNamespace(set: PolicySet, party: Party): string | null {
  const name = party.kind === 'workload' ? namespaceOf(party.labels) : null;
  return name !== null && set.namespaces.has(name) ? name : null;
}

/** What is known of a workload or host; nothing of anybody else. */
export function labelsOf(party: Party): Labels {
  return (party.kind === 'workload' || party.kind === 'host' ? party.labels : undefined) ?? {};
}

/** True where the rule has something to say about this end of the flow. */
export function ruleSpeaks(
  set: PolicySet,
  rule: ResolvedRule,
  direction: Direction,
  subject: Party,
  peer: Party,
  flow: { readonly protocol: number; readonly port: number },
): boolean {
  const [own, far] = direction === 'egress' ? [rule.from, rule.to] : [rule.to, rule.from];
  return (
    rule[direction] &&
    portsMatch(rule, flow, direction === 'egress' ? peer : subject) &&
    peersMatch(set, own, subject) &&
    peersMatch(set, far, peer)
  );
}

export function peersMatch(set: PolicySet, peers: Peers, party: Party): boolean {
  return peers.list.some((peer) => peerMatches(set, peer, party));
}

/**
 * Identity comes before address: a network of ours never stands for a workload or the host, whatever addresses they have; one of
 * Kubernetes' does, by the facts about their addresses.
 */
function peerMatches(set: PolicySet, peer: Peer, party: Party): boolean {
  switch (peer.kind) {
    case 'any':
      return true;
    case 'host':
      return party.kind === 'host';
    case 'hosts':
      return party.kind === 'host' && selectorMatches(peer.selector, labelsOf(party));
    case 'selector':
      return party.kind === 'workload' && selectorMatches(peer.selector, party.labels);
    case 'pods':
      return party.kind === 'workload' && podSelected(set.namespaces, peer, party.labels);
    case 'network':
      if (party.kind === 'address') return inNetwork(peer.network, bitsOf(party.address));
      return party.kind !== 'unknown' && peer.inside !== null && selectorMatches(peer.inside, labelsOf(party));
    case 'dns':
      return party.kind === 'address' && (party.names ?? []).some((name) => dnsNameMatches(peer.pattern, name));
    case 'segment': {
      const segment = set.segments.get(peer.segment);
      if (segment === undefined)
        throw new Error(`the policy set lets a rule name the segment ${peer.segment}, which it does not have`);
      return inSegment(segment, party);
    }
  }
}

function inSegment(segment: Segment, party: Party): boolean {
  switch (party.kind) {
    case 'workload':
      return membershipOf(segment, party.labels).kind === 'member';
    case 'host':
      return hasHost(segment, labelsOf(party));
    case 'address': {
      const bits = bitsOf(party.address);
      return segment.networks.some((network) => inNetwork(network, bits));
    }
    case 'unknown':
      return false;
  }
}

function bitsOf(address: string): string {
  const bits = addressBits(address);
  if (bits === null) throw new Error(`a flow's party has the address "${address}", which is none`);
  return bits;
}

/** The segments that a workload with these labels is a member of, by name. */
export function segmentsOf(set: PolicySet, labels: Labels): readonly Segment[] {
  return segmentsOfParty(set, { kind: 'workload', labels });
}

/** The same of any party; addresses and the unknown are no members. */
export function segmentsOfParty(set: PolicySet, party: Party): readonly Segment[] {
  if (party.kind !== 'workload' && party.kind !== 'host') return [];
  return [...set.segments.values()]
    .filter((segment) => inSegment(segment, party))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** The first segment whose demand of isolation the workload does not meet. */
export function isolationFalseIn(segments: readonly Segment[], labels: Labels): Segment | null {
  return segments.find(({ isolation }) => isolation !== null && !isolationSuffices(isolation, labels)) ?? null;
}

const postureStrictness = { deny: 0, reject: 1, allow: 2 } as const;

/**
 * The strictest posture of the subject's segments (given by name, so that equals are settled). In none it is open where its namespace
 * has a document, else denied.
 */
export function postureVerdict(
  segments: readonly Segment[],
  direction: Direction,
  namespace: string | null,
): SideVerdict {
  let strictest: Segment | null = null;
  for (const segment of segments) {
    const stricter =
      strictest === null ||
      postureStrictness[segment.posture[direction]] < postureStrictness[strictest.posture[direction]];
    if (stricter) strictest = segment;
  }
  if (strictest !== null)
    return { action: strictest.posture[direction], reason: { kind: 'posture', segment: strictest.name } };
  if (namespace === null) return builtin('deny', 'no-segment');
  return { action: 'allow', reason: { kind: 'namespace', namespace } };
}

const namePort = 53;

function isNameQuery({ protocol, port }: Flow): boolean {
  return port === namePort && (protocol === protocolNumber.udp || protocol === protocolNumber.tcp);
}

export function builtin(action: 'allow' | 'deny', name: BuiltinReason): SideVerdict {
  return { action, reason: { kind: 'builtin', name } };
}
