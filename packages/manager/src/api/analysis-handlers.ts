/** What documents mean before they are applied. All of it runs beside the manager's own thread. */
import { documentJsonSchema } from '@bulkhead/policy';
import { buffersOf } from '../flows/group.ts';
import { failure, notFound, ok } from './handler.ts';
import { refusal } from './policy-handlers.ts';
import { historyFailure } from './revision-failure.ts';
import type { PolicyDifference } from '@bulkhead/policy';
import type { FlowFilter } from '@bulkhead/protocol';
import type { Basis } from '../analysis/messages.ts';
import type { ApplyRequest } from '../policies/apply-request.ts';
import type { GroupedFlows } from '../services.ts';
import type { Failure, HandlerRequest, Handlers } from './handler.ts';
import type { ApiServices } from './services.ts';

export const analysisHandlers: Handlers<'diffMeaning' | 'simulate' | 'prove' | 'recommend' | 'getSchema'> = {
  async diffMeaning(services, request) {
    const { before: from, after: to } = request.body;
    const proposed = await basisOf(services, request, to);
    if (proposed.kind === 'error') return proposed;
    const present = await revisionBasis(services, from ?? services.policies.revision(), 'body.before');
    if (present.kind === 'error') return present;
    const universe = services.universes.of(services.policies.labelKeys(), proposed.basis.set);
    const difference = await services.analysis.ask('people', {
      kind: 'diff',
      before: present.basis,
      after: proposed.basis,
      universe,
    });
    if (difference.kind === 'too-large') return tooManyPairs(difference);
    const { kind: _, ...rest } = difference;
    return ok({ revision: present.basis.revision, ...rest });
  },
  async simulate(services, request) {
    const proposed = await basisOf(services, request);
    if (proposed.kind === 'error') return proposed;
    const recorded = await recordedFlows(services, request.body, request.actor.scope);
    if (recorded.kind === 'error') return recorded;
    const { flows, dropped } = recorded.grouped;
    const asked = { kind: 'simulate', proposed: proposed.basis, flows } as const;
    const result = await services.analysis.ask('people', asked, buffersOf(flows));
    return ok({ revision: proposed.basis.revision, ...result, dropped });
  },
  async prove(services, request) {
    const { name, revision } = request.body;
    const proposed = await basisOf(services, request, revision);
    if (proposed.kind === 'error') return proposed;
    const universe = services.universes.of(services.policies.labelKeys(), proposed.basis.set);
    const report = await services.analysis.ask('people', { kind: 'prove', basis: proposed.basis, universe });
    const results = report.results.filter((result) => name === undefined || result.name === name);
    if (name !== undefined && results.length === 0)
      return notFound(`invariant ${name}`, 'List the documents of the kind Invariant.');
    return ok({ revision: proposed.basis.revision, results, universe: report.universe });
  },
  async recommend(services, request) {
    const { segment, name } = request.body;
    if (segment !== null && !services.policies.policySet().segments.has(segment))
      return notFound(`segment ${segment}`, 'List the segments.');
    const { basis } = await presentBasis(services);
    const filter = { ...request.body, segment: segment ?? undefined };
    const recorded = await recordedFlows(services, filter, null);
    if (recorded.kind === 'error') return recorded;
    const { flows } = recorded.grouped;
    const universe = services.universes.withEveryLabel();
    const asked = { kind: 'recommend', basis, flows, universe, options: { segment, name } } as const;
    const result = await services.analysis.ask('people', asked, buffersOf(flows));
    return ok({
      revision: basis.revision,
      ...result,
      documents: result.documents.map((document) => ({ ...document })),
      leftOut: result.leftOut.map((left) => ({ ...left, rule: left.rule === null ? null : { ...left.rule } })),
    });
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
  { actor, body }: HandlerRequest<'diffMeaning' | 'simulate' | 'prove'>,
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
  const preview = services.policies.preview(actor, { documents, removed, dryRun: true } as ApplyRequest);
  if (preview.kind !== 'preview') return refusal(preview);
  const { revision: at, set, removed: gone } = preview;
  return { kind: 'basis', basis: { revision: await services.history.documentsRevision(at), set, removed: gone } };
}

type Recorded = { readonly kind: 'recorded'; readonly grouped: GroupedFlows } | Failure;

async function recordedFlows(
  { flows }: ApiServices,
  { sinceMs, untilMs, segment }: { sinceMs: number; untilMs?: number | undefined; segment?: string | undefined },
  scope: readonly string[] | null,
): Promise<Recorded> {
  const filter: FlowFilter = {
    sinceMs,
    ...(untilMs === undefined ? {} : { untilMs }),
    ...(segment === undefined ? {} : { segment }),
  };
  const grouped = await flows.group(filter, scope);
  if (grouped !== null) return { kind: 'recorded', grouped };
  return failure('too-large', 'There are too many different flows.', {
    where: 'body.sinceMs',
    why: 'They are counted in groups that are alike to policy, and there are more groups than one analysis takes.',
    do: 'Take a shorter time, or one segment.',
  });
}

function tooManyPairs({ classes, classesMax, pairs }: Extract<PolicyDifference, { kind: 'too-large' }>): Failure {
  return failure('too-large', 'There are too many parties that policy tells apart.', {
    why: `Of ${classes} classes of parties ${pairs} pairs would be compared; at most ${classesMax ** 2} are.`,
    do: 'Compare the documents with `diff` alone, or simulate them over recorded flows.',
  });
}
