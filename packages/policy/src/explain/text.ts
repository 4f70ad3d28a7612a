import { type Flow, type Party, protocolNumber, type Reason } from '../model.ts';
import { reasonText } from '../resolve/reason.ts';
import type { ConsideredRule, Explanation, RuleOutcome, SideExplanation } from './explain.ts';

/** The explanation for people, some lines without an ending line break. */
export function explanationText(explanation: Explanation): string {
  const { flow, verdict, egress, ingress } = explanation;
  const head = `${verdict.action}: ${partyText(flow.source)} to ${partyText(flow.destination)}, ${serviceText(flow)}`;
  return [head, ...sideLines(egress), ...sideLines(ingress)].join('\n');
}

function sideLines(side: SideExplanation): string[] {
  const { direction, subject, verdict, segments, unproven, rules, rulesOmitted } = side;
  const lines = [
    `  ${direction} of ${partyText(subject)}: ${verdict.action} by ${reasonText(verdict.reason)}${meaning(side)}`,
  ];
  if (segments.length > 0) {
    lines.push(`    segments: ${segments.map(({ segment, posture }) => `${segment} (posture ${posture})`).join(', ')}`);
  }
  for (const { segment, why } of unproven) lines.push(`    not in ${segment}, though its labels claim it: ${why}`);
  for (const rule of rules)
    lines.push(`    ${reasonText({ kind: 'rule', ...rule })} (${rule.action}): ${outcomeText(rule)}`);
  if (rulesOmitted > 0) lines.push(`    and ${rulesOmitted} more rules that nearly match`);
  return lines;
}

/** What a reason means that is no rule. */
function meaning({ verdict, isolationDemandedBy }: SideExplanation): string {
  const text = reasonMeaning(verdict.reason, isolationDemandedBy);
  return text === null ? '' : `: ${text}`;
}

function reasonMeaning(reason: Reason, isolationDemandedBy: string | null): string | null {
  if (reason.kind === 'rule') return null;
  if (reason.kind === 'posture') return `no rule decides, so the posture of segment ${reason.segment} does`;
  if (reason.kind === 'namespace')
    return `no rule decides, and the namespace ${reason.namespace} is open to what no policy selects`;
  switch (reason.name) {
    case 'no-segment':
      return 'no rule decides and it is in no segment';
    case 'resolver':
      return 'names may be asked of the host';
    case 'not-a-subject':
      return 'only workloads have rules, and hosts that a segment names';
    case 'unknown':
      return 'the labels of one side are not known yet';
    case 'lock-out-guard':
      return 'it keeps the host within reach, before all rules';
    case 'isolation':
      return `its measured isolation is less than segment ${isolationDemandedBy ?? 'unknown'} demands`;
  }
}

function outcomeText({ outcome }: ConsideredRule): string {
  switch (outcome.kind) {
    case 'decides':
      return 'decides';
    case 'passes':
      return 'passes to the next tier';
    case 'later-tier':
      return `lost, its tier comes after that of ${winnerText(outcome)}`;
    case 'less-severe':
      return `lost, ${winnerText(outcome)} is more severe`;
    case 'listed-later':
      return `lost, ${winnerText(outcome)} comes before it`;
    case 'overruled':
      return `lost, builtin:${outcome.by} comes before all rules`;
    case 'other-side':
      return 'not used, it speaks only for the other side';
    case 'port-differs':
      return 'does not match, the port is another';
    case 'peer-differs':
      return 'does not match, the other party is none of its peers';
    case 'subject-differs':
      return 'does not match, it is about other workloads';
  }
}

function winnerText(outcome: Extract<RuleOutcome, { winner: unknown }>): string {
  return reasonText({ kind: 'rule', ...outcome.winner });
}

export function partyText(party: Party): string {
  switch (party.kind) {
    case 'host':
      return 'the host';
    case 'address':
      return party.address;
    case 'unknown':
      return 'an unknown workload';
    case 'workload': {
      const labels = Object.entries(party.labels).map(([key, value]) => `${key}=${value}`);
      return party.name ?? (labels.length === 0 ? 'a workload without labels' : `{${labels.join(', ')}}`);
    }
  }
}

function serviceText({ protocol, port }: Pick<Flow, 'protocol' | 'port'>): string {
  const name = Object.entries(protocolNumber).find(([, number]) => number === protocol)?.[0] ?? `protocol ${protocol}`;
  if (name === 'icmp' || name === 'icmpv6') return `${name} type ${port >> 8} code ${port & 255}`;
  return name.startsWith('protocol') ? name : `${name} ${port}`;
}
