import type { z } from 'zod';
import type { documentSchemas } from './schema.ts';

type DeepReadonly<T> = T extends readonly (infer Item)[]
  ? readonly DeepReadonly<Item>[]
  : T extends object
    ? { readonly [Key in keyof T]: DeepReadonly<T[Key]> }
    : T;

export type DocumentKind = keyof typeof documentSchemas;
export type DocumentOf<Kind extends DocumentKind> = DeepReadonly<z.infer<(typeof documentSchemas)[Kind]>>;
export type SegmentDocument = DocumentOf<'Segment'>;
export type TierDocument = DocumentOf<'Tier'>;
export type PolicyDocument = DocumentOf<'Policy'>;
export type NamespaceDocument = DocumentOf<'Namespace'>;
export type InvariantDocument = DocumentOf<'Invariant'>;
export type WallDocument = DocumentOf<'Wall'>;
export type NetworkPolicyDocument = DocumentOf<'NetworkPolicy'>;
export type ClusterNetworkPolicyDocument = DocumentOf<'ClusterNetworkPolicy'>;
export type AdminNetworkPolicyDocument = DocumentOf<'AdminNetworkPolicy'>;
export type BaselineAdminNetworkPolicyDocument = DocumentOf<'BaselineAdminNetworkPolicy'>;

/** A document that was parsed and checked by itself; what it refers to is checked by `createPolicySet`. */
export type Document = { [Kind in DocumentKind]: DocumentOf<Kind> }[DocumentKind];

/** Kinds that hold rules. */
export const ruleKinds = [
  'Policy',
  'NetworkPolicy',
  'ClusterNetworkPolicy',
  'AdminNetworkPolicy',
  'BaselineAdminNetworkPolicy',
] as const satisfies readonly DocumentKind[];
export type RuleKind = (typeof ruleKinds)[number];
/** A document that holds rules, ours or Kubernetes'. */
export type RulesDocument = DocumentOf<RuleKind>;

/** A rule as a Policy says it. */
export type RuleDocument = PolicyDocument['spec']['rules'][number];
export type PeersDocument = NonNullable<RuleDocument['to']>;
export type PeerDocument = Exclude<PeersDocument, readonly unknown[]>;
export type PortDocument = NonNullable<RuleDocument['ports']>[number];
export type RuleAction = RuleDocument['action'];

interface Named {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string | undefined };
}

/** The name under which a document is kept among those of its kind: `NAME`, or `NAMESPACE/NAME` where it is in a namespace. */
export function documentName({ metadata }: Pick<Named, 'metadata'>): string {
  return metadata.namespace === undefined ? metadata.name : `${metadata.namespace}/${metadata.name}`;
}

/** `Kind/name`, the name of a document in messages and keys. */
export function documentKey(document: Named): string {
  return `${document.kind}/${documentName(document)}`;
}

/** The name of a document with rules in the reasons of verdicts: that of a Policy, or `Kind:name`. */
export function policyReference(document: RulesDocument): string {
  return document.kind === 'Policy' ? document.metadata.name : `${document.kind}:${documentName(document)}`;
}

export function isRuleKind(kind: string): kind is RuleKind {
  return (ruleKinds as readonly string[]).includes(kind);
}
