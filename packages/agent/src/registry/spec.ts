import { isIPv4, isIPv6 } from 'node:net';
import type { EndpointSpec } from '../model.ts';

const macPattern = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/;
const textMax = 253;
const mtuMin = 576;
const mtuMax = 65_535;

/** What is wrong with a spec, for people; null when nothing is. */
export function endpointFault(spec: EndpointSpec): string | null {
  if (spec.endpoint === '' || spec.endpoint.length > textMax) return `its id has to have 1 to ${textMax} characters`;
  if (spec.network.length > textMax) return `its network's name has more than ${textMax} characters`;
  if (!Number.isInteger(spec.ifindex) || spec.ifindex <= 0) return `${spec.ifindex} is no interface index`;
  if (!macPattern.test(spec.mac)) return `"${spec.mac}" is no MAC address in lower case`;
  if (!macPattern.test(spec.gatewayMac)) return `"${spec.gatewayMac}" is no MAC address in lower case`;
  if (spec.ipv4 === null && spec.ipv6 === null) return 'it has no address';
  if (spec.ipv4 !== null && !isIPv4(spec.ipv4)) return `"${spec.ipv4}" is no IPv4 address`;
  if (spec.ipv6 !== null && !isIPv6(spec.ipv6)) return `"${spec.ipv6}" is no IPv6 address`;
  if (!Number.isInteger(spec.mtu) || spec.mtu < mtuMin || spec.mtu > mtuMax) return `its MTU is ${spec.mtu}`;
  return null;
}

/** The same attachment: what may differ without another interface being meant (mode) is not compared. */
export function sameSpec(a: EndpointSpec, b: EndpointSpec): boolean {
  const fields = ['kind', 'ifindex', 'interfaceName', 'mac', 'gatewayMac', 'ipv4', 'ipv6', 'mtu', 'network'] as const;
  return fields.every((field) => a[field] === b[field]) && JSON.stringify(a.labels) === JSON.stringify(b.labels);
}
