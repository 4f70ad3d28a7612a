/**
 * The agent link: what crosses the WebSocket between an agent and a manager, in both directions, as schemas. Frames are binary
 * (see frame.ts): one byte of message type, then CBOR. Lists have a named limit; a longer list is sent in several messages.
 */
import { z } from 'zod';

export const linkVersion = 1;
/** Largest frame, bytes. */
export const frameBytesMax = 4 * 1024 * 1024;
/** Most items of one list in one message. */
export const listMax = 20_000;

const name = z.string().min(1).max(253);
const labels = z.record(z.string().max(317), z.string().max(512));
const identity = z
  .int()
  .min(1)
  .max(2 ** 24 - 1);
const address = z.string().max(45);
const sequence = z.int().nonnegative();
/** Milliseconds since the epoch, UTC, may carry a fraction. */
const timeMs = z.number();

/** A workload as its host reports it. `workload` is unique in the cluster: `<host>/<engine>/<engine's id>`. */
export const workloadReport = z.strictObject({
  workload: name,
  /** What people call it: the container's name. */
  name,
  engine: z.enum(['docker', 'netns', 'tap']),
  /** Claimed labels (not from the image). Facts are set by the manager from the fields below. */
  labels,
  image: z.string().max(512).nullable(),
  imageDigest: z.string().max(128).nullable(),
  isolationClass: z.string().max(64),
  boundary: z.enum(['hardware', 'emulated', 'none']),
  generation: z.int().nonnegative(),
  endpoints: z
    .array(
      z.strictObject({
        endpoint: name,
        network: z.string().max(253),
        mac: z.string().max(17),
        addresses: z.array(address).max(16),
      }),
    )
    .max(32),
  /** governed: every interface is ours; ungoverned: see `ungovernedBecause`. */
  governance: z.enum(['governed', 'observed', 'ungoverned']),
  ungovernedBecause: z.string().max(1024).nullable(),
  startedMs: timeMs.nullable(),
});
export type WorkloadReport = z.infer<typeof workloadReport>;

/** Most names that a flow tells of one address. */
export const partyNamesMax = 16;

export const flowParty = z.strictObject({
  /** Workload id, `host`, or null for an address outside. */
  workload: z.string().max(253).nullable(),
  identity: z.int().nonnegative(),
  address,
  port: z.int().min(0).max(65_535),
  /** Of an address outside: the names that the other side had learnt for it through the agent's resolver. */
  names: z.array(z.string().max(253)).max(partyNamesMax).optional(),
});

/**
 * What the policies that are only staged would have made of a flow, with who would have decided at each side. Only where the verdict
 * would have been another: a flow on which they change nothing has null.
 */
export const stagedVerdict = z.strictObject({
  verdict: z.enum(['allow', 'deny', 'reject', 'ask']),
  egressReason: z.string().max(600),
  ingressReason: z.string().max(600),
});
export type StagedVerdict = z.infer<typeof stagedVerdict>;

/** One connection or attempt as the wire showed it. */
export const flowRecord = z.strictObject({
  /** Unique per agent: start of the connection in the agent's own clock, and a counter. Used for deduplication. */
  id: z.string().max(64),
  source: flowParty,
  destination: flowParty,
  protocol: z.int().min(0).max(255),
  verdict: z.enum(['allow', 'deny', 'reject']),
  /** Human-readable attribution of both sides, e.g. `application/orders/desk-to-orders` or `posture:orders-db`. */
  egressReason: z.string().max(600),
  ingressReason: z.string().max(600),
  /** Counter name where a packet was dropped for something other than policy: `spoofed`, `malformed`, … */
  dropReason: z.string().max(64).nullable(),
  question: z.string().max(64).nullable(),
  /** What staged policies would have changed; null: nothing. Agents before it had a name leave it out. */
  staged: stagedVerdict.nullable().default(null),
  revision: sequence,
  firstMs: timeMs,
  lastMs: timeMs,
  packets: z.tuple([z.number(), z.number()]),
  bytes: z.tuple([z.number(), z.number()]),
  state: z.enum(['new', 'open', 'closed']),
});
export type FlowRecord = z.infer<typeof flowRecord>;

export const questionMessage = z.strictObject({
  /** Unique in the cluster: `<host>:<boot>:<counter>`. */
  id: z.string().max(64),
  rules: z
    .array(z.strictObject({ tier: name, policy: name, rule: name }))
    .min(1)
    .max(2),
  /** Revision whose rules asked. */
  revision: sequence,
  source: flowParty.extend({ generation: z.int().nonnegative() }),
  destination: flowParty.extend({ generation: z.int().nonnegative() }),
  protocol: z.int().min(0).max(255),
  /** Connections per minute between the two workloads in the last minute, as the host saw them. */
  ratePerMinute: z.number().nonnegative(),
  atMs: timeMs,
});
export type QuestionMessage = z.infer<typeof questionMessage>;

export const decisionMessage = z.strictObject({
  question: z.string().max(64),
  verdict: z.enum(['allow', 'deny', 'reject', 'pending']),
  scope: z.enum(['connection', 'pair', 'identities']),
  /** How long `pair` and `identities` answers may be reused, seconds; 0 with `connection`. */
  forSeconds: z.number().nonnegative(),
  /** An answer that arrives later than this is not used. With `pending`: until when the packet may be held. */
  expiresMs: timeMs,
  why: z.string().max(1024),
});
export type DecisionMessage = z.infer<typeof decisionMessage>;

