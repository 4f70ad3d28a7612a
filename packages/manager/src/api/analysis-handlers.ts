/** What documents mean before they are applied. All of it runs beside the manager's own thread. */
import { documentJsonSchema } from '@bulkhead/policy';
import { universeOf } from '../analysis/universe.ts';
import { failure, notFound, ok } from './handler.ts';
import { refusal } from './policy-handlers.ts';
import { historyFailure } from './revision-failure.ts';
import type { Basis } from '../analysis/messages.ts';
import type { ApplyRequest } from '../policies/policies.ts';
import type { Failure, HandlerRequest, Handlers } from './handler.ts';
import type { ApiServices } from './services.ts';

export const analysisHandlers: Handlers<'diffMeaning' | 'getSchema'> = {
  async diffMeaning(services, request) {
    const { before: from, after: to } = request.body;
    const proposed = await basisOf(services, request, to);
    if (proposed.kind === 'error') return proposed;
    const present = await revisionBasis(services, from ?? services.policies.revision(), 'body.before');
    if (present.kind === 'error') return present;
    const universe = universeOf(services.committer.state, services.policies.labelKeys(), [...proposed.basis.set]);
    const difference = await services.analysis.ask('people', {
      kind: 'diff',
      before: present.basis,
      after: proposed.basis,
      universe,
    });
    if (difference.kind === 'too-large') return tooManyClasses(difference);
    const { kind: _, ...rest } = difference;
    return ok({ revision: present.basis.revision, ...rest });
  },
  getSchema(_services, { query }) {
    const { kind } = query;
    const schema = documentJsonSchema(kind);
    return schema === null
      ? notFound(`kind of document called ${kind}`, 'Leave the kind out to see all.')
      : ok(schema as { title: string });
  },
};

type BasisResult = { readonly kind: 'basis'; readonly basis: Basis } | Failure;

async function presentBasis({ policies, history }: ApiServices): Promise<Extract<BasisResult, { kind: 'basis' }>> {
  const revision = await history.documentsRevision(policies.revision());
  return { kind: 'basis', basis: { revision, set: [], removed: [] } };
}

async function revisionBasis({ history }: ApiServices, revision: number, where: string): Promise<BasisResult> {
  const outside = await historyFailure(history, revision, where);
  if (outside !== null) return outside;
  return { kind: 'basis', basis: { revision: await history.documentsRevision(revision), set: [], removed: [] } };
}

/** The documents in force with those of the request, checked as an apply would; or those of a revision. */
async function basisOf(
  services: ApiServices,
  { actor, body }: HandlerRequest<'diffMeaning'>,
  revision?: number,
): Promise<BasisResult> {
  const { documents, removed } = body;
  if (revision !== undefined) {
    if (documents.length + removed.length > 0)
      return failure('malformed', 'Documents or a revision, not both.', {
        where: 'body',
        why: 'A revision has its documents.',
        do: 'Leave one of them out.',
      });
    return revisionBasis(services, revision, 'body.revision');
  }
  if (documents.length + removed.length === 0) return presentBasis(services);
  const preview = services.policies.preview(actor, {
    documents,
    removed,
    dryRun: true,
    expectRevision: null,
  } as ApplyRequest);
  if (preview.kind !== 'preview') return refusal(preview);
  const { revision: at, set, removed: gone } = preview;
  return { kind: 'basis', basis: { revision: await services.history.documentsRevision(at), set, removed: gone } };
}

function tooManyClasses({ classes, classesMax }: { readonly classes: number; readonly classesMax: number }): Failure {
  return failure('too-large', 'There are too many parties that policy tells apart.', {
    why: `Every pair is compared, and there are ${classes} classes of parties; at most ${classesMax} are.`,
    do: 'Compare the documents with `diff` alone, or simulate them over recorded flows.',
  });
}
