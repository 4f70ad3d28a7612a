import { z } from 'zod';
import {
  adminNetworkPolicySchema,
  adminApiVersion,
  baselineAdminNetworkPolicySchema,
  clusterNetworkPolicySchema,
  clusterApiVersion,
} from './admin-schema.ts';
import {
  checkOneOf,
  documentLimits,
  labelsSchema,
  nameSchema,
  networkSchema,
  refuse,
  selectorSchema,
} from './field-schema.ts';
import { networkPolicyApiVersion, networkPolicySchema } from './network-policy-schema.ts';
import { peersSchema, portsSchema, ruleSchema, sourcePeersSchema } from './rule-schema.ts';
import { wallSpec } from './wall-schema.ts';

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
    /** Machines themselves, which are then judged as workloads are. */
    hosts: z
      .strictObject({
        names: z.array(z.string().min(1).max(253)).min(1).max(documentLimits.hostsMax).optional(),
        all: z.literal(true).optional(),
      })
      .superRefine((hosts, context) => {
        checkOneOf(hosts, ['names', 'all'], context, { none: 'hosts names nobody', several: 'hosts has' });
      })
      .optional(),
    /** `false` lets documents cut its hosts off from SSH and the manager. */
    lockOutGuard: z.boolean().optional(),
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
    if (spec.selector === undefined && spec.networks === undefined && spec.hosts === undefined) {
      refuse(context, 'the segment selects nothing', 'a selector, networks, hosts, or several of them');
    }
    if (spec.lockOutGuard !== undefined && spec.hosts === undefined) {
      refuse(context, 'lockOutGuard is about hosts, and there are none', 'hosts beside it', ['lockOutGuard']);
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
  /** `staged`: judged and told of, never enforced. */
  mode: z.enum(['enforce', 'staged']).optional(),
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

const claim = z.strictObject({ from: sourcePeersSchema, to: peersSchema, ports: portsSchema.optional() });
const claims = ['never', 'always', 'neverReaches'] as const;

export const invariantSpec = z
  .strictObject({
    /** No connection of these is permitted, nor asked about. */
    never: claim.optional(),
    /** Every connection of these is permitted without a question. */
    always: claim.optional(),
    /** Nor over any path of permitted connections. */
    neverReaches: claim.optional(),
  })
  .superRefine((spec, context) => {
    checkOneOf(spec, claims, context, { none: 'the invariant claims nothing', several: 'the invariant claims' });
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

/** What a Kubernetes namespace is labelled with. Kubernetes' own Namespace documents become these. */
const namespaceSchema = z.strictObject({
  apiVersion: z.literal(apiVersion),
  kind: z.literal('Namespace'),
  metadata: z.strictObject({ name: nameSchema, labels: labelsSchema.optional() }),
});

/** Each kind of document that is understood, by its name. */
export const documentSchemas = {
  Segment: documentOf('Segment', segmentSpec),
  Tier: documentOf('Tier', tierSpec),
  Policy: documentOf('Policy', policySpec),
  Namespace: namespaceSchema,
  Invariant: documentOf('Invariant', invariantSpec),
  Wall: documentOf('Wall', wallSpec),
  NetworkPolicy: networkPolicySchema,
  ClusterNetworkPolicy: clusterNetworkPolicySchema,
  AdminNetworkPolicy: adminNetworkPolicySchema,
  BaselineAdminNetworkPolicy: baselineAdminNetworkPolicySchema,
} as const;

/** The versions under which documents of the other kinds come; ours alone have `apiVersion`. */
export const foreignApiVersions: Readonly<Record<string, string>> = {
  NetworkPolicy: networkPolicyApiVersion,
  ClusterNetworkPolicy: clusterApiVersion,
  AdminNetworkPolicy: adminApiVersion,
  BaselineAdminNetworkPolicy: adminApiVersion,
};
