import { z } from 'zod';
import { parsePrefix, prefixContains } from '../select/prefix.ts';
import {
  labelKeyFault,
  labelKeyRule,
  labelValueFault,
  labelValueRule,
  nameCharactersMax,
  namePattern,
  nameRule,
} from './names.ts';

/** Longest list of each kind in one document. Whoever needs more writes several documents. */
export const documentLimits = {
  rulesMax: 10_000,
  portsMax: 1_000,
  peersMax: 10_000,
  networksMax: 10_000,
  exceptMax: 10_000,
  expressionsMax: 1_000,
  valuesMax: 10_000,
  bindMax: 1_000,
  hostsMax: 10_000,
  whenCharactersMax: 4_096,
} as const;

export type Context = {
  addIssue(issue: { code: 'custom'; message: string; path?: PropertyKey[]; params?: Record<string, unknown> }): void;
};

export function refuse(context: Context, message: string, allowed?: string, path: PropertyKey[] = []): void {
  context.addIssue({ code: 'custom', message, path, ...(allowed === undefined ? {} : { params: { allowed } }) });
}

export const nameSchema = z.string().superRefine((name, context) => {
  if (name.length > nameCharactersMax || !namePattern.test(name)) refuse(context, `"${name}" is no name`, nameRule);
});

export const labelsSchema = z.record(z.string(), z.string()).superRefine((record, context) => {
  for (const [key, value] of Object.entries(record)) {
    const keyFault = labelKeyFault(key);
    if (keyFault !== null) refuse(context, keyFault, labelKeyRule, [key]);
    const valueFault = labelValueFault(key, value);
    if (valueFault !== null) refuse(context, valueFault, labelValueRule, [key]);
  }
});

const expression = z
  .strictObject({
    key: z.string(),
    operator: z.enum(['In', 'NotIn', 'Exists', 'DoesNotExist']),
    values: z.array(z.string()).max(documentLimits.valuesMax).optional(),
  })
  .superRefine(({ key, operator, values }, context) => {
    const keyFault = labelKeyFault(key);
    if (keyFault !== null) refuse(context, keyFault, labelKeyRule, ['key']);
    const needsValues = operator === 'In' || operator === 'NotIn';
    if (needsValues && (values ?? []).length === 0)
      refuse(context, `${operator} needs values`, 'at least one value', ['values']);
    if (!needsValues && (values ?? []).length > 0)
      refuse(context, `${operator} takes no values`, 'nothing', ['values']);
    for (const [index, value] of (values ?? []).entries()) {
      const valueFault = labelValueFault(key, value);
      if (valueFault !== null) refuse(context, valueFault, labelValueRule, ['values', index]);
    }
  });

/** Kubernetes' label selector. */
export const selectorSchema = z.strictObject({
  matchLabels: labelsSchema.optional(),
  matchExpressions: z.array(expression).max(documentLimits.expressionsMax).optional(),
});

export const cidrSchema = z.string().superRefine((text, context) => {
  const parsed = parsePrefix(text);
  if (parsed.kind === 'refused') refuse(context, parsed.reason, parsed.allowed);
});
export const exceptSchema = z.array(cidrSchema).max(documentLimits.exceptMax).optional();

export function checkExceptions(
  network: { cidr?: string | undefined; except?: string[] | undefined },
  context: Context,
): void {
  const outer = network.cidr === undefined ? null : parsePrefix(network.cidr);
  if (outer === null || outer.kind === 'refused') return;
  for (const [index, text] of (network.except ?? []).entries()) {
    const inner = parsePrefix(text);
    if (inner.kind === 'prefix' && !prefixContains(outer.prefix.bits, inner.prefix.bits)) {
      refuse(context, `the exception ${text} is not inside ${network.cidr}`, `a network inside ${network.cidr}`, [
        'except',
        index,
      ]);
    }
  }
}

export const networkSchema = z.strictObject({ cidr: cidrSchema, except: exceptSchema }).superRefine(checkExceptions);

const dnsLabel = '[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?';
const dnsPattern = new RegExp(`^(\\*\\.)?${dnsLabel}(\\.${dnsLabel})*\\.?$`, 'i');
const dnsCharactersMax = 254;

export const dnsRule = 'a name such as api.example.com, or *.example.com for every name below it';

/** A DNS name, or `*.` and one for all names below it. */
export const dnsSchema = z.string().superRefine((name, context) => {
  if (name.length > dnsCharactersMax || !dnsPattern.test(name)) refuse(context, `"${name}" is no DNS name`, dnsRule);
});

/** Kubernetes' rule for the names of ports (IANA service names). */
const portNamePattern = /^(?=.*[a-z])(?!.*--)[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?$/;
export const portNameRule = '1 to 15 of a-z 0-9 - with a letter among them and a letter or digit at both ends';
export const portNameSchema = z.string().superRefine((name, context) => {
  if (!portNamePattern.test(name)) refuse(context, `"${name}" is no name of a port`, portNameRule);
});

export const portNumberSchema = z.int().min(1).max(65_535);

/** Refuses a map that has none or several of the fields of which exactly one says what it is. */
export function checkOneOf(
  value: Readonly<Record<string, unknown>>,
  fields: readonly string[],
  context: Context,
  words: { readonly none: string; readonly several: string; readonly allowed?: string },
): void {
  const given = fields.filter((field) => value[field] !== undefined);
  if (given.length === 1) return;
  const reason = given.length === 0 ? words.none : `${words.several} ${given.join(' and ')}`;
  refuse(context, reason, `exactly one of ${fields.join(', ')}${words.allowed ?? ''}`);
}