/** A difference between what an engine believes and what the wire shows. */
export const divergenceRecord = z.strictObject({
  id: z.string().max(200),
  kind: z.enum([
    'unknown-workload',
    'ungoverned',
    'undeclared-port',
    'foreign-address',
    'missing-on-wire',
    'boundary',
    'spoofing',
    'dropped-path',
    /** Of the manager itself: workloads that came since break an invariant. */
    'invariant',
  ]),
  workload: z.string().max(253).nullable(),
  believed: z.string().max(2048),
  observed: z.string().max(2048),
  evidence: z.string().max(4096),
  firstMs: timeMs,
  lastMs: timeMs,
  count: z.int().positive(),
  resolved: z.boolean(),
});
export type DivergenceRecord = z.infer<typeof divergenceRecord>;

/** What the kernel port read back after a revision was applied. */
export const receiptMessage = z.strictObject({
  revision: sequence,
  /** From the arrival of the revision to its read-back in the kernel. */
  enforcedMs: z.number().nonnegative(),
  atMs: timeMs,
  endpoints: z.int().nonnegative(),
  rows: z.int().nonnegative(),
  /** Items that could not be applied and stay denied. */
  failed: z.array(z.string().max(1024)).max(100),
  /** The audit head this host was shown last, so that it is witnessed. */
  auditHead: z.strictObject({ sequence, hash: z.string().max(128), signature: z.string().max(1024) }).nullable(),
});
export type ReceiptMessage = z.infer<typeof receiptMessage>;

/** A document as stored: parsed and checked. Its type is the policy package's `Document`. */
const documentValue = z.record(z.string(), z.unknown());

/** Everything or a difference. An agent whose revision is not `from` asks for a full one by reconnecting with revision 0. */
export const desiredMessage = z.strictObject({
  revision: sequence,
  /** 0 = full state: what is not named does not exist. A full state may span several messages: `more` says so; it is applied when complete. */
  from: sequence,
  more: z.boolean(),
  documents: z.array(documentValue).max(listMax),
  documentsRemoved: z.array(z.strictObject({ kind: name, name })).max(listMax),
  identities: z.array(z.tuple([identity, labels])).max(listMax),
  identitiesRemoved: z.array(identity).max(listMax),
  workloads: z
    .array(
      z.strictObject({
        workload: name,
        name,
        host: name,
        identity,
        generation: z.int().nonnegative(),
        labels,
        addresses: z.array(address).max(64),
      }),
    )
    .max(listMax),
  workloadsRemoved: z.array(name).max(listMax),
  auditHead: z.strictObject({ sequence, hash: z.string().max(128), signature: z.string().max(1024) }).nullable(),
});
export type DesiredMessage = z.infer<typeof desiredMessage>;

/** Agent to manager. `batch` numbers are acknowledged by `ack` and sent again until they are; the manager drops what it has had. */
export const agentMessages = {
  hello: z.strictObject({
    version: z.literal(linkVersion),
    host: name,
    boot: z.string().max(64),
    revision: sequence,
    kernel: z.string().max(200),
    software: z.string().max(64),
  }),
  workloads: z.strictObject({
    full: z.boolean(),
    set: z.array(workloadReport).max(listMax),
    removed: z.array(name).max(listMax),
  }),
  receipt: receiptMessage,
  questions: z.strictObject({ questions: z.array(questionMessage).max(listMax) }),
  /** How held questions ended without the manager's answer (timeout, unreachable), and how answers were used. Journalled. */
  outcomes: z.strictObject({
    batch: sequence,
    outcomes: z
      .array(
        z.strictObject({
          question: questionMessage,
          verdict: z.enum(['allow', 'deny', 'reject']),
          because: z.string().max(256),
          atMs: timeMs,
        }),
      )
      .max(listMax),
  }),
  flows: z.strictObject({ batch: sequence, flows: z.array(flowRecord).max(listMax), lost: z.number().nonnegative() }),
  divergences: z.strictObject({ batch: sequence, divergences: z.array(divergenceRecord).max(listMax) }),
  status: z.strictObject({
    counters: z.record(z.string(), z.number()),
    eventsLost: z.number(),
    puntsLost: z.number(),
    residentBytes: z.number(),
    enforcing: z.boolean(),
    /** What the agent knows of its host, which is how policy sees it there; the host's name in it is the manager's to say. */
    hostLabels: labels.default({}),
  }),
  /** Asks for a new certificate before the present one ends: a PKCS#10 request in PEM, signed by the (new) key. */
  renew: z.strictObject({ request: z.string().max(8192) }),
} as const;

/** Manager to agent. */
export const managerMessages = {
  welcome: z.strictObject({ version: z.literal(linkVersion), host: name, revision: sequence }),
  desired: desiredMessage,
  decisions: z.strictObject({ decisions: z.array(decisionMessage).max(listMax) }),
  ack: z.strictObject({ batch: sequence }),
  /** Emergency switch, audited: `off` lets everything through and says so; `on` enforces. */
  enforcement: z.strictObject({ on: z.boolean() }),
  adopt: z.strictObject({ workload: name, mode: z.enum(['observe', 'enforce', 'release']) }),
  /** Answer to `renew`: the certificate and the authorities to trust from now on, both PEM. */
  certificate: z.strictObject({ certificate: z.string().max(16_384), authorities: z.string().max(65_536) }),
  /** The connection is about to be closed by the manager, and why. */
  goodbye: z.strictObject({ reason: z.string().max(1024) }),
} as const;

export type AgentMessage = {
  [K in keyof typeof agentMessages]: { readonly type: K; readonly body: z.infer<(typeof agentMessages)[K]> };
}[keyof typeof agentMessages];
export type ManagerMessage = {
  [K in keyof typeof managerMessages]: { readonly type: K; readonly body: z.infer<(typeof managerMessages)[K]> };
}[keyof typeof managerMessages];
