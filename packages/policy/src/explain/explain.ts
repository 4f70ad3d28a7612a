import { decide, isolationFalseIn, isSubject, labelsOf, peersMatch, segmentsOfParty } from '../decide/decide.ts';
import type { RuleAction } from '../documents/document.ts';
import type { Direction, Flow, Party, Reason, SideVerdict, Verdict } from '../model.ts';
import { namespaceOf } from '../resolve/namespace.ts';
import type { PolicySet } from '../resolve/policy-set.ts';
import { namedPortSpans, portsMatch, type PortSpan } from '../resolve/ports.ts';
import { decidingRule, severity, type Tier } from '../resolve/precedence.ts';
import type { ResolvedRule } from '../resolve/rule.ts';
import { rulesInOrder } from '../resolve/rules-in-order.ts';
import { membershipOf, type PostureAction } from '../resolve/segment.ts';
import { stagedPolicySet } from '../resolve/staged.ts';

/** What became of a rule that has, or nearly has, something to say about one side of a flow. */
export type RuleOutcome =
  | { readonly kind: 'decides' }
  /** It left the flow to the tiers below. */
  | { readonly kind: 'passes' }
  /** Its tier comes after the one that decided. */
  | { readonly kind: 'later-tier'; readonly winner: RuleReference }
  /** Another rule of its tier is more severe. */
  | { readonly kind: 'less-severe'; readonly winner: RuleReference }
  /** Another rule of its tier comes before it: by its policy's name, then by its place in the policy. */
  | { readonly kind: 'listed-later'; readonly winner: RuleReference }
  /** The policy of another comes before its own among the admin policies of the tier. */
  | { readonly kind: 'later-priority'; readonly winner: RuleReference }
  /** It denies what nothing else of its tier speaks about, and another rule does. */
  | { readonly kind: 'closes-last'; readonly winner: RuleReference }
  /** Something built in decides before any rule. */
  | { readonly kind: 'overruled'; readonly by: string }
  /** It speaks only for the other side. */
  | { readonly kind: 'other-side' }
  | { readonly kind: 'port-differs' }
  /** The far party is not among its peers. */
  | { readonly kind: 'peer-differs' }
  /** It is about other workloads than this one. */
  | { readonly kind: 'subject-differs' };

export interface RuleReference {
  readonly tier: string;
  readonly policy: string;
  readonly rule: string;
}

export interface ConsideredRule extends RuleReference {
  readonly action: RuleAction;
  readonly outcome: RuleOutcome;
  /** The named ports of the rule, and what they are at the flow's destination: nothing where it has no such port. */
  readonly namedPorts: readonly { readonly name: string; readonly spans: readonly PortSpan[] }[];
}

export interface SideExplanation {
  readonly direction: Direction;
  readonly subject: Party;
  readonly verdict: SideVerdict;
  /** The subject's segments with their postures, of which the strictest stands below all tiers. */
  readonly segments: readonly { readonly segment: string; readonly posture: PostureAction }[];
  /** Its Kubernetes namespace; `documented` where that has a document, and so is open to what no policy selects. */
  readonly namespace: { readonly name: string; readonly documented: boolean } | null;
  /** Segments that its labels claim and its facts do not prove. */
  readonly unproven: readonly { readonly segment: string; readonly why: string }[];
  /** The segment whose demand of isolation is not met. */
  readonly isolationDemandedBy: string | null;
  /** Rules that match, in the order in which they are judged, then those that fail in exactly one thing. */
  readonly rules: readonly ConsideredRule[];
  /** How many more there are of the latter. */
  readonly rulesOmitted: number;
}

export interface Explanation {
  readonly flow: Flow;
  readonly verdict: Verdict;
  readonly egress: SideExplanation;
  readonly ingress: SideExplanation;
  /** What the verdict would be if the staged policies were enforced; null where none is staged. */
  readonly staged: Verdict | null;
}

/** Most rules that one side of an explanation lists. */
export const rulesListedMax = 50;

/** Why the flow has the verdict that `decide` gives. */
export function explain(set: PolicySet, flow: Flow): Explanation {
  const verdict = decide(set, flow);
  const stagedSet = stagedPolicySet(set);
  return {
    flow,
    verdict,
    egress: explainSide(set, 'egress', flow, verdict.egress),
    ingress: explainSide(set, 'ingress', flow, verdict.ingress),
    staged: stagedSet === null ? null : decide(stagedSet, flow),
  };
}

function explainSide(set: PolicySet, direction: Direction, flow: Flow, verdict: SideVerdict): SideExplanation {
  const [subject, peer] = direction === 'egress' ? [flow.source, flow.destination] : [flow.destination, flow.source];
  const labels = labelsOf(subject);
  const members = segmentsOfParty(set, subject);
  const unproven = [...set.segments.values()].flatMap((segment) => {
    const membership = subject.kind === 'workload' ? membershipOf(segment, labels) : null;
    return membership?.kind === 'unproven' ? [{ segment: segment.name, why: membership.why }] : [];
  });
  const namespace = subject.kind === 'workload' ? namespaceOf(labels) : null;
  const { matching, near } = considerRules(set, direction, { subject, peer, flow, verdict });
  const listed = [...matching, ...near].slice(0, rulesListedMax);
  return {
    direction,
    subject,
    verdict,
    segments: members.map(({ name, posture }) => ({ segment: name, posture: posture[direction] })),
    namespace: namespace === null ? null : { name: namespace, documented: set.namespaces.has(namespace) },
    unproven,
    isolationDemandedBy: isolationFalseIn(members, labels)?.name ?? null,
    rules: listed,
    rulesOmitted: matching.length + near.length - listed.length,
  };
}

