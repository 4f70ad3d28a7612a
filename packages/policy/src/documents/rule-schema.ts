import { z } from 'zod';
import {
  checkExceptions,
  checkOneOf,
  cidrSchema,
  dnsSchema,
  documentLimits,
  exceptSchema,
  nameSchema,
  portNameSchema,
  portNumberSchema,
  refuse,
  selectorSchema,
} from './field-schema.ts';

const peerKinds = ['segment', 'selector', 'cidr', 'dns', 'host', 'any'] as const;

const peer = z
  .strictObject({
    segment: nameSchema.optional(),
    selector: selectorSchema.optional(),
    cidr: cidrSchema.optional(),
    except: exceptSchema,
    dns: dnsSchema.optional(),
    host: z.literal(true).optional(),
    any: z.literal(true).optional(),
  })
  .superRefine((value, context) => {
    checkOneOf(value, peerKinds, context, {
      none: 'the peer names nobody',
      several: 'the peer names',
      allowed: '; several peers are a list',
    });
    if (value.except !== undefined && value.cidr === undefined) {
      refuse(context, 'except belongs to a cidr', 'a cidr beside it', ['except']);
    }
    checkExceptions(value, context);
  });

/** One end of a rule: a peer, or several in a list. */
export const peersSchema = z.union([peer, z.array(peer).min(1).max(documentLimits.peersMax)]);

/** An end that connections come from. Names are learnt by who asks for them, so nobody is known by name as a source. */
export const sourcePeersSchema = peersSchema.superRefine((peers, context) => {
  for (const [index, { dns }] of (Array.isArray(peers) ? peers : [peers]).entries()) {
    if (dns === undefined) continue;
    const path = Array.isArray(peers) ? [index, 'dns'] : ['dns'];
    refuse(context, 'a DNS name is only known of where connections go', 'dns in to', path);
  }
});

const port = z
  .strictObject({
    protocol: z.enum(['tcp', 'udp', 'icmp', 'icmpv6', 'sctp', 'any']),
    port: portNumberSchema.optional(),
    endPort: portNumberSchema.optional(),
    /** A named port of the workload that the connection goes to. */
    name: portNameSchema.optional(),
    type: z.int().min(0).max(255).optional(),
    code: z.int().min(0).max(255).optional(),
  })
  .superRefine((value, context) => {
    const hasPorts = value.protocol === 'tcp' || value.protocol === 'udp' || value.protocol === 'sctp';
    const hasTypes = value.protocol === 'icmp' || value.protocol === 'icmpv6';
    for (const field of ['port', 'endPort', 'name'] as const) {
      if (value[field] !== undefined && !hasPorts) {
        refuse(context, `${value.protocol} has no ports`, `${field} with tcp, udp or sctp`, [field]);
      }
    }
    for (const field of ['type', 'code'] as const) {
      if (value[field] !== undefined && !hasTypes) {
        refuse(context, `${value.protocol} has no ${field}`, `${field} with icmp or icmpv6`, [field]);
      }
    }
    if (value.name !== undefined && value.port !== undefined) {
      refuse(context, 'a port has a number or a name', 'port or name', ['name']);
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

export const portsSchema = z.array(port).min(1).max(documentLimits.portsMax);

const verdict = z.enum(['allow', 'deny', 'reject']);
export const durationPattern = /^([1-9][0-9]{0,5})(s|m|h)$/;
/** Fields of a rule that only a question has. */
const askFields = ['when', 'otherwise', 'hold', 'remember', 'approve', 'pending'] as const;

export const ruleSchema = z
  .strictObject({
    name: nameSchema,
    action: z.enum(['allow', 'deny', 'reject', 'ask', 'pass']),
    from: sourcePeersSchema.optional(),
    to: peersSchema.optional(),
    ports: portsSchema.optional(),
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
