/** Who a rule may ask: a role that answers questions. Another would leave its questions to administrators, or to nobody. */
import { rolePermissions, roles } from '@bulkhead/protocol';
import type { Document, Problem } from '@bulkhead/policy';

export const approverRoles: readonly string[] = roles.filter((role) => rolePermissions[role].has('answer'));

export function approverProblems(documents: readonly Document[]): readonly Problem[] {
  return documents.flatMap((document) => {
    if (document.kind !== 'Policy') return [];
    return document.spec.rules.flatMap(({ approve }, index) => {
      if (approve === undefined || approverRoles.includes(approve.by)) return [];
      const path = `spec.rules[${index}].approve.by`;
      const reason = `the role ${JSON.stringify(approve.by)} answers no questions`;
      return [{ path, reason, allowed: approverRoles.join(', '), document: `Policy/${document.metadata.name}` }];
    });
  });
}
