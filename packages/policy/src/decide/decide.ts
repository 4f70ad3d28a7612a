import type { BuiltinReason, Direction, Flow, Labels, Party, SideVerdict, Verdict } from '../model.ts';
import { protocolNumber } from '../model.ts';
import { addressBits } from '../select/prefix.ts';
import { selectorMatches } from '../select/selector.ts';
import { type PolicySet, rulesInOrder } from '../resolve/policy-set.ts';
import { type Peer, type Peers, portsMatch, type ResolvedRule } from '../resolve/rule.ts';
import { inNetwork, isolationSuffices, membershipOf, type Segment } from '../resolve/segment.ts';

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
  if (subject.kind === 'host' || subject.kind === 'address') return builtin('allow', 'not-a-subject');
  if (subject.kind === 'unknown' || peer.kind === 'unknown') return builtin('deny', 'unknown');

  const segments = segmentsOf(set, subject.labels);
  if (isolationFalseIn(segments, subject.labels) !== null) return builtin('deny', 'isolation');

  for (const [, rules] of rulesInOrder(set)) {
    // In the order of precedence, so the first that speaks about the flow decides for its tier.
    const rule = rules.find((candidate) => ruleSpeaks(set, candidate, direction, subject, peer, flow));
    if (rule?.verdict != null) return rule.verdict;
  }
  if (direction === 'egress' && peer.kind === 'host' && isNameQuery(flow)) return builtin('allow', 'resolver');
  return postureVerdict(segments, direction);
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
    portsMatch(rule.ports, flow.protocol, flow.port) &&
    peersMatch(set, own, subject) &&
    peersMatch(set, far, peer)
  );
}

export function peersMatch(set: PolicySet, peers: Peers, party: Party): boolean {
  return peers.list.some((peer) => peerMatches(set, peer, party));
}

/** Identity comes before address: a network never stands for a workload or the host, whatever addresses they have. */
function peerMatches(set: PolicySet, peer: Peer, party: Party): boolean {
  switch (peer.kind) {
    case 'any':
      return true;
    case 'host':
      return party.kind === 'host';
    case 'selector':
      return party.kind === 'workload' && selectorMatches(peer.selector, party.labels);
    case 'network':
      return party.kind === 'address' && inNetwork(peer.network, bitsOf(party.address));
    case 'segment': {
      const segment = set.segments.get(peer.segment);
      if (segment === undefined)
        throw new Error(`the policy set lets a rule name the segment ${peer.segment}, which it does not have`);
      return inSegment(segment, party);
    }
  }
}

function inSegment(segment: Segment, party: Party): boolean {
  if (party.kind === 'workload') return membershipOf(segment, party.labels).kind === 'member';
  if (party.kind !== 'address') return false;
  const bits = bitsOf(party.address);
  return segment.networks.some((network) => inNetwork(network, bits));
}

function bitsOf(address: string): string {
  const bits = addressBits(address);
  if (bits === null) throw new Error(`a flow's party has the address "${address}", which is none`);
  return bits;
}

/** The segments that the workload is a member of, by name. */
export function segmentsOf(set: PolicySet, labels: Labels): readonly Segment[] {
  return [...set.segments.values()]
    .filter((segment) => membershipOf(segment, labels).kind === 'member')
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** The first segment whose demand of isolation the workload does not meet. */
export function isolationFalseIn(segments: readonly Segment[], labels: Labels): Segment | null {
  return segments.find(({ isolation }) => isolation !== null && !isolationSuffices(isolation, labels)) ?? null;
}

const postureStrictness = { deny: 0, reject: 1, allow: 2 } as const;

/** The strictest posture of the workload's segments (given by name, so that equals are settled); in none, denial. */
export function postureVerdict(segments: readonly Segment[], direction: Direction): SideVerdict {
  let strictest: Segment | null = null;
  for (const segment of segments) {
    const stricter =
      strictest === null ||
      postureStrictness[segment.posture[direction]] < postureStrictness[strictest.posture[direction]];
    if (stricter) strictest = segment;
  }
  if (strictest === null) return builtin('deny', 'no-segment');
  return { action: strictest.posture[direction], reason: { kind: 'posture', segment: strictest.name } };
}

const namePort = 53;

function isNameQuery({ protocol, port }: Flow): boolean {
  return port === namePort && (protocol === protocolNumber.udp || protocol === protocolNumber.tcp);
}

export function builtin(action: 'allow' | 'deny', name: BuiltinReason): SideVerdict {
  return { action, reason: { kind: 'builtin', name } };
}
