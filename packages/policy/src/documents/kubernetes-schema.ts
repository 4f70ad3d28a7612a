/** What the documents of Kubernetes have in common, as far as policy reads it. */
import { z } from 'zod';
import { maskedPrefix, prefixContains } from '../select/prefix.ts';
import { type Context, documentLimits, labelsSchema, refuse } from './field-schema.ts';

/** The annotation by which a document of Kubernetes is staged: `staged` or `enforce`. */
export const modeAnnotation = 'bulkhead.dev/mode';

/** Names of objects in Kubernetes are DNS names. */
const kubernetesNameSchema = nameOf(253, /^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/, 'a-z 0-9 . -');
/** Those of namespaces are one label of one. */
const namespaceNameSchema = nameOf(63, /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/, 'a-z 0-9 -');

function nameOf(charactersMax: number, pattern: RegExp, characters: string) {
  return z.string().superRefine((name, context) => {
    if (name.length <= charactersMax && pattern.test(name)) return;
    refuse(
      context,
      `"${name}" is no name`,
      `1 to ${charactersMax} of ${characters} with a letter or digit at both ends`,
    );
  });
}

/**
 * Whatever else an object carries (uid, managedFields, annotations of other tools) is tolerated and left out. Every annotation of ours
 * is checked, since a slip in it would enforce what was meant to be staged.
 */
const annotationsSchema = z.record(z.string(), z.string()).superRefine((annotations, context) => {
  for (const [key, value] of Object.entries(annotations)) {
    if (!key.startsWith('bulkhead.dev/')) continue;
    if (key !== modeAnnotation) refuse(context, `the annotation "${key}" is not known`, modeAnnotation, [key]);
    else if (value !== 'staged' && value !== 'enforce')
      refuse(context, `"${value}" is no mode`, 'staged, enforce', [key]);
  }
});

export const clusterMetadataSchema = z.object({
  name: kubernetesNameSchema,
  labels: labelsSchema.optional(),
  annotations: annotationsSchema.optional(),
});

/** A document without a namespace is in `default`, as for Kubernetes' own tools. */
export const namespacedMetadataSchema = clusterMetadataSchema.extend({ namespace: namespaceNameSchema.optional() });

/** Unlike in documents of ours, bits after the prefix length are tolerated and have no meaning. */
export const ipBlockCidrSchema = z.string().superRefine((text, context) => {
  const parsed = maskedPrefix(text);
  if (parsed.kind === 'refused') refuse(context, parsed.reason, parsed.allowed);
});

export const ipBlockSchema = z
  .strictObject({
    cidr: ipBlockCidrSchema,
    except: z.array(ipBlockCidrSchema).max(documentLimits.exceptMax).optional(),
  })
  .superRefine(checkExcept);

function checkExcept({ cidr, except }: { cidr: string; except?: string[] | undefined }, context: Context): void {
  const outer = maskedPrefix(cidr);
  if (outer.kind === 'refused') return;
  for (const [index, text] of (except ?? []).entries()) {
    const inner = maskedPrefix(text);
    if (inner.kind === 'refused') continue;
    const inside = prefixContains(outer.prefix.bits, inner.prefix.bits);
    if (inside && inner.prefix.bits !== outer.prefix.bits) continue;
    refuse(context, `the exception ${text} is no part of ${cidr}`, `a smaller network inside ${cidr}`, [
      'except',
      index,
    ]);
  }
}

/** Kubernetes' protocols are in capitals. */
export const kubernetesProtocolSchema = z.enum(['TCP', 'UDP', 'SCTP']);
