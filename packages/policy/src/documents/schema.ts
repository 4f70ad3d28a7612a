import { z } from 'zod';
import { documentLimits, labelsSchema, nameSchema, networkSchema, refuse, selectorSchema } from './field-schema.ts';
import { ruleSchema } from './rule-schema.ts';

export const apiVersion = 'bulkhead.dev/v1';

const postureAction = z.enum(['allow', 'deny', 'reject']);

const isolation = z.strictObject({
  class: z.enum(['shared', 'sandbox', 'microvm']),
  boundary: z.enum(['hardware']).optional(),
  allowEmulated: z.boolean().optional(),
});

export const segmentSpec = z
  .strictObject({
    selector: selectorSchema.optional(),
    networks: z.array(networkSchema).min(1).max(documentLimits.networksMax).optional(),
    bind: z
      .strictObject({
        images: z
          .array(
            z.string().regex(/^sha256:[0-9a-f]{64}$/, {
              error: 'an image is named by its digest, sha256: and 64 hexadecimal digits',
            }),
          )
          .min(1)
          .max(documentLimits.bindMax)
          .optional(),
        hosts: z.array(z.string().min(1).max(253)).min(1).max(documentLimits.bindMax).optional(),
      })
      .optional(),
    posture: z
      .strictObject({
        ingress: postureAction.optional(),
        egress: postureAction.optional(),
        isolation: isolation.optional(),
      })
      .optional(),
    dataset: nameSchema.optional(),
  })
  .superRefine((spec, context) => {
    if (spec.selector === undefined && spec.networks === undefined) {
      refuse(context, 'the segment selects nothing', 'a selector, networks, or both');
    }
    if (spec.bind !== undefined && spec.selector === undefined) {
      refuse(context, 'bind narrows a selector, and there is none', 'a selector beside it', ['bind']);
    }
    if (spec.bind !== undefined && spec.bind.images === undefined && spec.bind.hosts === undefined) {
      refuse(context, 'bind says nothing', 'images, hosts, or both', ['bind']);
    }
  });

export const tierSpec = z.strictObject({
  /** Lower positions are judged first. */
  position: z.int().min(0).max(1_000_000),
  order: z.enum(['severity', 'listed']).optional(),
});

export const policySpec = z.strictObject({
  tier: nameSchema.optional(),
  mode: z.enum(['enforce']).optional(),
  timeZone: z
    .string()
    .max(64)
    .superRefine((zone, context) => {
      if (!isTimeZone(zone))
        refuse(context, `"${zone}" is no time zone`, 'a name of the IANA database, e.g. Europe/Vienna');
    })
    .optional(),
  rules: z.array(ruleSchema).max(documentLimits.rulesMax),
});

function isTimeZone(zone: string): boolean {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: zone }).resolvedOptions().timeZone !== '';
  } catch (error) {
    if (error instanceof RangeError) return false;
    throw error;
  }
}

const metadata = z.strictObject({ name: nameSchema, labels: labelsSchema.optional() });

function documentOf<Kind extends string, Spec extends z.ZodType>(kind: Kind, spec: Spec) {
  return z.strictObject({ apiVersion: z.literal(apiVersion), kind: z.literal(kind), metadata, spec });
}

/** Each kind of document that is understood, by its name. */
export const documentSchemas = {
  Segment: documentOf('Segment', segmentSpec),
  Tier: documentOf('Tier', tierSpec),
  Policy: documentOf('Policy', policySpec),
} as const;
