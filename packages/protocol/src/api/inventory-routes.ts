/** Workloads, identities, hosts and their enrolment. */
import { parsePrefix } from '@bulkhead/policy';
import { z } from 'zod';
import { hostName } from '../enrolment.ts';
import { receiptMessage, workloadReport } from '../link.ts';
import { queryBoolean, queryNumber } from '../records.ts';
import { pageOf, pageQuery } from './route.ts';
import type { Route } from './route.ts';

const workloadParams = z.strictObject({ workload: z.string().min(1).max(253) });
const hostParams = z.strictObject({ host: z.string().min(1).max(63) });
const idParams = z.strictObject({ id: z.string().min(1).max(64) });
const labels = z.record(z.string(), z.string());

export const workloadRecord = z.strictObject({
  ...workloadReport.shape,
  host: z.string(),
  /** 0: not governed. */
  identity: z.int(),
  /** Accepted claims and facts. */
  labels,
  segments: z.array(z.string()),
  /** What of the report was not taken, and claims that were not proven. */
  problems: z.array(z.string()),
  adoption: z.enum(['observe', 'enforce']).nullable(),
});

/** Key → values that the host may assert, `*` for any value; null: any label. */
export const labelsAllowed = z.record(z.string().max(317), z.array(z.string().max(512)).max(1000)).nullable();

/** Networks in which the host's workloads may have addresses; null: any. */
export const addressesAllowed = z
  .array(z.string().refine((text) => parsePrefix(text).kind === 'prefix', 'a network such as 10.0.0.0/8 or fd00::/8'))
  .max(1000)
  .nullable();

export const hostRecord = z.strictObject({
  host: z.string(),
  /** What is known of the machine itself, as far as its agent said it since the manager's start. */
  labels,
  /** Segments that the machine itself is in: it is judged as they say. In none it is judged nowhere. */
  segments: z.array(z.string()),
  enrolledMs: z.number(),
  revoked: z.strictObject({ atMs: z.number(), because: z.string(), by: z.string() }).nullable(),
  labelsAllowed,
  addressesAllowed,
  certificateEndsMs: z.number().nullable(),
  connectedSinceMs: z.number().nullable(),
  lastSeenMs: z.number().nullable(),
  kernel: z.string().nullable(),
  software: z.string().nullable(),
  workloads: z.int(),
  /** Workloads by measured boundary. */
  boundaries: z.strictObject({ hardware: z.int(), emulated: z.int(), none: z.int() }),
  /** Newest receipt; its revision is what the host enforces. */
  receipt: receiptMessage.nullable(),
  /** Revisions between what should be and what the host confirmed; null when it never did. */
  behind: z.int().nullable(),
  enforcing: z.boolean().nullable(),
  eventsLost: z.number().nullable(),
  puntsLost: z.number().nullable(),
  residentBytes: z.number().nullable(),
});

const enrolmentToken = z.strictObject({
  id: z.string(),
  host: z.string().nullable(),
  labelsAllowed,
  addressesAllowed,
  createdMs: z.number(),
  expiresMs: z.number(),
  by: z.string(),
});

/** Longest life of a one-time token, seconds: a week. */
export const enrolmentSecondsMax = 7 * 86_400;

