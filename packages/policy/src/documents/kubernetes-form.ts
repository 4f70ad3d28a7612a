/** Documents of Kubernetes in the form in which they are checked and kept. */
import type { Document, DocumentKind } from './document.ts';
import { modeAnnotation } from './kubernetes-schema.ts';
import { apiVersion, foreignApiVersions } from './schema.ts';

/** The version of Kubernetes' own Namespace documents. */
export const coreVersion = 'v1';

/** A document whose kind and version are known to belong together. */
export type Envelope = Readonly<Record<string, unknown>> & { readonly kind: DocumentKind };

/**
 * What Kubernetes' reader would see: a field that is null is absent. Its Namespace documents become ours, of which they have all that
 * policy reads.
 */
export function nativeForm(value: Readonly<Record<string, unknown>>): Envelope {
  const kind = value['kind'] as DocumentKind;
  if (value['apiVersion'] === coreVersion) return { apiVersion, kind, metadata: namespaceMetadata(value['metadata']) };
  return foreignApiVersions[kind] === undefined ? { ...value, kind } : { ...withoutNulls(value, 0), kind };
}

function namespaceMetadata(metadata: unknown): unknown {
  if (!isRecord(metadata)) return metadata;
  const { name, labels } = metadata;
  return { name, ...(labels === undefined || labels === null ? {} : { labels }) };
}

/** No document of Kubernetes has anything deeper; what is there is refused as it stands. */
const depthMax = 16;

/** The value itself where nothing in it is null, which is the rule. */
function withoutNulls<Value>(value: Value, depth: number): Value {
  if (typeof value !== 'object' || value === null || depth > depthMax || !hasNull(value, depth)) return value;
  if (Array.isArray(value)) return value.map((item: unknown) => withoutNulls(item, depth + 1)) as Value;
  const fields = Object.entries(value).filter(([, field]) => field !== null);
  return Object.fromEntries(fields.map(([key, field]) => [key, withoutNulls(field, depth + 1)])) as Value;
}

function hasNull(value: unknown, depth: number): boolean {
  if (typeof value !== 'object' || depth > depthMax) return false;
  if (value === null) return true;
  for (const key in value) if (hasNull((value as Record<string, unknown>)[key], depth + 1)) return true;
  return false;
}

/** The document without what is of no meaning here: `status`, and annotations of others. A NetworkPolicy is always in a namespace. */
export function keptForm(document: Document): Document {
  switch (document.kind) {
    case 'NetworkPolicy': {
      const { status: _status, ...kept } = document;
      const namespace = document.metadata.namespace ?? 'default';
      return { ...kept, metadata: { ...keptMetadata(document.metadata), namespace } };
    }
    case 'ClusterNetworkPolicy':
    case 'AdminNetworkPolicy':
    case 'BaselineAdminNetworkPolicy': {
      const { status: _status, ...kept } = document;
      return { ...kept, metadata: keptMetadata(document.metadata) };
    }
    case 'Segment':
    case 'Tier':
    case 'Policy':
    case 'Namespace':
    case 'Invariant':
    case 'Wall':
      return document;
  }
}

interface Metadata {
  readonly name: string;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  readonly annotations?: Readonly<Record<string, string>> | undefined;
}

function keptMetadata({ name, labels, annotations }: Metadata): Metadata {
  const mode = annotations?.[modeAnnotation];
  return {
    name,
    ...(labels === undefined ? {} : { labels }),
    ...(mode === undefined ? {} : { annotations: { [modeAnnotation]: mode } }),
  };
}

/** Whether the document says that it is to be judged and not enforced. */
export function isStaged(document: Document): boolean {
  switch (document.kind) {
    case 'Policy':
      return document.spec.mode === 'staged';
    case 'NetworkPolicy':
    case 'ClusterNetworkPolicy':
    case 'AdminNetworkPolicy':
    case 'BaselineAdminNetworkPolicy':
      return document.metadata.annotations?.[modeAnnotation] === 'staged';
    case 'Segment':
    case 'Tier':
    case 'Namespace':
    case 'Invariant':
    case 'Wall':
      return false;
  }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
