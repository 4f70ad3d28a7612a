import { partyText } from '../explain/text.ts';
import { serviceText } from './port-set.ts';
import type { SimulatedChange, SimulationResult } from './simulation.ts';
import { partySetText } from './terms-text.ts';

/** Most changes that the text lists. */
const changesListedMax = 50;

/** The simulation for people, some lines without an ending line break. */
export function simulationText(result: SimulationResult): string {
  const { flows, groups, same, changed, undecided, otherReason, changes, flowsOmitted } = result;
  const listed = changes.slice(0, changesListedMax);
  const rest = changes.slice(changesListedMax).reduce((sum, change) => sum + change.flows, flowsOmitted);
  return [
    `${flows} flows in ${groups} groups: ${same} keep their verdict, ${changed} change, ${undecided} are undecided`,
    ...(otherReason === 0 ? [] : [`${otherReason} of those that keep it are decided by another rule`]),
    ...listed.flatMap(changeLines),
    ...(rest === 0 ? [] : [`and ${rest} more flows in changes that are not listed`]),
  ].join('\n');
}

function changeLines(change: SimulatedChange): string[] {
  const { fate, recorded, proposed, from, to, protocol, port, recordedReasons, proposedReasons, flows, example } =
    change;
  const head = fate === 'undecided' ? `undecided, was ${recorded} by a question` : `${recorded} -> ${proposed}`;
  return [
    `${head}: ${flows} flows ${partySetText(from)} -> ${partySetText(to)}, ${serviceText(protocol, port)}`,
    `  was: egress ${recordedReasons.egress}, ingress ${recordedReasons.ingress}`,
    `  now: egress ${proposedReasons.egress}, ingress ${proposedReasons.ingress}`,
    `  e.g. ${partyText(example.source)} to ${partyText(example.destination)}`,
  ];
}
