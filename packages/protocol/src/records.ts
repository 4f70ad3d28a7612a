/**
 * What the manager keeps and shows about flows and questions: the wire's record, enriched with what the manager knew when it arrived,
 * and the filters by which both are asked for. Shared by the API table, the manager's stores and the command line.
 */
import { z } from 'zod';
import { flowParty, flowRecord } from './link.ts';

/** In a query everything is text; clients may give the real type. */
export const queryNumber = z.coerce.number<number | string>();
export const queryBoolean = z.union([z.boolean(), z.stringbool()]);

/** One side of a stored flow or question: as sent, plus name, labels and segments at that moment. */
export const storedParty = z.strictObject({
  ...flowParty.shape,
  name: z.string().nullable(),
  labels: z.record(z.string(), z.string()),
  segments: z.array(z.string()),
});
export type StoredParty = z.infer<typeof storedParty>;

export const storedFlow = z.strictObject({
  ...flowRecord.shape,
  host: z.string(),
  source: storedParty,
  destination: storedParty,
});
export type StoredFlow = z.infer<typeof storedFlow>;

/** One side of an explained flow. */
export const flowSideExplanation = z.strictObject({
  /** As it was recorded: `tier/policy/rule`, `posture:NAME` or `builtin:NAME`. */
  reason: z.string(),
  /** Whose documents judged this side. */
  revision: z.int(),
  /** The reason is in those documents. */
  exists: z.boolean(),
  /** Those documents decide so about the labels that were recorded. */
  agrees: z.boolean(),
  /** Another host judged this side; its record says how. */
  elsewhere: z.boolean(),
  /** Nothing was judged: something other than policy stopped the packet before, and the reason stands for nothing. */
  unjudged: z.boolean(),
  decided: z.strictObject({ action: z.enum(['allow', 'deny', 'reject', 'ask']), reason: z.string() }),
});
export type FlowSideExplanation = z.infer<typeof flowSideExplanation>;

/** Why a recorded flow was allowed or refused. */
export const flowExplanation = z.strictObject({
  flow: storedFlow,
  verdict: storedFlow.shape.verdict,
  /** The newer of both sides' revisions. */
  revision: z.int(),
  egress: flowSideExplanation,
  ingress: flowSideExplanation,
  /** What else was to it: a question, a drop, a change of policy at that moment. */
  notes: z.array(z.string()).readonly(),
  /** Every rule and posture that was looked at, in words. */
  lines: z.array(z.string()).readonly(),
});
export type FlowExplanation = z.infer<typeof flowExplanation>;

/** Every part is optional and all that are given must hold. `workload`, `segment` and `address` match either end. */
export const flowFilter = z.strictObject({
  /** Unique on a host. */
  id: z.string().max(64).optional(),
  workload: z.string().max(253).optional(),
  source: z.string().max(253).optional(),
  destination: z.string().max(253).optional(),
  segment: z.string().max(253).optional(),
  address: z.string().max(45).optional(),
  host: z.string().max(253).optional(),
  verdict: z.enum(['allow', 'deny', 'reject']).optional(),
  protocol: queryNumber.pipe(z.int().min(0).max(255)).optional(),
  /** Destination port. */
  port: queryNumber.pipe(z.int().min(0).max(65_535)).optional(),
  /** Part of the egress or ingress reason. */
  reason: z.string().max(600).optional(),
  dropReason: z.string().max(64).optional(),
  sinceMs: queryNumber.optional(),
  untilMs: queryNumber.optional(),
  /** True: only those of which staged policies would have made something else. */
  staged: queryBoolean.optional(),
});
export type FlowFilter = z.infer<typeof flowFilter>;

export const flowSort = z.enum(['newest', 'oldest', 'bytes']).default('newest');
export type FlowSort = z.infer<typeof flowSort>;

/**
 * A question and how it ended. `waiting`: for a human; `answered`: by rules or a human; `expired`: nobody answered in time;
 * `unreachable`: the agent decided alone, and said so afterwards.
 */
export const questionRecord = z.strictObject({
  id: z.string(),
  host: z.string(),
  atMs: z.number(),
  revision: z.number(),
  rules: z.array(z.strictObject({ tier: z.string(), policy: z.string(), rule: z.string() })),
  source: storedParty,
  destination: storedParty,
  protocol: z.number(),
  ratePerMinute: z.number(),
  state: z.enum(['waiting', 'answered', 'expired', 'unreachable']),
  verdict: z.enum(['allow', 'deny', 'reject']).nullable(),
  why: z.string(),
  /** Who answered: `rule`, or the name of a person. */
  by: z.string().nullable(),
  /** The role whose holders may answer, where a human is asked. */
  approver: z.string().nullable(),
  scope: z.enum(['connection', 'pair', 'identities']),
  forSeconds: z.number(),
  /** Until when a human may answer. */
  expiresMs: z.number().nullable(),
  answeredMs: z.number().nullable(),
});
export type QuestionRecord = z.infer<typeof questionRecord>;

export const questionFilter = z.strictObject({
  state: z.enum(['waiting', 'answered', 'expired', 'unreachable']).optional(),
  workload: z.string().max(253).optional(),
  segment: z.string().max(253).optional(),
  host: z.string().max(253).optional(),
  sinceMs: queryNumber.optional(),
});
export type QuestionFilter = z.infer<typeof questionFilter>;
