/** What the engine told the plugin, on disk: it tells nothing twice. */
import { z } from 'zod';
import type { AgentState, Records } from '../../state.ts';

const cidr = z.string();

const poolRecord = z.object({
  poolId: z.string(),
  space: z.string(),
  network: cidr,
  range: cidr,
  /** Decimal offset within the range where the next search begins. */
  cursor: z.string().regex(/^\d+$/),
  /** False once the engine gave it back: it is forgotten when its last address has rested. */
  open: z.boolean(),
  sinceMs: z.number(),
});
export type PoolRecord = z.infer<typeof poolRecord>;

const addressRecord = z.object({
  poolId: z.string(),
  address: z.string(),
  /** Null while in use; else until when it rests. */
  quarantinedUntilMs: z.number().nullable(),
});
export type AddressRecord = z.infer<typeof addressRecord>;

const gateway = z.object({ network: cidr, gateway: z.string() });

const networkRecord = z.object({
  network: z.string(),
  internal: z.boolean(),
  ipv4: gateway.nullable(),
  ipv6: gateway.nullable(),
  /** `-o bulkhead.masquerade=false`: the network's addresses are routed by whoever is outside. */
  masquerade: z.boolean(),
  mtu: z.int(),
  createdMs: z.number(),
});
export type NetworkRecord = z.infer<typeof networkRecord>;

const publishedPort = z.object({
  protocol: z.enum(['tcp', 'udp', 'sctp']),
  /** Empty: every address of the host. */
  hostAddress: z.string(),
  hostPort: z.int(),
  port: z.int(),
});
export type PublishedPort = z.infer<typeof publishedPort>;

const endpointRecord = z.object({
  endpoint: z.string(),
  network: z.string(),
  mac: z.string(),
  ipv4: z.string().nullable(),
  ipv6: z.string().nullable(),
  labels: z.record(z.string(), z.string()),
  exposed: z.array(z.object({ protocol: z.int(), port: z.int() })),
  published: z.array(publishedPort),
  /** Null until joined to a sandbox. */
  sandbox: z.string().nullable(),
  interfaceName: z.string().nullable(),
  createdMs: z.number(),
});
export type EndpointRecord = z.infer<typeof endpointRecord>;

const containerRecord = z.object({
  container: z.string(),
  /** Claimed labels, decided when the image could still be asked which of them are its own. */
  labels: z.record(z.string(), z.string()),
  generation: z.int(),
  /** What the generation was counted for: the sandbox's key, or the time of the start where no sandbox of ours exists. */
  incarnation: z.string().nullable(),
});
export type ContainerRecord = z.infer<typeof containerRecord>;

const adoptedRecord = z.object({
  endpoint: z.string(),
  workload: z.string(),
  mode: z.enum(['observe', 'enforce']),
});
export type AdoptedRecord = z.infer<typeof adoptedRecord>;

export interface DockerRecords {
  readonly pools: Records<PoolRecord>;
  readonly addresses: Records<AddressRecord>;
  readonly networks: Records<NetworkRecord>;
  readonly endpoints: Records<EndpointRecord>;
  readonly containers: Records<ContainerRecord>;
  readonly adopted: Records<AdoptedRecord>;
}

/** Pools and addresses of one attachment, by its name. */
export function openPoolRecords(state: AgentState, owner: string): Pick<DockerRecords, 'pools' | 'addresses'> {
  return {
    pools: state.records(`${owner}-pool`, (value) => poolRecord.parse(value)),
    addresses: state.records(`${owner}-address`, (value) => addressRecord.parse(value)),
  };
}

export function openDockerRecords(state: AgentState): DockerRecords {
  return {
    ...openPoolRecords(state, 'docker'),
    networks: state.records('docker-network', (value) => networkRecord.parse(value)),
    endpoints: state.records('docker-endpoint', (value) => endpointRecord.parse(value)),
    containers: state.records('docker-container', (value) => containerRecord.parse(value)),
    adopted: state.records('docker-adopted', (value) => adoptedRecord.parse(value)),
  };
}
