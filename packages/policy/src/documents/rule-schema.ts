import { z } from 'zod';
import {
  checkExceptions,
  cidrSchema,
  documentLimits,
  exceptSchema,
  nameSchema,
  refuse,
  selectorSchema,
} from './field-schema.ts';

const peerKinds = ['segment', 'selector', 'cidr', 'host', 'any'] as const;

const peer = z
  .strictObject({
    segment: nameSchema.optional(),
    selector: selectorSchema.optional(),
    cidr: cidrSchema.optional(),
    except: exceptSchema,
    host: z.literal(true).optional(),
    any: z.literal(true).optional(),
  })
  .superRefine((value, context) => {
    const given = peerKinds.filter((kind) => value[kind] !== undefined);
    if (given.length !== 1) {
      const found = given.length === 0 ? 'the peer names nobody' : `the peer names ${given.join(' and ')}`;
      refuse(context, found, `exactly one of ${peerKinds.join(', ')}; several peers are a list`);
    }
    if (value.except !== undefined && value.cidr === undefined) {
      refuse(context, 'except belongs to a cidr', 'a cidr beside it', ['except']);
    }
    checkExceptions(value, context);
  });

const peers = z.union([peer, z.array(peer).min(1).max(documentLimits.peersMax)]);

const portNumber = z.int().min(1).max(65_535);
const port = z
  .strictObject({
    protocol: z.enum(['tcp', 'udp', 'icmp', 'icmpv6', 'sctp', 'any']),
    port: portNumber.optional(),
    endPort: portNumber.optional(),
    type: z.int().min(0).max(255).optional(),
    code: z.int().min(0).max(255).optional(),
  })
  .superRefine((value, context) => {
    const hasPorts = value.protocol === 'tcp' || value.protocol === 'udp' || value.protocol === 'sctp';
    const hasTypes = value.protocol === 'icmp' || value.protocol === 'icmpv6';
    for (const field of ['port', 'endPort'] as const) {
      if (value[field] !== undefined && !hasPorts) {
        refuse(context, `${value.protocol} has no ports`, `${field} with tcp, udp or sctp`, [field]);
      }
    }
    for (const field of ['type', 'code'] as const) {
      if (value[field] !== undefined && !hasTypes) {
        refuse(context, `${value.protocol} has no ${field}`, `${field} with icmp or icmpv6`, [field]);
      }
    }
    if (value.endPort !== undefined && value.port === undefined) {
      refuse(context, 'endPort needs a port to start from', 'port', ['endPort']);
    }
    if (value.endPort !== undefined && value.port !== undefined && value.endPort < value.port) {
      refuse(
        context,
        `the range ${value.port} to ${value.endPort} is reversed, so it is empty`,
        `${value.port} to 65535`,
        ['endPort'],
      );
    }
    if (value.code !== undefined && value.type === undefined) refuse(context, 'code needs a type', 'type', ['code']);
  });

const verdict = z.enum(['allow', 'deny', 'reject']);
export const durationPattern = /^([1-9][0-9]{0,5})(s|m|h)$/;
/** Fields of a rule that only a question has. */
const askFields = ['when', 'otherwise', 'hold', 'remember', 'approve', 'pending'] as const;

export const ruleSchema = z
  .strictObject({
    name: nameSchema,
    action: z.enum(['allow', 'deny', 'reject', 'ask', 'pass']),
    from: peers.optional(),
    to: peers.optional(),
    ports: z.array(port).min(1).max(documentLimits.portsMax).optional(),
    applies: z.enum(['egress', 'ingress']).optional(),
    when: z.string().min(1).max(documentLimits.whenCharactersMax).optional(),
    otherwise: verdict.optional(),
    hold: z
      .strictObject({ timeoutMs: z.int().min(1).max(60_000).optional(), unreachable: verdict.optional() })
      .optional(),
    remember: z
      .strictObject({
        scope: z.enum(['connection', 'pair', 'identities']),
        forSeconds: z.int().min(1).max(31_536_000).optional(),
      })
      .superRefine((remember, context) => {
        if (remember.scope === 'connection' && remember.forSeconds !== undefined) {
          refuse(context, 'a decision for the connection lasts as long as it', 'forSeconds with pair or identities', [
            'forSeconds',
          ]);
        }
        if (remember.scope !== 'connection' && remember.forSeconds === undefined) {
          refuse(context, `how long is ${remember.scope} remembered?`, 'forSeconds, 1 to 31536000', ['forSeconds']);
        }
      })
      .optional(),
    approve: z
      .strictObject({
        by: nameSchema,
        within: z.string().regex(durationPattern, { error: 'a duration is a number and its unit, e.g. 30s, 10m, 1h' }),
      })
      .optional(),
    pending: z.enum(['hold', 'refuse']).optional(),
    live: z.enum(['keep', 'judge', 'reset']).optional(),
  })
  .superRefine((rule, context) => {
    for (const field of askFields) {
      if (rule[field] !== undefined && rule.action !== 'ask') {
        refuse(context, `${field} belongs to a question, and the action is ${rule.action}`, 'action: ask', [field]);
      }
    }
    if (rule.otherwise !== undefined && rule.when === undefined) {
      refuse(context, 'otherwise is what a false when gives, and there is none', 'when beside it', ['otherwise']);
    }
    if (rule.pending !== undefined && rule.approve === undefined) {
      refuse(context, 'pending is about an approval, and none is asked for', 'approve beside it', ['pending']);
    }
  });
