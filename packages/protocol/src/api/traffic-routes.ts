/** Flows, questions and divergences. */
import { z } from 'zod';
import { divergenceRecord } from '../link.ts';
import {
  flowExplanation,
  flowFilter,
  flowSort,
  queryBoolean,
  questionFilter,
  questionRecord,
  storedFlow,
} from '../records.ts';
import { pageOf, pageQuery } from './route.ts';
import type { Route } from './route.ts';

const questionParams = z.strictObject({ id: z.string().min(1).max(64) });

const flowParams = z.strictObject({ id: z.string().min(1).max(64) });
const flowQuery = z.strictObject({ host: z.string().max(253).optional() });

export const trafficRoutes = {
  listFlows: {
    method: 'GET',
    path: '/v1/flows',
    permission: 'read',
    reach: 'segment',
    summary: 'Recorded flows, filtered and sorted by the manager.',
    query: z.strictObject({ ...flowFilter.shape, sort: flowSort, ...pageQuery }),
    response: pageOf(storedFlow),
  },
  watchFlows: {
    method: 'GET',
    path: '/v1/flows/watch',
    permission: 'read',
    reach: 'segment',
    summary: 'Flows as they arrive.',
    query: flowFilter,
    response: storedFlow,
    stream: true,
  },
  getFlow: {
    method: 'GET',
    path: '/v1/flows/:id',
    permission: 'read',
    reach: 'segment',
    summary: 'One recorded flow; of several hosts that give one id, the newest, or that of `host`.',
    params: flowParams,
    query: flowQuery,
    response: storedFlow,
  },
  explainFlow: {
    method: 'GET',
    path: '/v1/flows/:id/explanation',
    permission: 'read',
    reach: 'segment',
    summary: 'Why a recorded flow was allowed or refused, by the documents of its revision.',
    params: flowParams,
    query: flowQuery,
    response: flowExplanation,
  },
  listQuestions: {
    method: 'GET',
    path: '/v1/questions',
    permission: 'read',
    reach: 'segment',
    summary: 'Questions and how they ended, newest first.',
    query: z.strictObject({ ...questionFilter.shape, ...pageQuery }),
    response: pageOf(questionRecord),
  },
  watchQuestions: {
    method: 'GET',
    path: '/v1/questions/watch',
    permission: 'read',
    reach: 'segment',
    summary: 'Questions as they arrive and change.',
    query: questionFilter,
    response: questionRecord,
    stream: true,
  },
  getQuestion: {
    method: 'GET',
    path: '/v1/questions/:id',
    permission: 'read',
    reach: 'segment',
    summary: 'One question.',
    params: questionParams,
    response: questionRecord,
  },
  approveQuestion: {
    method: 'POST',
    path: '/v1/questions/:id/approve',
    permission: 'answer',
    reach: 'segment',
    summary: 'Let the held connection through.',
    params: questionParams,
    body: z.strictObject({ forSeconds: z.number().nonnegative().max(31_536_000).optional() }),
    response: questionRecord,
  },
  refuseQuestion: {
    method: 'POST',
    path: '/v1/questions/:id/refuse',
    permission: 'answer',
    reach: 'segment',
    summary: 'Refuse the held connection.',
    params: questionParams,
    response: questionRecord,
  },
  listDivergences: {
    method: 'GET',
    path: '/v1/divergences',
    permission: 'read',
    reach: 'segment',
    summary: 'Differences between what engines believe and what the wire shows.',
    query: z.strictObject({
      host: z.string().max(63).optional(),
      workload: z.string().max(253).optional(),
      kind: divergenceRecord.shape.kind.optional(),
      /** Also those that are over. */
      resolved: queryBoolean.optional(),
      ...pageQuery,
    }),
    response: pageOf(z.strictObject({ ...divergenceRecord.shape, host: z.string() })),
  },
} as const satisfies Record<string, Route>;
