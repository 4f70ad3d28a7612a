/** What a request means for the records, and what a join answers. Pure; throws PluginError with words for whoever ran the command. */
import {
  canonicalAddress,
  contains,
  hostNetwork,
  parseAddress,
  parseNetwork,
  withoutPrefix,
} from '../network-address.ts';
import { endpointPrefix } from '../../nat/ruleset.ts';
import { claimedFromOptions } from './claimed-labels.ts';
import type { EndpointRecord, NetworkRecord } from './docker-records.ts';
import { PluginError } from './plugin-server.ts';
import type { CreateEndpointRequest, CreateNetworkRequest } from './requests.ts';

export const mtuDefault = 1500;
/** IPv6 needs at least this. */
const mtuMin = 1280;
const mtuMax = 65_535;
/** libnetwork's code for a route to what is on the link. */
const connectedRoute = 1;

export interface JoinResponse {
  readonly InterfaceName: { readonly SrcName: string; readonly DstPrefix: string };
  readonly Gateway?: string;
  readonly GatewayIPv6?: string;
  readonly StaticRoutes: readonly { readonly Destination: string; readonly RouteType: number }[];
  readonly DisableGatewayService: true;
}

export interface InterfaceNames {
  readonly host: string;
  /** Until the engine moves it into the sandbox and renames it. */
  readonly peer: string;
}

/** At most 15 characters; the engine's endpoint ids are random, so ten digits tell a host's endpoints apart. */
export function interfaceNames(endpoint: string): InterfaceNames {
  const short = endpoint.replaceAll(/[^0-9a-zA-Z]/g, '').slice(0, 10);
  return { host: `${endpointPrefix}${short}`, peer: `bhp${short}` };
}

export function joinResponse(network: NetworkRecord, endpoint: EndpointRecord, peer: string): JoinResponse {
  const gateways = [
    endpoint.ipv4 === null ? null : (network.ipv4?.gateway ?? null),
    endpoint.ipv6 === null ? null : (network.ipv6?.gateway ?? null),
  ];
  const [Gateway, GatewayIPv6] = gateways;
  return {
    InterfaceName: { SrcName: peer, DstPrefix: 'eth' },
    ...(Gateway === null || Gateway === undefined ? {} : { Gateway }),
    ...(GatewayIPv6 === null || GatewayIPv6 === undefined ? {} : { GatewayIPv6 }),
    // With /32 and /128 addresses the gateway is on no network until a route says that it is on the link.
    StaticRoutes: gateways
      .filter((gateway) => gateway !== null)
      .map((gateway) => ({ Destination: hostNetwork(gateway), RouteType: connectedRoute })),
    DisableGatewayService: true,
  };
}

export function networkRecordOf(request: CreateNetworkRequest, nowMs: number): NetworkRecord {
  const generic = request.Options?.['com.docker.network.generic'] ?? {};
  const option = (key: string): string | undefined => (typeof generic[key] === 'string' ? generic[key] : undefined);
  const family = (data: CreateNetworkRequest['IPv4Data']) => {
    const pool = data?.[0];
    if (pool === undefined) return null;
    const gateway = canonicalAddress(withoutPrefix(pool.Gateway ?? ''));
    if (parseNetwork(pool.Pool) === null) throw new PluginError(`pool ${pool.Pool} is not a network`);
    if (gateway === null) throw new PluginError(`network ${pool.Pool} has no gateway: endpoints are routed through it`);
    return { network: pool.Pool, gateway };
  };
  const ipv4 = family(request.IPv4Data);
  const ipv6 = family(request.IPv6Data);
  if (ipv4 === null && ipv6 === null) throw new PluginError('the network has no addresses: use an IPAM driver');
  const mtu = Number(option('com.docker.network.driver.mtu') ?? mtuDefault);
  if (!Number.isInteger(mtu) || mtu < mtuMin || mtu > mtuMax)
    throw new PluginError(`com.docker.network.driver.mtu: expected ${mtuMin} to ${mtuMax}`);
  const masquerade = option('bulkhead.masquerade') ?? 'true';
  if (masquerade !== 'true' && masquerade !== 'false')
    throw new PluginError('bulkhead.masquerade: expected true or false');
  for (const key of Object.keys(generic)) {
    if (key.startsWith('bulkhead.') && key !== 'bulkhead.masquerade')
      throw new PluginError(`${key}: no such network option`);
  }
  const internal = request.Options?.['com.docker.network.internal'] ?? false;
  return { network: request.NetworkID, internal, ipv4, ipv6, masquerade: masquerade === 'true', mtu, createdMs: nowMs };
}

export function endpointRecordOf(
  request: CreateEndpointRequest,
  network: NetworkRecord,
  nowMs: number,
): EndpointRecord {
  const address = (text: string | null | undefined, pool: NetworkRecord['ipv4']): string | null => {
    if (text === undefined || text === null || text === '') return null;
    const parsed = parseAddress(withoutPrefix(text));
    const within = pool === null ? null : parseNetwork(pool.network);
    if (parsed === null || within === null || !contains(within, parsed))
      throw new PluginError(`address ${text} is not in the network`);
    return canonicalAddress(withoutPrefix(text));
  };
  const ipv4 = address(request.Interface?.Address, network.ipv4);
  const ipv6 = address(request.Interface?.AddressIPv6, network.ipv6);
  if (ipv4 === null && ipv6 === null) throw new PluginError(`endpoint ${request.EndpointID} has no address`);
  const mac = (request.Interface?.MacAddress || macOf(request.EndpointID)).toLowerCase();
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/.test(mac) || (Number.parseInt(mac.slice(0, 2), 16) & 1) !== 0) {
    throw new PluginError(`MAC address ${mac} is not the address of one interface`);
  }
  const base = { endpoint: request.EndpointID, network: request.NetworkID, mac, ipv4, ipv6 };
  const claimed = claimedFromOptions(request.Options ?? {});
  if (claimed.kind === 'invalid') throw new PluginError(claimed.reason);
  return {
    ...base,
    labels: claimed.labels,
    exposed: [],
    published: [],
    sandbox: null,
    interfaceName: null,
    createdMs: nowMs,
  };
}

/** Locally administered, from the endpoint's random id: the same again for the same endpoint. */
function macOf(endpoint: string): string {
  const digits = endpoint
    .replaceAll(/[^0-9a-f]/g, '')
    .padEnd(10, '0')
    .slice(0, 10);
  return `02:${digits.match(/../g)!.join(':')}`;
}

export function sharesAddress(one: EndpointRecord, other: EndpointRecord): boolean {
  return (one.ipv4 !== null && one.ipv4 === other.ipv4) || (one.ipv6 !== null && one.ipv6 === other.ipv6);
}
