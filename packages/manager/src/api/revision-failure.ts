/** What is said where a revision is asked for whose documents are not known. */
import { failure } from './handler.ts';
import type { AtRevision, DocumentHistory } from '../policies/history.ts';
import type { Failure } from './handler.ts';

/** Null where the revision is known. */
export async function historyFailure(
  history: DocumentHistory,
  revision: number,
  where: string,
): Promise<Failure | null> {
  const found = await history.list(revision, { limit: 0 });
  return found.kind === 'found' ? null : outsideFailure(found, revision, where);
}

export function outsideFailure(
  outside: Exclude<AtRevision<never>, { kind: 'found' }>,
  revision: number,
  where: string,
): Failure {
  switch (outside.kind) {
    case 'gone':
      return failure('not-found', `The documents of revision ${revision} are not kept any more.`, {
        where,
        why: `The oldest revision that is kept is ${outside.oldest}.`,
        do: 'Ask about a later one.',
      });
    case 'future':
      return failure('not-found', `There is no revision ${revision} yet.`, {
        where,
        why: `The newest is ${outside.newest}.`,
        do: 'List the revisions.',
      });
  }
}
