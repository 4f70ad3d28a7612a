/** Status, revisions and receipts, enforcement, people's tokens, the audit log. */
import { z } from 'zod';
import { auditHead, auditHeadLine, auditLine } from '../audit.ts';
import { roles, permissions } from '../roles.ts';
import { queryNumber } from '../records.ts';
import { pageOf, pageQuery } from './route.ts';
import type { Route } from './route.ts';

const role = z.enum(roles);
const scope = z.array(z.string().min(1).max(63)).min(1).max(1000).nullable();

const personToken = z.strictObject({
  id: z.string(),
  name: z.string(),
  role,
  /** Segments that it is for; null: all. */
  scope,
  createdMs: z.number(),
  expiresMs: z.number().nullable(),
  by: z.string(),
});

export const enforcementState = z.strictObject({
  on: z.boolean(),
  because: z.string(),
  by: z.string(),
  atMs: z.number(),
});

export const hostReceipt = z.strictObject({
  host: z.string(),
  connected: z.boolean(),
  enforced: z.boolean(),
  revision: z.int().nullable(),
  enforcedMs: z.number().nullable(),
  atMs: z.number().nullable(),
  failed: z.array(z.string()),
});

/** Longest wait for receipts in one request, milliseconds. */
export const waitMsMax = 60_000;

export const operationRoutes = {
  getStatus: {
    method: 'GET',
    path: '/v1/status',
    permission: 'read',
    reach: 'segment',
    summary: 'The manager and what it looks after, in numbers. Within a scope: without hosts, tokens and audit.',
    response: z.strictObject({
      software: z.string(),
      startedMs: z.number(),
      revision: z.int(),
      desiredRevision: z.int(),
      documents: z.int(),
      workloads: z.int(),
      identities: z.int(),
      hosts: z.strictObject({ enrolled: z.int(), connected: z.int(), current: z.int() }).nullable(),
      questionsWaiting: z.int(),
      divergences: z.int(),
      flows: z.strictObject({ stored: z.number(), lost: z.number() }).nullable(),
      enforcement: enforcementState,
      audit: auditHead.nullable(),
      /** When the manager's own certificate ends; it renews itself before. */
      certificateEndsMs: z.number(),
    }),
  },
  whoAmI: {
    method: 'GET',
    path: '/v1/whoami',
    permission: 'read',
    reach: 'segment',
    summary: 'Name, role, scope and permissions of the token that asks.',
    response: z.strictObject({
      name: z.string(),
      role,
      scope,
      permissions: z.array(z.enum(permissions)),
      expiresMs: z.number().nullable(),
    }),
  },
  listRevisions: {
    method: 'GET',
    path: '/v1/revisions',
    permission: 'audit',
    reach: 'cluster',
    summary: 'Who changed what, newest first.',
    query: z.strictObject(pageQuery),
    response: pageOf(
      z.strictObject({ revision: z.int(), atMs: z.number(), by: z.string(), changes: z.array(z.string()) }),
    ),
  },
  getReceipts: {
    method: 'GET',
    path: '/v1/revisions/:revision/receipts',
    permission: 'read',
    reach: 'segment',
    summary:
      'Which hosts enforce a revision; waits until all connected ones do, or the time is up. Within a scope hosts are only counted.',
    params: z.strictObject({ revision: z.string().regex(/^[0-9]{1,15}$/) }),
    query: z.strictObject({ waitMs: queryNumber.pipe(z.int().min(0).max(waitMsMax)).default(0) }),
    response: z.strictObject({
      revision: z.int(),
      /** Every enrolled and connected host enforces it. */
      complete: z.boolean(),
      enforcedCount: z.int(),
      hostsCount: z.int(),
      hosts: z.array(hostReceipt),
    }),
  },
  setEnforcement: {
    method: 'PUT',
    path: '/v1/enforcement',
    permission: 'enforcement',
    reach: 'cluster',
    summary: 'Emergency switch. Off lets every connection through, everywhere, and says so until it is on again.',
    body: z.strictObject({ on: z.boolean(), because: z.string().min(1).max(1024) }),
    response: enforcementState,
  },
  createToken: {
    method: 'POST',
    path: '/v1/tokens',
    permission: 'people',
    reach: 'cluster',
    summary: "A person's bearer token. Its text is shown once.",
    body: z.strictObject({
      name: z.string().regex(/^[a-z0-9]([a-z0-9._@-]{0,61}[a-z0-9])?$/),
      role,
      scope: scope.default(null),
      /** Null: until it is revoked. */
      forSeconds: z
        .int()
        .min(10)
        .max(10 * 31_536_000)
        .nullable()
        .default(null),
    }),
    response: z.strictObject({ ...personToken.shape, token: z.string() }),
  },
  listTokens: {
    method: 'GET',
    path: '/v1/tokens',
    permission: 'people',
    reach: 'cluster',
    summary: "People's tokens, without their secrets.",
    query: z.strictObject(pageQuery),
    response: pageOf(personToken),
  },
  revokeToken: {
    method: 'DELETE',
    path: '/v1/tokens/:id',
    permission: 'people',
    reach: 'cluster',
    summary: "End a person's token. The last administrator's cannot be ended.",
    params: z.strictObject({ id: z.string().min(1).max(64) }),
    response: z.strictObject({ id: z.string() }),
  },
  listAudit: {
    method: 'GET',
    path: '/v1/audit',
    permission: 'audit',
    reach: 'cluster',
    summary: 'Lines of the audit log, newest first.',
    query: z.strictObject(pageQuery),
    response: pageOf(auditLine),
  },
  exportAudit: {
    method: 'GET',
    path: '/v1/audit/export',
    permission: 'audit',
    reach: 'cluster',
    summary: 'The whole log, oldest first, then its signed head: what `bulkhead audit verify` takes.',
    response: z.union([auditLine, auditHeadLine]),
    stream: true,
  },
  getAuditHead: {
    method: 'GET',
    path: '/v1/audit/head',
    permission: 'audit',
    reach: 'cluster',
    summary: 'The signed head, the key that it is checked with, and the heads that hosts have witnessed.',
    response: z.strictObject({
      head: auditHead,
      writer: z.string(),
      publicKey: z.string(),
      witnesses: z.array(auditHead),
    }),
  },
} as const satisfies Record<string, Route>;
