/**
 * What the engine sends to a libnetwork remote driver, as schemas. Fields that are not used are ignored, since newer engines send
 * more; what is used is checked, with a path in the error. Lists and names have a limit.
 */
import { z } from 'zod';

/** Engine's identifiers: 64 hexadecimal digits, shorter ones in swarm. */
const identifier = z.string().regex(/^[0-9a-zA-Z_.-]{1,128}$/);
const address = z.string().max(64);
const optionMap = z.record(z.string().max(256), z.unknown()).nullish();

const ipamData = z.object({ AddressSpace: z.string().max(128).nullish(), Pool: address, Gateway: address.nullish() });

const portBinding = z.object({
  /** IP protocol number. */
  Proto: z.int().min(0).max(255),
  Port: z.int().min(1).max(65_535),
  HostIP: z.string().max(64).nullish(),
  HostPort: z.int().min(0).max(65_535).nullish(),
  HostPortEnd: z.int().min(0).max(65_535).nullish(),
});
export type PortBinding = z.infer<typeof portBinding>;

const portOptions = z.looseObject({
  'com.docker.network.portmap': z.array(portBinding).max(4096).nullish(),
  'com.docker.network.endpoint.exposedports': z
    .array(z.object({ Proto: z.int().min(0).max(255), Port: z.int().min(0).max(65_535) }))
    .max(4096)
    .nullish(),
});

const networkOptions = z.looseObject({
  'com.docker.network.generic': z.record(z.string().max(256), z.unknown()).nullish(),
  'com.docker.network.internal': z.boolean().nullish(),
});

export const createNetworkRequest = z.object({
  NetworkID: identifier,
  Options: networkOptions.nullish(),
  IPv4Data: z.array(ipamData).max(1).nullish(),
  IPv6Data: z.array(ipamData).max(1).nullish(),
});
export type CreateNetworkRequest = z.infer<typeof createNetworkRequest>;

export const networkRequest = z.object({ NetworkID: identifier });

export const createEndpointRequest = z.object({
  NetworkID: identifier,
  EndpointID: identifier,
  Interface: z
    .object({ Address: address.nullish(), AddressIPv6: address.nullish(), MacAddress: z.string().max(32).nullish() })
    .nullish(),
  Options: optionMap,
});
export type CreateEndpointRequest = z.infer<typeof createEndpointRequest>;

export const endpointRequest = z.object({ NetworkID: identifier, EndpointID: identifier });

export const joinRequest = z.object({
  NetworkID: identifier,
  EndpointID: identifier,
  SandboxKey: z.string().max(4096),
});
export type JoinRequest = z.infer<typeof joinRequest>;

export const externalConnectivityRequest = z.object({
  NetworkID: identifier,
  EndpointID: identifier,
  Options: portOptions.nullish(),
});
export type ExternalConnectivityRequest = z.infer<typeof externalConnectivityRequest>;

export const requestPoolRequest = z.object({
  AddressSpace: z.string().max(128).nullish(),
  Pool: address.nullish(),
  SubPool: address.nullish(),
  Options: optionMap,
  V6: z.boolean().nullish(),
});
export type RequestPoolRequest = z.infer<typeof requestPoolRequest>;

export const releasePoolRequest = z.object({ PoolID: z.string().min(1).max(256) });

export const requestAddressRequest = z.object({
  PoolID: z.string().min(1).max(256),
  Address: address.nullish(),
  Options: optionMap,
});
export type RequestAddressRequest = z.infer<typeof requestAddressRequest>;

export const releaseAddressRequest = z.object({ PoolID: z.string().min(1).max(256), Address: address });
