/** What documents mean before they are applied: differences, recorded traffic, invariants, recommendations. Nothing here changes anything. */
import { z } from 'zod';
import { differenceGroup, invariantResult, simulationResult, universeSummary } from './analysis-schema.ts';
import { applyBody } from './policy-routes.ts';
import type { Route } from './route.ts';

const revision = z.int().nonnegative();
const documentValue = z.record(z.string(), z.unknown());
/** Where recorded flows are taken from. */
const recorded = {
  sinceMs: z.number(),
  untilMs: z.number().optional(),
  /** Only flows with an end in this segment. */
  segment: z.string().max(253).optional(),
} as const;

export const analysisRoutes = {
  diffMeaning: {
    method: 'POST',
    path: '/v1/diff/meaning',
    permission: 'read',
    reach: 'cluster',
    summary:
      'Exactly which connections documents would allow, deny or ask about otherwise; or one revision from another.',
    body: z.strictObject({
      ...applyBody.shape,
      /** Compared with: the documents in force where it is left out. */
      before: revision.optional(),
      /** Instead of documents: the revision to compare. */
      after: revision.optional(),
    }),
    response: z.strictObject({
      revision,
      groups: z.array(differenceGroup).readonly(),
      omitted: z.number(),
      pairsChanged: z.number(),
      pairs: z.number(),
      pairsReasonOnly: z.number(),
      universe: universeSummary,
    }),
  },
  simulate: {
    method: 'POST',
    path: '/v1/simulate',
    permission: 'read',
    reach: 'segment',
    summary: 'What documents would have made of recorded flows. Within a scope: of its flows.',
    body: z.strictObject({ ...applyBody.shape, ...recorded }),
    response: z.strictObject({
      revision,
      ...simulationResult.shape,
      /** Flows that were stopped for something other than policy, and so are not judged. */
      dropped: z.number(),
    }),
  },
  prove: {
    method: 'POST',
    path: '/v1/prove',
    permission: 'read',
    reach: 'cluster',
    summary: 'The invariants in force, or those that would be: each with its argument, or the shortest way round it.',
    body: z.strictObject({
      ...applyBody.shape,
      /** Only this one. */
      name: z.string().max(253).optional(),
      revision: revision.optional(),
    }),
    response: z.strictObject({ revision, results: z.array(invariantResult).readonly(), universe: universeSummary }),
  },
  recommend: {
    method: 'POST',
    path: '/v1/recommend',
    permission: 'read',
    reach: 'cluster',
    summary: 'The least policy that allows what was seen and allowed, as documents to review.',
    body: z.strictObject({
      sinceMs: recorded.sinceMs,
      untilMs: recorded.untilMs,
      /** Only connections with an end in this segment, beside the documents in force; null: all, in the place of their rules. */
      segment: z.string().max(253).nullable().default(null),
      /** Name of the policy. */
      name: z.string().min(1).max(60).default('recommended'),
    }),
    response: z.strictObject({
      revision,
      documents: z.array(documentValue).readonly(),
      rules: z
        .array(z.strictObject({ policy: z.string(), rule: z.string(), flows: z.number(), groups: z.number() }))
        .readonly(),
      leftOut: z
        .array(z.strictObject({ why: z.string(), flows: z.number(), rule: documentValue.nullable() }))
        .readonly(),
      broken: z.array(invariantResult).readonly(),
      flows: z.number(),
      flowsCovered: z.number(),
    }),
  },
} as const satisfies Record<string, Route>;
