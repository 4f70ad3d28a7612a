import { z } from 'zod';
import { documentLimits, portNameSchema, portNumberSchema, refuse, selectorSchema } from './field-schema.ts';
import { ipBlockSchema, kubernetesProtocolSchema, namespacedMetadataSchema } from './kubernetes-schema.ts';

export const networkPolicyApiVersion = 'networking.k8s.io/v1';

const port = z
  .strictObject({
    protocol: kubernetesProtocolSchema.optional(),
    port: z.union([portNumberSchema, portNameSchema]).optional(),
    endPort: portNumberSchema.optional(),
  })
  .superRefine((value, context) => {
    if (value.endPort === undefined) return;
    if (typeof value.port !== 'number') {
      const found = value.port === undefined ? 'there is none' : 'the port is a name';
      refuse(context, `endPort needs a port to start from, and ${found}`, 'port with a number', ['endPort']);
    } else if (value.endPort < value.port) {
      const reason = `the range ${value.port} to ${value.endPort} is reversed, so it is empty`;
      refuse(context, reason, `${value.port} to 65535`, ['endPort']);
    }
  });

const peer = z
  .strictObject({
    podSelector: selectorSchema.optional(),
    namespaceSelector: selectorSchema.optional(),
    ipBlock: ipBlockSchema.optional(),
  })
  .superRefine((value, context) => {
    const selects = value.podSelector !== undefined || value.namespaceSelector !== undefined;
    if (value.ipBlock !== undefined && selects) {
      refuse(context, 'an ipBlock stands alone', 'either ipBlock or podSelector and namespaceSelector', ['ipBlock']);
    }
    if (value.ipBlock === undefined && !selects) {
      refuse(context, 'the peer names nobody', 'podSelector, namespaceSelector, both, or ipBlock');
    }
  });

const ports = z.array(port).max(documentLimits.portsMax).optional();
const peers = z.array(peer).max(documentLimits.peersMax).optional();

export const networkPolicySchema = z.strictObject({
  apiVersion: z.literal(networkPolicyApiVersion),
  kind: z.literal('NetworkPolicy'),
  metadata: namespacedMetadataSchema,
  spec: z.strictObject({
    podSelector: selectorSchema.optional(),
    ingress: z
      .array(z.strictObject({ from: peers, ports }))
      .max(documentLimits.rulesMax)
      .optional(),
    egress: z
      .array(z.strictObject({ to: peers, ports }))
      .max(documentLimits.rulesMax)
      .optional(),
    policyTypes: z
      .array(z.enum(['Ingress', 'Egress']))
      .max(2)
      .optional(),
  }),
  /** Kubernetes' own, of no meaning here. */
  status: z.unknown().optional(),
});
