import { factPrefix, type Flow, type Party, protocolNumber, type Reason } from '../model.ts';
import type { PortSpan } from '../resolve/ports.ts';
import { reasonText } from '../resolve/reason.ts';
import { labelOf } from '../select/selector.ts';
import type { ConsideredRule, Explanation, RuleOutcome, SideExplanation } from './explain.ts';

/** The explanation for people, some lines without an ending line break. */
export function explanationText(explanation: Explanation): string {
  const { flow, verdict, egress, ingress } = explanation;
  const head = `${verdict.action}: ${partyText(flow.source)} to ${partyText(flow.destination)}, ${serviceText(flow)}`;
  return [head, ...sideLines(egress), ...sideLines(ingress), ...stagedLines(explanation)].join('\n');
}

function stagedLines({ verdict, staged }: Explanation): string[] {
  if (staged === null) return [];
  const sides = (['egress', 'ingress'] as const).map(
    (direction) => `${direction} ${staged[direction].action} by ${reasonText(staged[direction].reason)}`,
  );
  const change = staged.action === verdict.action ? 'would not change that' : `would make it ${staged.action}`;
  return [`  staged policies ${change}: ${sides.join(', ')}`];
}

function sideLines(side: SideExplanation): string[] {
  const { direction, subject, verdict, segments, namespace, unproven, rules, rulesOmitted } = side;
  const lines = [
    `  ${direction} of ${partyText(subject)}: ${verdict.action} by ${reasonText(verdict.reason)}${meaning(side)}`,
  ];
  if (segments.length > 0) {
    lines.push(`    segments: ${segments.map(({ segment, posture }) => `${segment} (posture ${posture})`).join(', ')}`);
  }
  if (namespace !== null)
    lines.push(
      `    namespace: ${namespace.name} (${namespace.documented ? 'open where no policy selects' : 'no document'})`,
    );
  for (const { segment, why } of unproven) lines.push(`    not in ${segment}, though its labels claim it: ${why}`);
  for (const rule of rules) {
    const reference = reasonText({ kind: 'rule', ...rule });
    lines.push(`    ${reference} (${rule.action}): ${outcomeText(rule)}${namedPortsText(rule)}`);
  }
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
    case 'later-priority':
      return `lost, ${winnerText(outcome)} is of a policy that comes before it`;
    case 'closes-last':
      return `lost, it closes what nothing else of its tier allows, and ${winnerText(outcome)} does`;
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

function namedPortsText({ namedPorts }: ConsideredRule): string {
  if (namedPorts.length === 0) return '';
  const texts = namedPorts.map(({ name, spans }) =>
    spans.length === 0
      ? `the destination has no port ${name}`
      : `port ${name} is ${spans.map(serviceOf).join(', ')} there`,
  );
  return ` (${texts.join(', ')})`;
}

function serviceOf({ protocol, from }: PortSpan): string {
  return serviceText({ protocol, port: from });
}

function winnerText(outcome: Extract<RuleOutcome, { winner: unknown }>): string {
  return reasonText({ kind: 'rule', ...outcome.winner });
}

const hostFact = `${factPrefix}host`;

export function partyText(party: Party): string {
  switch (party.kind) {
    case 'host': {
      const name = labelOf(party.labels ?? {}, hostFact);
      return name === undefined ? 'the host' : `the host ${name}`;
    }
    case 'address':
      return [party.address, ...(party.names ?? []).map((name) => `(${name})`)].join(' ');
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
