import type { z } from 'zod';
import type { ruleSchema } from './rule-schema.ts';
import type { documentSchemas } from './schema.ts';

type DeepReadonly<T> = T extends readonly (infer Item)[]
  ? readonly DeepReadonly<Item>[]
  : T extends object
    ? { readonly [Key in keyof T]: DeepReadonly<T[Key]> }
    : T;

export type DocumentKind = keyof typeof documentSchemas;
export type SegmentDocument = DeepReadonly<z.infer<(typeof documentSchemas)['Segment']>>;
export type TierDocument = DeepReadonly<z.infer<(typeof documentSchemas)['Tier']>>;
export type PolicyDocument = DeepReadonly<z.infer<(typeof documentSchemas)['Policy']>>;

/** A document that was parsed and checked by itself; what it refers to is checked by `createPolicySet`. */
export type Document = SegmentDocument | TierDocument | PolicyDocument;

/** A rule as its document says it. */
export type RuleDocument = DeepReadonly<z.infer<typeof ruleSchema>>;
export type PeersDocument = NonNullable<RuleDocument['from']>;
export type PeerDocument = Exclude<PeersDocument, readonly unknown[]>;
export type PortDocument = NonNullable<RuleDocument['ports']>[number];
export type RuleAction = RuleDocument['action'];

/** `Kind/name`, the name of a document in messages and keys. */
export function documentKey(document: { readonly kind: string; readonly metadata: { readonly name: string } }): string {
  return `${document.kind}/${document.metadata.name}`;
}
