/** What was attached by command, as it is kept on disk, and the commands' arguments as schemas. */
import { z } from 'zod';
import type { AgentState, Records } from '../../state.ts';
import { labelProblem } from '../docker/claimed-labels.ts';
import { canonicalAddress } from '../network-address.ts';

const interfaceName = z.string().regex(/^[A-Za-z][\w.-]{0,14}$/, 'an interface name');
const mac = z
  .string()
  .toLowerCase()
  .regex(/^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$/, 'the MAC address of one interface');
const ipv4 = z.string().refine((text) => canonicalAddress(text)?.includes(':') === false, 'an IPv4 address');
const ipv6 = z
  .string()
  .refine((text) => canonicalAddress(text)?.includes(':') === true, 'an IPv6 address')
  .transform((text) => canonicalAddress(text)!);
const labels = z.record(z.string(), z.string()).superRefine((claimed, context) => {
  for (const [index, [key, value]] of Object.entries(claimed).entries()) {
    const problem = labelProblem(key, value, index);
    if (problem !== null) context.addIssue({ code: 'custom', path: [key], message: problem });
  }
});

const common = {
  /** What people call the workload; unique among those attached by command. */
  name: z.string().regex(/^[a-zA-Z0-9][\w.-]{0,62}$/, 'a name of letters, digits, dashes, dots'),
  labels: labels.default({}),
  /** From the pool where absent. */
  ipv4: ipv4.optional(),
  /** None where absent. */
  ipv6: ipv6.optional(),
  mtu: z.int().min(1280).max(65_535).default(1500),
  isolationClass: z
    .string()
    .regex(/^[\w.-]{1,64}$/)
    .optional(),
};

export const attachRequest = z.discriminatedUnion('kind', [
  z.strictObject({
    ...common,
    kind: z.literal('netns'),
    path: z.string().startsWith('/').max(4096),
    interface: interfaceName.default('eth0'),
  }),
  z.strictObject({ ...common, kind: z.literal('tap'), tap: interfaceName, mac }),
]);
export type AttachRequest = z.infer<typeof attachRequest>;

export const detachRequest = z.strictObject({ name: common.name });

const handRecord = z.object({
  name: z.string(),
  endpoint: z.string(),
  request: attachRequest,
  interfaceName: z.string(),
  mac: z.string(),
  ipv4: z.string().nullable(),
  ipv6: z.string().nullable(),
  generation: z.int(),
  createdMs: z.number(),
});
export type HandRecord = z.infer<typeof handRecord>;

export function openHandRecords(state: AgentState): Records<HandRecord> {
  return state.records('hand-attached', (value) => handRecord.parse(value));
}
