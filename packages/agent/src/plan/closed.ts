/** The ruleset that denies everything: written before anything else can refer to it, and repaired when it was touched. */
import type { EndpointState } from '@bulkhead/kernel';
import { directions } from './contents.ts';
import { closedRuleset, type ActualKernel, type DesiredKernel, type Operation, type RowTarget } from './model.ts';

export function closedRows(actual: ActualKernel, desired: DesiredKernel): readonly Operation[] {
  const have = actual.rulesets.get(closedRuleset);
  const rows: RowTarget[] = [];
  for (const direction of directions) {
    for (const [peer, table] of desired.closed[direction]) {
      if (have?.[direction].get(peer) !== table) rows.push({ direction, peer, table });
    }
  }
  return rows.length === 0 ? [] : [{ kind: 'set-rows', ruleset: closedRuleset, rows, purpose: { kind: 'closed' } }];
}

/** Whether packets of an endpoint may pass by what its ruleset says, or whatever it says. */
export function isOpen(state: EndpointState, ruleset: number): boolean {
  return state === 'observed' || (state === 'governed' && ruleset !== closedRuleset);
}
