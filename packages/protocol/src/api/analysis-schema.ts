/** What analyses answer, as the policy package makes it: who, on which ports, why. */
import { z } from 'zod';

const action = z.enum(['allow', 'deny', 'reject', 'ask']);
/** A piece of a set of parties; which fields it has follows from `kind`. */
const partyTerm = z.looseObject({ kind: z.string() });

export const partySet = z.strictObject({
  /** Alternatives. */
  terms: z.array(partyTerm).readonly(),
  /** Known workloads in it. */
  workloads: z.number(),
  examples: z.array(z.string()).readonly(),
  /** Nothing known is in it. */
  hypothetical: z.boolean(),
});

export const portSet = z.strictObject({
  spans: z.array(z.strictObject({ protocol: z.number(), from: z.number(), to: z.number() })).readonly(),
  /** Every protocol but those listed belongs to it as a whole; null: none does. */
  otherProtocols: z.array(z.number()).readonly().nullable(),
});

export const universeSummary = z.strictObject({
  classes: z.number(),
  workloads: z.number(),
  hypothetical: z.number(),
  hosts: z.number(),
  addresses: z.number(),
});

export const differenceGroup = z.strictObject({
  kind: z.enum(['gained', 'lost', 'changed']),
  before: action,
  after: action,
  from: partySet,
  to: partySet,
  ports: portSet,
  because: z.strictObject({ before: z.array(z.string()).readonly(), after: z.array(z.string()).readonly() }),
});

const namedParty = z.strictObject({ party: partyTerm, name: z.string(), hypothetical: z.boolean() });
export const witnessHop = z.strictObject({
  from: namedParty,
  to: namedParty,
  protocol: z.number(),
  port: z.number(),
  verdict: action,
  egressReason: z.string(),
  ingressReason: z.string(),
});

export const invariantResult = z.strictObject({
  name: z.string(),
  invariant: z.enum(['never', 'always', 'neverReaches']),
  outcome: z.discriminatedUnion('kind', [
    /** `argument`: statements about sets of parties; `decide` agrees with each. */
    z.strictObject({ kind: z.literal('holds'), argument: z.array(partyTerm).readonly(), omitted: z.number() }),
    /** One connection, or the hops of a shortest path. */
    z.strictObject({ kind: z.literal('broken'), witness: z.array(witnessHop).readonly() }),
    z.strictObject({ kind: z.literal('not-checked'), why: z.string() }),
  ]),
  from: partySet,
  to: partySet,
  checked: z.string(),
});

export const simulatedChange = z.strictObject({
  fate: z.enum(['changed', 'undecided']),
  recorded: z.enum(['allow', 'deny', 'reject']),
  proposed: action,
  from: partySet,
  to: partySet,
  protocol: z.number(),
  port: z.number(),
  recordedReasons: z.strictObject({ egress: z.string(), ingress: z.string() }),
  proposedReasons: z.strictObject({ egress: z.string(), ingress: z.string() }),
  flows: z.number(),
  example: z.strictObject({ source: partyTerm, destination: partyTerm }),
});

export const simulationResult = z.strictObject({
  flows: z.number(),
  /** Flows that are alike in all that policy reads are one group. */
  groups: z.number(),
  same: z.number(),
  changed: z.number(),
  undecided: z.number(),
  /** Of `same`, those that another rule would decide. */
  otherReason: z.number(),
  changes: z.array(simulatedChange).readonly(),
  flowsOmitted: z.number(),
  changesTracked: z.number(),
});
