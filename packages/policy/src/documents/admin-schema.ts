import { z } from 'zod';
import {
  checkOneOf,
  type Context,
  dnsRule,
  dnsSchema,
  documentLimits,
  portNameSchema,
  portNumberSchema,
  refuse,
  selectorSchema,
} from './field-schema.ts';
import { clusterMetadataSchema, ipBlockCidrSchema, kubernetesProtocolSchema } from './kubernetes-schema.ts';

/** AdminNetworkPolicy and BaselineAdminNetworkPolicy; ClusterNetworkPolicy took their place. */
export const adminApiVersion = 'policy.networking.k8s.io/v1alpha1';
export const clusterApiVersion = 'policy.networking.k8s.io/v1alpha2';

const ruleNameCharactersMax = 100;
const networksMax = 25;
const priority = z.int().min(0).max(1_000);
const ruleName = z.string().max(ruleNameCharactersMax).optional();

const namespacedPod = z.strictObject({ namespaceSelector: selectorSchema, podSelector: selectorSchema });
/** The newer version takes a missing namespace selector for an empty one. */
const clusterNamespacedPod = namespacedPod.extend({ namespaceSelector: selectorSchema.optional() });

const podKinds = ['namespaces', 'pods'] as const;
const farKinds = [...podKinds, 'nodes', 'networks', 'domainNames'] as const;

const networks = z.array(ipBlockCidrSchema).min(1).max(networksMax).optional();
const domainNames = z
  .array(
    dnsSchema.refine((name) => name.replace(/\.$/, '').includes('.'), {
      error: `a domain name has a dot within, ${dnsRule}`,
    }),
  )
  .min(1)
  .max(networksMax)
  .optional();

function subjectOf<Pods extends z.ZodType>(pods: Pods) {
  return z
    .strictObject({ namespaces: selectorSchema.optional(), pods: pods.optional() })
    .superRefine((value, context) => {
      checkOneOf(value, podKinds, context, { none: 'the subject is nobody', several: 'the subject has' });
    });
}

function sourcePeerOf<Pods extends z.ZodType>(pods: Pods) {
  return z
    .strictObject({ namespaces: selectorSchema.optional(), pods: pods.optional() })
    .superRefine((value, context) => {
      checkOneOf(value, podKinds, context, { none: 'the peer names nobody', several: 'the peer names' });
    });
}

function destinationPeerOf<Pods extends z.ZodType>(pods: Pods) {
  return z
    .strictObject({
      namespaces: selectorSchema.optional(),
      pods: pods.optional(),
      nodes: selectorSchema.optional(),
      networks,
      domainNames,
    })
    .superRefine((value, context) => {
      checkOneOf(value, farKinds, context, { none: 'the peer names nobody', several: 'the peer names' });
    });
}

function peersOf<Peer extends z.ZodType>(peer: Peer, peersMax: number) {
  return z.array(peer).min(1).max(peersMax);
}

interface DestinationRule {
  readonly action: string;
  readonly to: readonly { readonly nodes?: unknown; readonly networks?: unknown; readonly domainNames?: unknown }[];
}

/** What holds for rules towards peers that are no pods. */
function checkDestinations(rule: DestinationRule, allow: string, named: PropertyKey[] | null, context: Context): void {
  for (const [index, { nodes, networks: cidrs, domainNames: names }] of rule.to.entries()) {
    if (names !== undefined && rule.action !== allow) {
      refuse(
        context,
        `domain names are learnt for what is permitted, and the action is ${rule.action}`,
        `action: ${allow}`,
        ['to', index, 'domainNames'],
      );
    }
    if (named !== null && (nodes !== undefined || cidrs !== undefined || names !== undefined)) {
      refuse(
        context,
        'only pods have named ports, and the rule is about others too',
        'a number, or a rule of its own',
        named,
      );
    }
  }
}

// v1alpha1

const adminPort = z
  .strictObject({
    portNumber: z.strictObject({ protocol: kubernetesProtocolSchema.optional(), port: portNumberSchema }).optional(),
    portRange: z
      .strictObject({ protocol: kubernetesProtocolSchema.optional(), start: portNumberSchema, end: portNumberSchema })
      .superRefine(checkRange)
      .optional(),
    namedPort: portNameSchema.optional(),
  })
  .superRefine((value, context) => {
    const words = { none: 'the port says nothing', several: 'the port has' };
    checkOneOf(value, ['portNumber', 'portRange', 'namedPort'], context, words);
  });

const adminPorts = z.array(adminPort).max(documentLimits.portsMax).optional();
const adminAction = z.enum(['Allow', 'Deny', 'Pass']);
const baselineAction = z.enum(['Allow', 'Deny']);
const adminRulesMax = 100;
const adminPeersMax = 100;

function checkRange({ start, end }: { start: number; end: number }, context: Context): void {
  if (end < start)
    refuse(context, `the range ${start} to ${end} is reversed, so it is empty`, `${start} to 65535`, ['end']);
}