export const inventoryRoutes = {
  listWorkloads: {
    method: 'GET',
    path: '/v1/workloads',
    permission: 'read',
    reach: 'segment',
    summary: 'Workloads, filtered and in the order of their ids.',
    query: z.strictObject({
      segment: z.string().max(253).optional(),
      host: z.string().max(63).optional(),
      /** `key=value` or `key`; may be repeated, joined by commas: all must hold. */
      label: z.string().max(2048).optional(),
      /** Part of the name or id. */
      search: z.string().max(253).optional(),
      governance: z.enum(['governed', 'observed', 'ungoverned']).optional(),
      identity: queryNumber.pipe(z.int().nonnegative()).optional(),
      ...pageQuery,
    }),
    response: z.strictObject({ ...pageOf(workloadRecord).shape, total: z.int() }),
  },
  getWorkload: {
    method: 'GET',
    path: '/v1/workloads/:workload',
    permission: 'read',
    reach: 'segment',
    summary: 'One workload by id, or by name where only one has it.',
    params: workloadParams,
    response: workloadRecord,
  },
  adoptWorkload: {
    method: 'POST',
    path: '/v1/workloads/:workload/adopt',
    permission: 'operate',
    reach: 'segment',
    summary:
      'Take over the live interface of a workload that is not governed: observe it, enforce policy on it, or release it.',
    params: workloadParams,
    body: z.strictObject({ mode: z.enum(['observe', 'enforce', 'release']) }),
    response: z.strictObject({
      workload: z.string(),
      mode: z.enum(['observe', 'enforce', 'release']),
      revision: z.int(),
    }),
  },
  listIdentities: {
    method: 'GET',
    path: '/v1/identities',
    permission: 'read',
    reach: 'segment',
    summary: 'Identities with their labels, segments and number of workloads.',
    query: z.strictObject({ segment: z.string().max(253).optional(), ...pageQuery }),
    response: pageOf(z.strictObject({ identity: z.int(), labels, segments: z.array(z.string()), workloads: z.int() })),
  },
  listHosts: {
    method: 'GET',
    path: '/v1/hosts',
    permission: 'read',
    reach: 'cluster',
    summary: 'Hosts with receipt, boundaries and the state of their agents.',
    query: z.strictObject({
      search: z.string().max(63).optional(),
      connected: queryBoolean.optional(),
      ...pageQuery,
    }),
    response: pageOf(hostRecord),
  },
  getHost: {
    method: 'GET',
    path: '/v1/hosts/:host',
    permission: 'read',
    reach: 'cluster',
    summary: 'One host, with the counters of its agent.',
    params: hostParams,
    response: z.strictObject({ ...hostRecord.shape, counters: z.record(z.string(), z.number()) }),
  },
  revokeHost: {
    method: 'POST',
    path: '/v1/hosts/:host/revoke',
    permission: 'hosts',
    reach: 'cluster',
    summary: "End a host's certificates, cut its connection and drop its workloads from the desired state.",
    params: hostParams,
    body: z.strictObject({ because: z.string().min(1).max(1024) }),
    response: z.strictObject({ host: z.string(), revision: z.int() }),
  },
  createEnrolmentToken: {
    method: 'POST',
    path: '/v1/enrolment-tokens',
    permission: 'hosts',
    reach: 'cluster',
    summary: 'A one-time token that enrols one host. Its text is shown once.',
    body: z.strictObject({
      /** Only this host may use it, and it may replace the enrolment that the host has. */
      host: hostName.nullable().default(null),
      labelsAllowed: labelsAllowed.default(null),
      addressesAllowed: addressesAllowed.default(null),
      forSeconds: z.int().min(10).max(enrolmentSecondsMax).default(3600),
    }),
    response: z.strictObject({ ...enrolmentToken.shape, token: z.string() }),
  },
  listEnrolmentTokens: {
    method: 'GET',
    path: '/v1/enrolment-tokens',
    permission: 'hosts',
    reach: 'cluster',
    summary: 'One-time tokens that were not used yet.',
    query: z.strictObject(pageQuery),
    response: pageOf(enrolmentToken),
  },
  revokeEnrolmentToken: {
    method: 'DELETE',
    path: '/v1/enrolment-tokens/:id',
    permission: 'hosts',
    reach: 'cluster',
    summary: 'Take back a one-time token.',
    params: idParams,
    response: z.strictObject({ id: z.string() }),
  },
  getAuthority: {
    method: 'GET',
    path: '/v1/authority',
    permission: 'public',
    reach: 'cluster',
    summary: "The manager's CA certificate. Compare its hash with the one in the token before trusting it.",
    response: z.strictObject({ certificate: z.string(), fingerprint: z.string() }),
  },
  enrolHost: {
    method: 'POST',
    path: '/v1/enrol',
    permission: 'public',
    reach: 'cluster',
    summary: 'Trade a one-time token and a PKCS#10 request for a certificate.',
    body: z.strictObject({
      host: hostName,
      token: z.strictObject({ id: z.string().max(64), secret: z.string().max(128) }),
      request: z.string().max(8192),
    }),
    response: z.strictObject({
      certificate: z.string(),
      authorities: z.string(),
      /** Port of the agent link. */
      linkPort: z.int(),
    }),
  },
} as const satisfies Record<string, Route>;
