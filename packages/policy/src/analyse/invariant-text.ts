import type { InvariantResult, Statement, WitnessHop } from './invariant.ts';
import { portSetText, serviceText } from './port-set.ts';
import { partySetText } from './terms-text.ts';

/** The result in a few lines without an ending line break: that it holds, or the witness. */
export function invariantText({ name, invariant, outcome, checked }: InvariantResult): string {
  const head = `${name} (${invariant})`;
  switch (outcome.kind) {
    case 'holds':
      return `${head}: holds\n  ${checked}`;
    case 'broken':
      return [`${head}: broken`, ...outcome.witness.map((hop) => `  ${witnessHopText(hop)}`)].join('\n');
    case 'not-checked':
      return `${head}: not checked, ${outcome.why}`;
  }
}

/** The result with its argument line by line. */
export function argumentText(result: InvariantResult): string {
  const { outcome } = result;
  if (outcome.kind !== 'holds') return invariantText(result);
  const lines = outcome.argument.map((statement, index) => `  ${index + 1}. ${statementText(statement)}`);
  const more = outcome.omitted === 0 ? [] : [`  and ${outcome.omitted} more statements`];
  return [invariantText(result), ...lines, ...more].join('\n');
}

/** One permitted connection of a witness, or the one that is not permitted, in one line. */
export function witnessHopText({ from, to, protocol, port, verdict, egressReason, ingressReason }: WitnessHop): string {
  const what = `${from.name} -> ${to.name}, ${serviceText(protocol, port)}: ${verdict}`;
  return `${what} (egress: ${egressReason}, ingress: ${ingressReason})`;
}

function statementText(statement: Statement): string {
  if (statement.kind === 'reachable')
    return `Paths lead at most to ${partySetText(statement.parties)}; no connection leaves them:`;
  const what = `${partySetText(statement.from)} -> ${partySetText(statement.to)}, ${portSetText(statement.ports)}`;
  if (statement.kind === 'allowed')
    return `Every connection ${what} is allowed by ${statement.egressReason} at egress and ${statement.ingressReason} at ingress.`;
  return `Every connection ${what} is denied by ${statement.reason} at ${statement.side}${becauseText(statement.reason)}.`;
}

/** What stands behind a denial that is no rule's. */
function becauseText(reason: string): string {
  if (reason.startsWith('posture:')) return ', because no rule of any tier speaks about it';
  if (reason === 'builtin:no-segment') return ', because no rule of any tier speaks about it and it is in no segment';
  return '';
}