interface Side {
  readonly subject: Party;
  readonly peer: Party;
  readonly flow: Flow;
  readonly verdict: SideVerdict;
}

function considerRules(
  set: PolicySet,
  direction: Direction,
  side: Side,
): { matching: ConsideredRule[]; near: ConsideredRule[] } {
  const matching: ConsideredRule[] = [];
  const near: ConsideredRule[] = [];
  if (!isSubject(side.subject, segmentsOfParty(set, side.subject))) return { matching, near };
  const overruled = overruledBy(side.verdict.reason);
  let decided: ResolvedRule | null = null;
  for (const [tier, rules] of rulesInOrder(set)) {
    const speaking: ResolvedRule[] = [];
    for (const rule of rules) {
      const miss = onlyMiss(set, rule, direction, side);
      if (miss === 'none') speaking.push(rule);
      else if (miss !== null) near.push(considered(rule, { kind: miss }, side.flow));
    }
    const first = decidingRule(tier.order, speaking, () => true);
    for (const rule of first === null ? [] : [first, ...speaking.filter((other) => other !== first)]) {
      const outcome = matchOutcome(tier, rule, { first: first!, speaking, decided });
      matching.push(considered(rule, overruled === null ? outcome : { kind: 'overruled', by: overruled }, side.flow));
    }
    if (first !== null && first.verdict !== null) decided ??= first;
  }
  near.sort((a, b) => missOrder.indexOf(a.outcome.kind) - missOrder.indexOf(b.outcome.kind));
  return { matching, near };
}

function considered(rule: ResolvedRule, outcome: RuleOutcome, { destination }: Flow): ConsideredRule {
  const labels = destination.kind === 'workload' ? destination.labels : {};
  const namedPorts = rule.namedPorts.map((named) => ({ name: named.name, spans: namedPortSpans(labels, named) }));
  return { ...referenceOf(rule), action: rule.action, outcome, namedPorts };
}

/** `first` is the rule that speaks for the tier, `decided` the one of an earlier tier that decided. */
function matchOutcome(
  tier: Tier,
  rule: ResolvedRule,
  among: { first: ResolvedRule; speaking: readonly ResolvedRule[]; decided: ResolvedRule | null },
): RuleOutcome {
  const { first, speaking, decided } = among;
  if (decided !== null) return { kind: 'later-tier', winner: referenceOf(decided) };
  if (rule === first) return { kind: rule.verdict === null ? 'passes' : 'decides' };
  // The ordered block speaks with one voice: its later rules lost within it, whatever decided in the end.
  const ofBlock = rule.block === 'ordered' ? speaking.find(({ block }) => block === 'ordered') : undefined;
  if (ofBlock !== undefined && ofBlock !== rule) {
    const kind = ofBlock.priority === rule.priority ? 'listed-later' : 'later-priority';
    return { kind, winner: referenceOf(ofBlock) };
  }
  const winner = referenceOf(first);
  if (rule.block === 'closing' && first.block !== 'closing') return { kind: 'closes-last', winner };
  const severer = tier.order === 'severity' && severity[first.action] < severity[rule.action];
  return { kind: severer ? 'less-severe' : 'listed-later', winner };
}

type Miss = 'none' | 'other-side' | 'port-differs' | 'peer-differs' | 'subject-differs';
const missOrder: readonly string[] = ['port-differs', 'other-side', 'peer-differs', 'subject-differs'];

/** The one thing in which the rule fails to match; null where it fails in more. */
function onlyMiss(
  set: PolicySet,
  rule: ResolvedRule,
  direction: Direction,
  { subject, peer, flow }: Side,
): Miss | null {
  const [own, far] = direction === 'egress' ? [rule.from, rule.to] : [rule.to, rule.from];
  const misses: Miss[] = [];
  if (!rule[direction]) misses.push('other-side');
  if (!portsMatch(rule, flow, flow.destination)) misses.push('port-differs');
  if (misses.length < 2 && !peersMatch(set, own, subject)) misses.push('subject-differs');
  if (misses.length < 2 && !peersMatch(set, far, peer)) misses.push('peer-differs');
  // A cluster has policies for every pod in it; those for other pods are no near misses.
  if (rule.block !== 'native' && misses.includes('subject-differs')) return null;
  return misses.length > 1 ? null : (misses[0] ?? 'none');
}

function overruledBy(reason: Reason): string | null {
  if (reason.kind !== 'builtin') return null;
  const before = reason.name === 'unknown' || reason.name === 'isolation' || reason.name === 'lock-out-guard';
  return before ? reason.name : null;
}

function referenceOf({ tier, policy, name }: ResolvedRule): RuleReference {
  return { tier, policy, rule: name };
}