function adminRules<Action extends z.ZodType<string>>(action: Action) {
  const ingress = z.strictObject({
    name: ruleName,
    action,
    from: peersOf(sourcePeerOf(namespacedPod), adminPeersMax),
    ports: adminPorts,
  });
  const egress = z
    .strictObject({
      name: ruleName,
      action,
      to: peersOf(destinationPeerOf(namespacedPod), adminPeersMax),
      ports: adminPorts,
    })
    .superRefine((rule, context) => {
      const named = (rule.ports ?? []).findIndex(({ namedPort }) => namedPort !== undefined);
      checkDestinations(
        rule as unknown as DestinationRule,
        'Allow',
        named < 0 ? null : ['ports', named, 'namedPort'],
        context,
      );
    });
  return {
    ingress: z.array(ingress).max(adminRulesMax).optional(),
    egress: z.array(egress).max(adminRulesMax).optional(),
  };
}

export const adminNetworkPolicySchema = z.strictObject({
  apiVersion: z.literal(adminApiVersion),
  kind: z.literal('AdminNetworkPolicy'),
  metadata: clusterMetadataSchema,
  spec: z.strictObject({ priority, subject: subjectOf(namespacedPod), ...adminRules(adminAction) }),
  /** Kubernetes' own, of no meaning here. */
  status: z.unknown().optional(),
});

export const baselineAdminNetworkPolicySchema = z.strictObject({
  apiVersion: z.literal(adminApiVersion),
  kind: z.literal('BaselineAdminNetworkPolicy'),
  metadata: clusterMetadataSchema.superRefine(({ name }, context) => {
    if (name !== 'default') refuse(context, `there is one BaselineAdminNetworkPolicy only`, 'default', ['name']);
  }),
  spec: z.strictObject({ subject: subjectOf(namespacedPod), ...adminRules(baselineAction) }),
  status: z.unknown().optional(),
});

// v1alpha2

const destinationPort = z
  .strictObject({
    number: portNumberSchema.optional(),
    range: z
      .strictObject({ start: portNumberSchema, end: portNumberSchema })
      .superRefine(({ start, end }, context) => {
        if (end <= start)
          refuse(context, `the range ${start} to ${end} has no two ports`, `more than ${start}`, ['end']);
      })
      .optional(),
  })
  .superRefine((value, context) => {
    checkOneOf(value, ['number', 'range'], context, { none: 'the port says nothing', several: 'the port has' });
  });

const portsOfProtocol = z.strictObject({ destinationPort: destinationPort.optional() }).optional();
const clusterProtocol = z
  .strictObject({
    tcp: portsOfProtocol,
    udp: portsOfProtocol,
    sctp: portsOfProtocol,
    destinationNamedPort: portNameSchema.optional(),
  })
  .superRefine((value, context) => {
    const words = { none: 'the protocol says nothing', several: 'the protocol has' };
    checkOneOf(value, ['tcp', 'udp', 'sctp', 'destinationNamedPort'], context, words);
    for (const name of ['tcp', 'udp', 'sctp'] as const) {
      if (value[name] !== undefined && value[name].destinationPort === undefined)
        refuse(context, `${name} says nothing`, 'destinationPort', [name]);
    }
  });

const clusterProtocols = z.array(clusterProtocol).min(1).max(networksMax).optional();
const clusterAction = z.enum(['Accept', 'Deny', 'Pass']);
const clusterRulesMax = 25;
const clusterPeersMax = 25;

const clusterIngress = z.strictObject({
  name: ruleName,
  action: clusterAction,
  from: peersOf(sourcePeerOf(clusterNamespacedPod), clusterPeersMax),
  protocols: clusterProtocols,
});
const clusterEgress = z
  .strictObject({
    name: ruleName,
    action: clusterAction,
    to: peersOf(destinationPeerOf(clusterNamespacedPod), clusterPeersMax),
    protocols: clusterProtocols,
  })
  .superRefine((rule, context) => {
    const named = (rule.protocols ?? []).findIndex(({ destinationNamedPort }) => destinationNamedPort !== undefined);
    checkDestinations(rule, 'Accept', named < 0 ? null : ['protocols', named, 'destinationNamedPort'], context);
  });

export const clusterNetworkPolicySchema = z.strictObject({
  apiVersion: z.literal(clusterApiVersion),
  kind: z.literal('ClusterNetworkPolicy'),
  metadata: clusterMetadataSchema,
  spec: z.strictObject({
    tier: z.enum(['Admin', 'Baseline']),
    priority,
    subject: subjectOf(clusterNamespacedPod),
    ingress: z.array(clusterIngress).max(clusterRulesMax).optional(),
    egress: z.array(clusterEgress).max(clusterRulesMax).optional(),
  }),
  status: z.unknown().optional(),
});
