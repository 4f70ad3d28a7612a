/** Documents that may cut hosts off from SSH and from the manager, for good: taken only from somebody who insists. */
import { documentName, needsForce, type Document, type Problem } from '@bulkhead/policy';
import type { DocumentChange } from './apply-request.ts';

/** What is in force already was insisted on before. */
export function lockOutProblems(
  changes: readonly DocumentChange[],
  files: ReadonlyMap<Document, string | undefined>,
): readonly Problem[] {
  return changes.flatMap(({ change, after }) => {
    if (after === null || change === 'unchanged' || !needsForce(after)) return [];
    const file = files.get(after);
    return [
      {
        path: 'spec.lockOutGuard',
        reason: 'without the guard documents may cut the segment’s hosts off from SSH and from the manager',
        allowed: 'no lockOutGuard, or an apply that is forced (bulkhead apply --force)',
        document: `${after.kind}/${documentName(after)}`,
        ...(file === undefined ? {} : { file }),
      },
    ];
  });
}
