import { z } from 'zod';
import { nameSchema, refuse } from './field-schema.ts';

/** Longest lists of one Wall. Whoever needs more writes several. */
export const wallDocumentLimits = {
  classesMax: 1_000,
  namesMax: 400,
  conflictsMax: 10_000,
  sanitizersMax: 100,
} as const;

/** Names of datasets that must not meet, every two of them. */
const conflicting = (most: number) =>
  z
    .array(nameSchema)
    .max(most)
    .superRefine((names, context) => {
      if (names.length < 2) refuse(context, 'nothing is in conflict with itself', 'two names of datasets');
      const twice = names.find((name, index) => names.indexOf(name) !== index);
      if (twice !== undefined) refuse(context, `"${twice}" stands there twice`, 'each name once');
    });

export const wallSpec = z
  .strictObject({
    scope: z.enum(['static', 'history', 'transaction']),
    /** Every two of a class are in conflict. */
    classes: z.array(conflicting(wallDocumentLimits.namesMax)).min(1).max(wallDocumentLimits.classesMax).optional(),
    conflicts: z.array(conflicting(2)).min(1).max(wallDocumentLimits.conflictsMax).optional(),
    sanitizers: z
      .array(z.strictObject({ segment: nameSchema }))
      .min(1)
      .max(wallDocumentLimits.sanitizersMax)
      .optional(),
    /** With scope `transaction`; both where nothing is said. */
    readings: z
      .array(z.enum(['roles-apart', 'never-both']))
      .min(1)
      .max(2)
      .optional(),
  })
  .superRefine((spec, context) => {
    if (spec.classes === undefined && spec.conflicts === undefined)
      refuse(context, 'the wall stands between nobody', 'classes, conflicts, or both');
    if (spec.readings !== undefined && spec.scope !== 'transaction')
      refuse(context, 'readings are of walls over transactions', 'scope: transaction beside them', ['readings']);
  });
