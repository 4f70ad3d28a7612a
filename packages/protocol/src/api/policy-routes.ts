/** Documents: apply, compare, read, delete; and what policy says about a pair. */
import { z } from 'zod';
import { queryBoolean, queryNumber } from '../records.ts';
import { pageOf, pageQuery } from './route.ts';
import type { Route } from './route.ts';

const documentValue = z.record(z.string(), z.unknown());
const kind = z.string().min(1).max(63);
/** `NAME`, or `NAMESPACE/NAME`. */
const documentName = z.string().min(1).max(317);
const atRevision = queryNumber.pipe(z.int().nonnegative()).optional();
const documentParams = z.strictObject({ kind, name: documentName });

/** What an apply or a delete did, or would do. `before` and `after` are null where there is no document. */
export const documentChange = z.strictObject({
  kind: z.string(),
  name: z.string(),
  change: z.enum(['created', 'changed', 'unchanged', 'removed']),
});

export const applyResponse = z.strictObject({
  changes: z.array(documentChange),
  /** Workloads that get another identity because other labels count. */
  relabelled: z.int(),
  /** Revision that made it so; of a dry run, the present one. */
  revision: z.int(),
  dryRun: z.boolean(),
});

export const applyBody = z.strictObject({
  documents: z
    .array(
      z.strictObject({
        /** The document as a YAML or JSON reader gives it. */
        value: z.unknown(),
        /** Where it came from, for messages. */
        file: z.string().max(4096).optional(),
        /** Which document of the file, from 0. */
        index: z.int().nonnegative().optional(),
      }),
    )
    .max(10_000)
    .default([]),
  removed: z.array(documentParams).max(10_000).default([]),
});

export const storedDocument = z.strictObject({
  kind: z.string(),
  name: z.string(),
  revision: z.int(),
  by: z.string(),
  atMs: z.number(),
  document: documentValue,
});

/** One side of an explained connection. */
export const explainParty = z.union([
  z.strictObject({ workload: z.string().max(253) }),
  z.strictObject({ labels: z.record(z.string(), z.string()) }),
  z.strictObject({ address: z.union([z.ipv4(), z.ipv6()]) }),
  /** A DNS name: an address outside that the source has learnt under it. */
  z.strictObject({ dns: z.string().min(1).max(253) }),
  /** A machine itself: any, or the one of that name. */
  z.strictObject({ host: z.union([z.literal(true), z.string().min(1).max(253)]) }),
]);
const explainedParty = z.strictObject({
  text: z.string(),
  labels: z.record(z.string(), z.string()),
  segments: z.array(z.string()),
});
const explainedSide = z.strictObject({
  action: z.enum(['allow', 'deny', 'reject', 'ask']),
  reason: z.string(),
});

export const policyRoutes = {
  applyDocuments: {
    method: 'POST',
    path: '/v1/documents',
    permission: 'documents',
    reach: 'segment',
    summary: 'Apply documents and removals: all of them or none. With dryRun nothing changes.',
    query: z.strictObject({
      dryRun: queryBoolean.default(false),
      /** Refused with `conflict` unless no document changed after this revision. */
      expectRevision: queryNumber.pipe(z.int().nonnegative()).optional(),
      /** Takes documents too that may cut hosts off from SSH and from the manager. */
      force: queryBoolean.default(false),
    }),
    body: applyBody,
    response: applyResponse,
  },
  listDocuments: {
    method: 'GET',
    path: '/v1/documents',
    permission: 'read',
    reach: 'segment',
    summary: 'The documents in force, by kind and name.',
    query: z.strictObject({
      kind: kind.optional(),
      search: z.string().max(253).optional(),
      /** The documents in force at that revision. */
      revision: atRevision,
      ...pageQuery,
    }),
    response: pageOf(storedDocument),
  },
  getDocument: {
    method: 'GET',
    path: '/v1/documents/:kind/:name',
    permission: 'read',
    reach: 'segment',
    summary: 'One document, with who changed it last.',
    params: documentParams,
    query: z.strictObject({ revision: atRevision }),
    response: storedDocument,
  },
  deleteDocument: {
    method: 'DELETE',
    path: '/v1/documents/:kind/:name',
    permission: 'documents',
    reach: 'segment',
    summary: 'Remove one document, unless another refers to it.',
    params: documentParams,
    query: z.strictObject({ dryRun: queryBoolean.default(false) }),
    response: applyResponse,
  },
  diffDocuments: {
    method: 'POST',
    path: '/v1/diff',
    permission: 'read',
    reach: 'segment',
    summary: 'What an apply would change, document by document, with both versions.',
    body: applyBody,
    response: z.strictObject({
      changes: z.array(
        z.strictObject({
          ...documentChange.shape,
          before: documentValue.nullable(),
          after: documentValue.nullable(),
        }),
      ),
      relabelled: z.int(),
      revision: z.int(),
    }),
  },
  explain: {
    method: 'POST',
    path: '/v1/explain',
    permission: 'read',
    reach: 'segment',
    summary: 'What policy says about a connection, which rule on each side says it, and which rules lost.',
    body: z.strictObject({
      source: explainParty,
      destination: explainParty,
      protocol: z.int().min(0).max(255).default(6),
      /** A number, or the name of a port of the destination. */
      port: z.union([z.int().min(0).max(65_535), z.string().min(1).max(63)]).default(0),
      /** By the documents of that revision; the newest where it is left out. */
      revision: z.int().nonnegative().optional(),
    }),
    response: z.strictObject({
      action: z.enum(['allow', 'deny', 'reject', 'ask']),
      source: explainedParty,
      destination: explainedParty,
      egress: explainedSide,
      ingress: explainedSide,
      /** Every rule and posture that was looked at, in the order of their weight, in words. */
      lines: z.array(z.string()),
      /** As a number, where a name was asked about. */
      port: z.int(),
      revision: z.int(),
    }),
  },
  getSchema: {
    method: 'GET',
    path: '/v1/schema',
    permission: 'read',
    reach: 'segment',
    summary: 'JSON Schema of all documents, or of one kind, for editors.',
    query: z.strictObject({ kind: kind.optional() }),
    response: z.looseObject({ title: z.string() }),
  },
} as const satisfies Record<string, Route>;
