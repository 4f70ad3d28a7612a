/** Who may see and who may answer a question that waits for a human. */
import type { Actor } from '../services.ts';
import type { LoggedQuestion } from './question-log.ts';

export type AnswerAuthority =
  | { readonly kind: 'may' }
  /** Outside of the person's segments: for them it does not exist. */
  | { readonly kind: 'invisible' }
  | { readonly kind: 'refused'; readonly why: string };

/**
 * The role that the rule names, or `administrator`; and where the person has a scope, the segment that is to be reached lies in it:
 * whoever owns only the asking side does not open somebody else's doors. Towards an address the asking side counts.
 */
export function mayAnswer(by: Actor, { record }: LoggedQuestion): AnswerAuthority {
  const { source, destination, approver } = record;
  const { scope } = by;
  if (scope !== null && ![...source.segments, ...destination.segments].some((segment) => scope.includes(segment))) {
    return { kind: 'invisible' };
  }
  if (by.role !== approver && by.role !== 'administrator') {
    return {
      kind: 'refused',
      why: `this question is for the role ${approver ?? 'administrator'}, and ${by.name} has the role ${by.role}`,
    };
  }
  const reached = destination.workload === null || destination.workload === 'host' ? source : destination;
  if (scope !== null && !reached.segments.some((segment) => scope.includes(segment))) {
    return { kind: 'refused', why: `${reached.name ?? reached.address} is in no segment of ${by.name}'s scope` };
  }
  return { kind: 'may' };
}
