/** What documents mean before they are applied: differences, recorded traffic, invariants, recommendations. Nothing here changes anything. */
import { z } from 'zod';
import { differenceGroup, universeSummary } from './analysis-schema.ts';
import { applyBody } from './policy-routes.ts';
import type { Route } from './route.ts';

const revision = z.int().nonnegative();
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
} as const satisfies Record<string, Route>;
